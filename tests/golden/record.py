#!/usr/bin/env python3
"""Records golden data: directories written by real Apache servers, each with an oracle of what they
hold, and the frames of every operation. See README.md.

    tests/golden/record.py [name...]      all, or some of: 3.4.14 3.4.14-logs-only 3.8.6 3.9.5
    3.9.5-gz 3.9.5-snappy 3.9.5-fuzzy wire
"""

import base64
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from zk import files, proto, server, tree  # noqa: E402
from zk.client import Client, four_letter_word  # noqa: E402
from zk.server import Apache  # noqa: E402

FLAGS = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": server.SUPER_DIGEST,
    "zookeeper.preAllocSize": 16,
}
DIRECTORIES = {
    "3.4.14": ("3.4.14", {"zookeeper.snapCount": 60}),
    "3.4.14-logs-only": ("3.4.14", {}),
    "3.8.6": ("3.8.6", {}),
    "3.9.5": ("3.9.5", {}),
    "3.9.5-gz": ("3.9.5", {"zookeeper.snapshot.compression.method": "gz"}),
    "3.9.5-snappy": ("3.9.5", {"zookeeper.snapshot.compression.method": "snappy"}),
}


def main():
    wanted = sys.argv[1:] or [*DIRECTORIES, "3.9.5-fuzzy", "wire"]
    server.install("3.9.5", "3.8.6", "3.4.14")
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
            scratch = pathlib.Path(scratch)
            if name == "wire":
                from record_wire import record_wire

                record_wire(scratch, FLAGS, HERE / "wire" / "3.9.5.txt")
            elif name == "3.9.5-fuzzy":
                record_fuzzy(scratch, HERE / name)
            else:
                version, flags = DIRECTORIES[name]
                record_directory(scratch, version, {**FLAGS, **flags}, HERE / name)
        print(f"{name}: recorded")


def record_directory(scratch, version, flags, target):
    """Three lives of one server, the last ended by SIGKILL with sessions and ephemerals alive."""
    apache = Apache(scratch / "apache", version, flags=flags)
    modern = not version.startswith("3.4")
    with apache:
        first_life(apache.address)
        apache.stop()
    with apache:
        second_life(apache.address, modern)
        apache.stop()
    with apache:
        alive = third_life(apache.address, modern)
        oracle = observe(apache.address, alive)
        apache.kill()
    keep(scratch, apache, oracle, target)


def first_life(address):
    client = Client(address)
    client.ok(proto.CREATE, proto.create("/app", b"root of it"))
    client.ok(proto.CREATE, proto.create("/app/config", b"v0"))
    for number in range(5):
        client.ok(proto.SET_DATA, proto.set_data("/app/config", b"v%d" % (number + 1), number))
    client.ok(proto.CREATE, proto.create("/gone", b""))
    client.ok(proto.DELETE, proto.path_int("/gone", 0))
    client.close()


def second_life(address, modern):
    """Every kind of node and txn that does not need a living session."""
    client = Client(address)
    names_and_data(client)
    sequences(client)
    acls(client, modern)
    quotas(client)
    multis(client, modern)
    refused(client)
    if modern:
        extended_types(client)
    closing = Client(address)
    closing.ok(proto.CREATE, proto.create("/app/lock-closed", b"", flags=proto.EPHEMERAL))
    closing.ok(proto.CREATE, proto.create("/app/lock-closed-", b"", flags=proto.EPHEMERAL_SEQUENTIAL))
    closing.close()
    client.close()


def names_and_data(client):
    client.ok(proto.CREATE, proto.create("/data", None))
    client.ok(proto.CREATE, proto.create("/data/null", None))
    client.ok(proto.CREATE, proto.create("/data/empty", b""))
    client.ok(proto.CREATE, proto.create("/data/binary", bytes(range(256))))
    client.ok(proto.CREATE, proto.create("/data/big", b"0123456789abcdef" * 256))
    client.ok(proto.CREATE, proto.create("/data/set-to-null", b"x"))
    client.ok(proto.SET_DATA, proto.set_data("/data/set-to-null", None))
    client.ok(proto.CREATE, proto.create("/names", b""))
    for name in ("Größe", "日本語", "имя", "a b", "...", ".hidden", "ﬀ", "\u00a0", "-", "x" * 300):
        client.ok(proto.CREATE, proto.create(f"/names/{name}", name.encode()))
    deep = ""
    for depth in range(12):
        deep += f"/d{depth}"
        client.ok(proto.CREATE, proto.create(deep, b"%d" % depth))


