"""What must hold when an ensemble comes to rest: all trees, logs and digests are equal, and all that
any session was told agrees with them."""

import time

from zk import proto, server, tree
from zk.client import Client

from history import read_history
from judge import judge
from load import ROOT


def end(ensemble, load, show=print):
    """Lets the left sessions expire, compares the servers, stops them, judges. The faults, and the
    history."""
    ensemble.wait_all()
    rest(ensemble, load)
    ensemble.wait_equal()
    faults = same_trees(ensemble)
    zxid = ensemble.wait_equal()
    faults += same_digests(ensemble)
    ensemble.stop()
    history = read_history(ensemble)
    if history.records and max(history.records) != zxid:
        faults.append(f"the servers are at {zxid:#x}, and the logs end at {max(history.records):#x}")
    told, seen = judge(history, load.sessions)
    faults += told
    counted = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
    show(f"  {len(history.records)} txns, {history.compared} digests, {history.abandoned} abandoned; {counted}")
    for fault in faults:
        show(f"  FAULT: {fault}"[:1500])
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


def same_digests(ensemble):
    """No server has counted a mismatch, and of each zxid that several name (`hash`) the digest is one."""
    known, faults = {}, []
    for member in ensemble:
        mismatches = member.mntr().get("zk_digest_mismatches_count", "0")
        if float(mismatches) and ensemble.mismatches_are_faults:
            faults.append(f"P16: {member} counts {mismatches} digest mismatches")
        for line in member.word("hash").replace("\0", "").splitlines():
            zxid, _, digest = line.partition(": ")
            if digest and known.setdefault(zxid, digest) != digest:
                faults.append(f"P16: the digest of {zxid} is {digest} on {member}, {known[zxid]} elsewhere")
    return faults
