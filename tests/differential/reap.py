#!/usr/bin/env python3
"""Containers and TTL nodes go when their time has come: the same nodes, with the same events, on
Apache 3.9.5 and on Ringkeeper. The differential stream leaves this out, since each server looks in
its own time.

    tests/differential/reap.py [--control]
"""

import argparse
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from compare import Comparer  # noqa: E402
from zk import proto, server, tree  # noqa: E402
from zk.client import Client, four_letter_word  # noqa: E402
from zk.server import Apache, Ringkeeper  # noqa: E402

FLAGS = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": server.SUPER_DIGEST,
    "znode.container.checkIntervalMs": 500,
}
STAY = {"/", "/r", "/r/unused", "/r/busy", "/r/busy/child", "/r/ttl-long", "/r/ttl-parent", "/r/ttl-parent/child"}
GO = {"/r/used", "/r/nested", "/r/nested/inner", "/r/ttl", "/r/ttl-0000000008", "/r/ttl-emptied", "/r/multi-ttl"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", action="store_true")
    arguments = parser.parse_args()
    server.install("3.9.5")
    with tempfile.TemporaryDirectory(prefix="reap-") as home:
        home = pathlib.Path(home)
        ours = Apache if arguments.control else Ringkeeper
        with Apache(home / "a", flags=FLAGS) as a, ours(home / "b", flags=FLAGS) as b:
            seen = [observe(each.address) for each in (a, b)]
    problems = [problem for name, one in zip("AB", seen) for problem in judge(name, one)]
    comparer = Comparer()
    nodes = [comparer.plain_tree(one["nodes"], False) for one in seen]
    for path in sorted(set(nodes[0]) | set(nodes[1])):
        # Which of several siblings went last decides the parent's pzxid.
        stats = [node[path].get("stat", {}) if path in node else {} for node in nodes]
        for stat in stats:
            stat.pop("pzxid", None)
        if nodes[0].get(path) != nodes[1].get(path):
            problems.append(f"{path}: {nodes[0].get(path)} / {nodes[1].get(path)}")
    for key in ("events", "zxid"):
        if seen[0][key] != seen[1][key]:
            problems.append(f"{key}: {seen[0][key]} / {seen[1][key]}")
    print("\n".join(problems) + f"\nreap: {'FAILED' if problems else 'no difference'}")
    return 1 if problems else 0


def observe(address):
    """Makes the nodes, waits until those that should go are gone (at most 15 s), and 2 s more."""
    client = Client(address, timeout_ms=40000)
    client.auth("digest", server.SUPER_AUTH)
    make(client)
    client.ok(proto.ADD_WATCH, proto.path_int("/r", 1))
    client.ok(proto.GET_CHILDREN, proto.path_watch("/r", True))
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and GO & set(tree.dump(client, system=False)):
        time.sleep(0.2)
    time.sleep(2)
    nodes = tree.dump(client, system=False)
    events = sorted((event["event"]["type"], event["event"]["path"]) for event in client.events)
    zxid = client.ok(proto.EXISTS, proto.path_watch("/"))["zxid"]
    assert "Mode: standalone" in four_letter_word(address, "srvr")
    return {"nodes": nodes, "events": events, "zxid": zxid}


def make(client):
    client.ok(proto.CREATE, proto.create("/r", b""))
    for name in ("unused", "used", "busy", "nested"):
        client.ok(proto.CREATE_CONTAINER, proto.create(f"/r/{name}", b"", flags=proto.CONTAINER))
    client.ok(proto.CREATE, proto.create("/r/used/child", b""))
    client.ok(proto.CREATE, proto.create("/r/busy/child", b""))
    client.ok(proto.CREATE_CONTAINER, proto.create("/r/nested/inner", b"", flags=proto.CONTAINER))
    client.ok(proto.CREATE, proto.create("/r/nested/inner/child", b""))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/r/ttl", b"x", ttl=700))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/r/ttl-long", b"x", ttl=3_600_000))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/r/ttl-parent", b"x", ttl=700))
    client.ok(proto.CREATE, proto.create("/r/ttl-parent/child", b""))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/r/ttl-emptied", b"x", ttl=700))
    client.ok(proto.CREATE_TTL, proto.create_ttl("/r/ttl-", b"x", flags=proto.SEQUENTIAL_TTL, ttl=700))
    client.ok(proto.MULTI, proto.multi([(proto.CREATE_TTL, proto.create_ttl("/r/multi-ttl", b"", ttl=700))]))
    client.ok(proto.CREATE, proto.create("/r/ttl-emptied/child", b""))
    client.ok(proto.DELETE, proto.path_int("/r/ttl-emptied/child", -1))
    client.ok(proto.DELETE, proto.path_int("/r/used/child", -1))
    client.ok(proto.DELETE, proto.path_int("/r/nested/inner/child", -1))


def judge(name, seen):
    there = set(seen["nodes"])
    for path in sorted(STAY - there):
        yield f"{name}: {path} should have stayed"
    for path in sorted(there - STAY):
        yield f"{name}: {path} should be gone"


if __name__ == "__main__":
    sys.exit(main())