def sequences(client):
    client.ok(proto.CREATE, proto.create("/seq", b""))
    for number in range(3):
        client.ok(proto.CREATE, proto.create("/seq/n-", b"", flags=proto.PERSISTENT_SEQUENTIAL))
    client.ok(proto.CREATE, proto.create("/seq/plain", b""))
    client.ok(proto.CREATE, proto.create("/seq/", b"no prefix", flags=proto.PERSISTENT_SEQUENTIAL))
    client.ok(proto.CREATE, proto.create("/busy", b""))
    made = [(proto.CREATE, proto.create("/busy/s", b"", flags=proto.PERSISTENT_SEQUENTIAL))] * 300
    names = [entry["path"] for entry in client.ok(proto.MULTI, proto.multi(made))["results"][:-1]]
    gone = [(proto.DELETE, proto.path_int(name, -1)) for name in names[:-2]]
    client.ok(proto.MULTI, proto.multi(gone))
    client.ok(proto.CREATE, proto.create("/busy/after-", b"", flags=proto.PERSISTENT_SEQUENTIAL))


def acls(client, modern):
    client.auth("digest", b"alice:secret")
    digest = base64.b64encode(hashlib.sha1(b"bob:secret").digest()).decode()
    client.ok(proto.CREATE, proto.create("/acl", b""))
    for name, acl in {
        "auth": [(31, "auth", "")],
        "digest": [(31, "digest", f"bob:{digest}"), (1, "world", "anyone")],
        "ip": [(31, "ip", "127.0.0.1"), (1, "ip", "10.0.0.0/8" if modern else "10.0.0.1")],
        "read-only": [(1, "world", "anyone")],
        "odd-perms": [(64, "world", "anyone"), (-1, "ip", "127.0.0.1")],
        "none": [(0, "world", "anyone")],
    }.items():
        client.ok(proto.CREATE, proto.create(f"/acl/{name}", name.encode(), acl))
    client.ok(proto.CREATE, proto.create("/acl/changed", b""))
    client.ok(proto.SET_ACL, proto.set_acl("/acl/changed", [(1, "world", "anyone"), (31, "auth", "")], 0))
    client.ok(proto.SET_ACL, proto.set_acl("/acl/changed", [(31, "auth", ""), (3, "world", "anyone")], 1))


def quotas(client):
    client.ok(proto.CREATE, proto.create("/quota", b""))
    client.ok(proto.CREATE, proto.create("/quota/before", b"1234567890"))
    client.ok(proto.CREATE, proto.create("/zookeeper/quota/quota", b""))
    client.ok(proto.CREATE, proto.create("/zookeeper/quota/quota/zookeeper_limits", b"count=5,bytes=1000"))
    client.ok(proto.CREATE, proto.create("/zookeeper/quota/quota/zookeeper_stats", b"count=0,bytes=0"))
    client.ok(proto.CREATE, proto.create("/quota/after", b"abcde"))
    client.ok(proto.SET_DATA, proto.set_data("/quota/before", b"123"))
    for number in range(150):
        client.ok(proto.SET_DATA, proto.set_data("/quota/after", b"abcde" * (number % 7), number))
    client.ok(proto.CREATE, proto.create("/quota/deleted", b"gone"))
    client.ok(proto.DELETE, proto.path_int("/quota/deleted", -1))


def multis(client, modern):
    create = proto.CREATE2 if modern else proto.CREATE
    client.ok(proto.CREATE, proto.create("/multi", b"m0"))
    good = [
        (proto.CREATE, proto.create("/multi/a", b"a")),
        (create, proto.create("/multi/s-", b"s", flags=proto.PERSISTENT_SEQUENTIAL)),
        (proto.SET_DATA, proto.set_data("/multi", b"m1", 0)),
        (proto.CHECK, proto.path_int("/multi", 1)),
        (proto.CREATE, proto.create("/multi/b", b"b")),
        (proto.DELETE, proto.path_int("/multi/b", 0)),
    ]
    client.ok(proto.MULTI, proto.multi(good))
    bad = [*good[:2], (proto.CHECK, proto.path_int("/multi", 77)), (proto.DELETE, proto.path_int("/multi/a", -1))]
    client.ok(proto.MULTI, proto.multi([(proto.CREATE, proto.create("/multi/never", b""))] + bad[2:]))
    client.ok(proto.MULTI, proto.multi(bad))
    client.ok(proto.MULTI, proto.multi([]))


