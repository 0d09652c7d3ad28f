"""The one digest mismatch of Apache's servers that is their own: a comparison that comes too late.

A learner that loses its leader replays its log (ZooKeeperServer.shutdown, fastForwardDataBase), and does
not wait for the thread that applies commits. That thread may have applied a txn and not yet compared
its digest; it then finds the tree of a later txn, counts one mismatch and ends. The tree is right."""

import re

MASK = (1 << 64) - 1
_MENTION = "Digests are not matching"
# zxid, the txn's digest, the tree's. The txn's own text is between them, and may have several lines.
_REPORT = re.compile(
    r"ERROR +\[CommitProcessor:\d+\][^\n]*First digest mismatch on txn: -?\d+,-?\d+,(\d+),"
    r".*?, expected digest is 2,(-?\d+)\s*, actual digest is (-?\d+), $",
    re.DOTALL | re.MULTILINE,
)


def is_late(text, count, records):
    """Whether what a server's log `text` says of mismatches, and the `count` of its last life, are
    late comparisons alone: each is the only one of its life, has the digest that the history has for
    that txn, and found the digest of a later one. `records` is that of a history."""
    reports = _REPORT.findall(text)
    if not reports or count > 1 or text.count(_MENTION) != len(reports):
        return False
    return all(_found_a_later_tree(*map(int, report), records) for report in reports)


def _found_a_later_tree(zxid, expected, actual, records):
    later = (record.get("digest") for at, record in records.items() if at > zxid)
    return records.get(zxid, {}).get("digest") == expected & MASK and actual & MASK in later
