"""What must hold when an ensemble comes to rest: all trees, logs and digests are equal, and all that
any session was told agrees with them."""

import time

from zk import proto, server, tree
from zk.client import Client

from cluster import RINGKEEPER
from history import read_history
from judge import judge
from late import is_late
from load import ROOT


def end(ensemble, load, show=print):
    """Lets the left sessions expire, compares the servers, stops them, judges. The faults, and the
    history."""
    ensemble.wait_all()
    rest(ensemble, load)
    ensemble.wait_equal()
    faults = same_trees(ensemble)
    zxid = ensemble.wait_equal()
    counts = mismatch_counts(ensemble)
    named = named_digests(ensemble)
    ensemble.stop()
    history = read_history(ensemble)
    excuse(ensemble, counts, history, show)
    faults += mismatches(ensemble, counts)
    if max(history.records, default=0) < zxid:
        faults.append(f"the servers are at {zxid:#x}, and the logs end at {max(history.records):#x}")
    faults += same_digests(named, history)
    told, seen = judge(history, load.sessions)
    faults += told
    counted = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
    show(f"  {len(history.records)} txns, {history.compared} digests, {history.abandoned} abandoned; {counted}")
    if not history.compared or not seen["writes"]:
        faults.append("nothing was looked at")
    return faults, history


def rest(ensemble, load, timeout=120.0):
    """Waits until no client's ephemeral is left on any server: all sessions have ended."""
    until = time.monotonic() + timeout
    for member in ensemble:
        client = Client(member.address)
        while True:
            client.ok(proto.SYNC, proto.path_only(ROOT))
            left = client.ok(proto.GET_CHILDREN, proto.path_watch(f"{ROOT}/here"))["children"]
            if not left:
                break
            if time.monotonic() > until:
                raise AssertionError(f"S2: after {timeout} s {member} has the ephemerals of {left}")
            time.sleep(0.2)
        client.close()


def same_trees(ensemble):
    """Every server shows the same nodes, Stats and ACLs."""
    trees = {}
    for member in ensemble:
        client = Client(member.address)
        client.auth("digest", server.SUPER_AUTH)
        client.ok(proto.SYNC, proto.path_only("/"))
        trees[str(member)] = tree.dump(client)
        client.close()
    (first, one), *rest_of_them = trees.items()
    # The times of /zookeeper/config are those of each server's start.
    drop = lambda nodes: {path: node for path, node in nodes.items() if path != "/zookeeper/config"}  # noqa: E731
    faults = []
    for other, nodes in rest_of_them:
        a, b = drop(one), drop(nodes)
        for path in sorted(set(a) | set(b)):
            if a.get(path) != b.get(path):
                faults.append(f"L2: {path}: {first} has {a.get(path)}, {other} has {b.get(path)}")
    return faults[:10]


def mismatch_counts(ensemble):
    """{server: the digests that it found to differ from the leader's}."""
    return {member: float(member.mntr().get("zk_digest_mismatches_count", "0")) for member in ensemble}


def excuse(ensemble, counts, history, show=print):
    """Marks the servers of Apache's that only compared too late (late.py)."""
    for member in ensemble:
        if member.kind != RINGKEEPER and is_late(member.words(), counts[member], history.records):
            member.is_excused = True
            show(f"  {member} compared a digest too late, which is its own race")


def mismatches(ensemble, counts):
    """P16: no server may count any."""
    for member, count in counts.items():
        if count and ensemble.mismatches_are_faults and not member.is_excused:
            yield f"P16: {member} counts {count:.0f} digest mismatches"


def named_digests(ensemble):
    """{server: {zxid: digest}} of the word `hash`. Apache's names wrong ones for what it replayed on a
    tree that it had written while it changed."""
    named = {}
    for member in ensemble:
        if member.kind == RINGKEEPER:
            lines = member.word("hash").replace("\0", "").splitlines()
            named[str(member)] = {int(zxid, 16): digest for zxid, _, digest in (line.partition(": ") for line in lines)}
    return named


def same_digests(named, history):
    for name, digests in named.items():
        for zxid, digest in digests.items():
            known = history.records.get(zxid, {}).get("digest")
            if known is not None and int(digest) & (1 << 64) - 1 != known:
                yield f"P16: the digest of {zxid:#x} is {digest} on {name}, {known} in the log"