def refused(client):
    """Writes that fail: each takes a zxid and leaves an error txn."""
    client.call(proto.CREATE, proto.create("/app", b""))
    client.call(proto.CREATE, proto.create("/nowhere/x", b""))
    client.call(proto.SET_DATA, proto.set_data("/app/config", b"", 999))
    client.call(proto.DELETE, proto.path_int("/app", -1))
    client.call(proto.SET_DATA, proto.set_data("/acl/read-only", b""))


def extended_types(client):
    client.ok(proto.CREATE_CONTAINER, proto.create("/container", b"c", flags=proto.CONTAINER))
    client.ok(proto.CREATE, proto.create("/container/child", b""))
    client.ok(proto.CREATE_CONTAINER, proto.create("/container-unused", None, flags=proto.CONTAINER))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/ttl-hour", b"t", ttl=3_600_000))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/ttl-longest", b"t", ttl=(1 << 40) - 1))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/ttl-seq-", b"", flags=proto.SEQUENTIAL_TTL, ttl=86_400_000))
    client.ok(proto.CREATE2, proto.create("/with-stat", b"2"))
    sub = [
        (proto.CREATE_CONTAINER, proto.create("/multi/container", b"", flags=proto.CONTAINER)),
        (proto.CREATE_TTL, proto.create_ttl("/multi/ttl", b"", ttl=7_200_000)),
    ]
    client.ok(proto.MULTI, proto.multi(sub))


def third_life(address, modern):
    """Sessions that live on: with ephemerals, without, renewed, and one that only read."""
    owner = Client(address, timeout_ms=40000)
    owner.ok(proto.CREATE, proto.create("/live", b""))
    owner.ok(proto.CREATE, proto.create("/live/a", b"one", flags=proto.EPHEMERAL))
    owner.ok(proto.CREATE, proto.create("/live/s-", None, flags=proto.EPHEMERAL_SEQUENTIAL))
    create = proto.CREATE2 if modern else proto.CREATE
    owner.ok(proto.MULTI, proto.multi([(create, proto.create("/live/m", b"", flags=proto.EPHEMERAL))]))
    idle = Client(address, timeout_ms=20000)
    moved = Client(address, timeout_ms=30000)
    moved.ok(proto.CREATE, proto.create("/live/moved", b"", flags=proto.EPHEMERAL))
    moved.drop()
    moved = Client(address, moved.session, moved.password, timeout_ms=10000)
    closed = Client(address)
    closed.ok(proto.CREATE, proto.create("/live/closed", b"", flags=proto.EPHEMERAL))
    closed.close()
    owner.ok(proto.DELETE, proto.path_int("/live/a", -1))
    owner.ok(proto.CREATE, proto.create("/live/a", b"two", flags=proto.EPHEMERAL))
    return [owner, idle, moved]


def observe(address, alive):
    observer = Client(address, timeout_ms=40000)
    observer.auth("digest", server.SUPER_AUTH)
    nodes = tree.dump(observer)
    last = observer.ok(proto.EXISTS, proto.path_watch("/"))["zxid"]
    sessions = [
        {
            "id": f"{client.session & (1 << 64) - 1:016x}",
            "password": client.password.hex(),
            "ephemerals": sorted(
                path for path, node in nodes.items() if node["stat"]["ephemeralOwner"] == client.session
            ),
        }
        for client in [*alive, observer]
    ]
    oracle = {"zxid": last, "sessions": sessions, "nodes": nodes}
    try:
        oracle["hash"] = four_letter_word(address, "hash").replace("\0", "").split("\n")
    except OSError:
        pass  # 3.4 has no such word
    if not oracle.get("hash", [""])[0]:
        oracle.pop("hash", None)
    return oracle


def keep(scratch, apache, oracle, target):
    """Copies the data directory to `target`, adds to the oracle what the files say and what 3.9.5
    makes of them."""
    data = apache.directory / "data"
    timeouts = {f"{ident & (1 << 64) - 1:016x}": timeout for ident, timeout in files.sessions(data).items()}
    for session in oracle["sessions"]:
        session["timeout"] = timeouts.pop(session["id"])
    assert not timeouts, f"sessions that were never opened here: {timeouts}"
    digest = files.last_digest(data)
    oracle["txn_digest"] = digest and {"zxid": digest[0], "digest": digest[1]}
    version = apache.version
    oracle = {"version": version, **oracle, **reload(scratch, data, oracle["nodes"])}
    if digest:
        assert digest[1] == oracle["tree_digest"], (digest, oracle["tree_digest"])

    shutil.rmtree(target, ignore_errors=True)
    (target / "version-2").mkdir(parents=True)
    for path in (data / "version-2").iterdir():
        shutil.copy(path, target / "version-2" / path.name)
    (target / "oracle.json").write_text(one_node_a_line(oracle))


def one_node_a_line(oracle):
    def line(value):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)

    fields = []
    for key, value in oracle.items():
        if key == "nodes":
            nodes = ",\n".join(f"  {line(path)}: {line(value[path])}" for path in sorted(value))
            fields.append(f'"nodes": {{\n{nodes}\n}}')
        else:
            fields.append(f"{line(key)}: {line(value)}")
    return "{" + ",\n".join(fields) + "}\n"


def reload(scratch, data, nodes):
    """What 3.9.5 shows after a start on a copy of `data`, and the digest of the snapshot it writes
    then."""
    copy = scratch / "reload"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy / "data")
    trust = {"zookeeper.snapshot.trust.empty": "true"}
    with Apache(copy, "3.9.5", flags={**FLAGS, **trust}) as apache:
        observer = Client(apache.address)
        observer.auth("digest", server.SUPER_AUTH)
        seen = tree.dump(observer)
    written = files.read_snapshot(files.snapshots(copy / "data")[-1])
    digest = f"{files.tree_digest(written['nodes']):x}"
    assert digest == f"{written['digest'][2]:x}", (digest, written["digest"])
    differing = {path: node for path, node in seen.items() if nodes.get(path) != node}
    assert not set(nodes) - set(seen), f"3.9.5 lost {set(nodes) - set(seen)}"
    return {"tree_digest": digest, "differs_under_3.9.5": differing}


def record_fuzzy(scratch, target):
    """A directory whose newest snapshot was written while txns were applied, so that it is complete
    only after the
    log is replayed from the zxid in its name."""
    for attempt in range(20):
        apache = Apache(scratch / f"apache-{attempt}", "3.9.5", flags={**FLAGS, "zookeeper.snapCount": 700})
        with apache:
            load(apache.address)
            oracle = observe(apache.address, [])
            apache.kill()
        data = apache.directory / "data"
        fuzzy = [path for path in files.snapshots(data) if is_fuzzy(path)]
        if fuzzy:
            forget_older(data, fuzzy[-1])
            keep(scratch, apache, oracle, target)
            return
        print(f"attempt {attempt}: no snapshot is fuzzy")
    raise SystemExit("no fuzzy snapshot in 20 attempts")


def is_fuzzy(path):
    try:
        snapshot = files.read_snapshot(path)
    except files.Malformed:
        return False  # the kill came while it was written
    return "digest" in snapshot and snapshot["digest"][0] > snapshot["zxid"] + 3


def load(address):
    """400 nodes, then pipelined creates, deletes and changes while the server takes a snapshot
    every few hundred."""
    client = Client(address)
    client.ok(proto.CREATE, proto.create("/f", b""))
    client.ok(proto.CREATE, proto.create("/f/quiet", b""))
    for base in range(0, 300, 100):
        creates = [(proto.CREATE, proto.create(f"/f/quiet/{n}", b"")) for n in range(base, base + 100)]
        client.ok(proto.MULTI, proto.multi(creates))
    creates = [(proto.CREATE, proto.create(f"/f/{n}", b"")) for n in range(100)]
    client.ok(proto.MULTI, proto.multi(creates))
    for turn in range(12):
        records = []
        for number in range(250):
            path = f"/f/{(number * 7 + turn) % 100}"
            if number % 3 == 0:
                records.append((proto.DELETE, proto.path_int(path, -1)))
                flags = proto.PERSISTENT_SEQUENTIAL if number % 30 == 0 else proto.PERSISTENT
                records.append((proto.CREATE, proto.create("/f/s", b"", flags=flags)))
            elif number % 3 == 1:
                records.append((proto.CREATE, proto.create(path, b"again")))
            else:
                records.append((proto.SET_DATA, proto.set_data(path, b"r%d" % number)))
        for reply in client.pipeline(records):
            assert reply["err"] in (0, -101, -110), reply
    client.close()


def forget_older(data, kept):
    """Of the snapshots only `kept` stays, of the logs those that it needs."""
    for path in files.snapshots(data):
        if path != kept:
            path.unlink()
    zxid = int(kept.name.split(".")[1], 16)
    starts = [int(path.name.split(".")[1], 16) for path in files.logs(data)]
    needed = max(start for start in starts if start <= zxid)
    for path in files.logs(data):
        if int(path.name.split(".")[1], 16) < needed:
            path.unlink()


if __name__ == "__main__":
    main()
