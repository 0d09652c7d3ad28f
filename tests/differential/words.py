#!/usr/bin/env python3
"""The four-letter words of Apache 3.9.5 and of Ringkeeper, after the same short history, compared
line by line with the numbers set aside.

    tests/differential/words.py [--control] [--show]

Set aside too: Java's own lines of envi, the address a connection comes from, which of two buckets a
session is in, and the order of Apache's hash sets (lines of a list are sorted). Numbers that
describe the tree stay.
"""

import argparse
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from zk import proto, server  # noqa: E402
from zk.client import Client, four_letter_word  # noqa: E402
from zk.server import Apache, Ringkeeper  # noqa: E402

WORDS = "conf cons crst dirs dump envi gtmk isro mntr ruok srst srvr stat wchc wchp wchs hash".split()
# What is compared with its number.
COUNTED = ("znode_count", "watch_count", "ephemerals_count", "approximate_data_size", "global_sessions")
SORTED = ("cons", "dump", "stat", "wchc", "wchp")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what Ringkeeper answers")
    arguments = parser.parse_args()
    server.install("3.9.5")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="words-") as home:
        home = pathlib.Path(home)
        ours = Apache if arguments.control else Ringkeeper
        with Apache(home / "a") as a, ours(home / "b") as b:
            clients = [history(each.address) for each in (a, b)]
            for word in WORDS:
                answers = [four_letter_word(each.address, word) for each in (a, b)]
                if arguments.show:
                    print(f"--- {word}\n{answers[1]}")
                wrong += differ(word, *(plain(word, answer, clients[i]) for i, answer in enumerate(answers)))
    print(f"words: {len(WORDS) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


def history(address):
    """150 writes (so that `hash` has a line), an ephemeral, watches of all kinds."""
    client = Client(address, timeout_ms=30000)
    client.ok(proto.CREATE, proto.create("/words", b"w"))
    for number in range(150):
        client.ok(proto.SET_DATA, proto.set_data("/words", b"%d" % number))
    client.ok(proto.CREATE, proto.create("/words/e", b"", flags=proto.EPHEMERAL))
    client.ok(proto.GET_DATA, proto.path_watch("/words", True))
    client.ok(proto.GET_CHILDREN, proto.path_watch("/words", True))
    client.ok(proto.ADD_WATCH, proto.path_int("/", 1))
    return client


def plain(word, answer, client):
    """The answer's lines with everything replaced that may differ."""
    text = answer.replace("\0", "").replace(f"{client.session & (1 << 64) - 1:x}", "SESSION")
    lines = text.split("\n")
    if word == "envi":
        lines = [line for line in lines if not re.match(r"java\.|os\.|user\.|host\.", line)]
    if word == "mntr":
        # Apache adds lines per top-level name that was read or written; ours need not.
        # Ours has lines of its own at the end.
        theirs = lambda line: "_per_namespace" not in line and "words" not in line
        lines = [line for line in lines if theirs(line) and not line.startswith("zk_ringkeeper_")]
    if word == "dump":
        lines = [line for line in lines if not re.match(r"0 expire at", line)]
    lines = [set_aside(line) for line in lines]
    return sorted(lines) if word in SORTED else lines


def set_aside(line):
    if line.startswith("zk_") and line.split("\t")[0][3:] in COUNTED:
        return line
    if re.match(r"(Node count|Total watches|Mode|\d+ connections watching)", line):
        return line
    line = re.sub(r"built on .*", "built on DATE", line)
    line = re.sub(r"(version[:=\t] ?\d+\.\d+\.\d+)-\S+,", r"\1-REVISION,", line)
    line = re.sub(r"expire at .*:$", "expire at DATE:", line)
    line = re.sub(r"/[^=]*/version-2", "DATADIR", line)
    line = re.sub(r"Sets \(\d+\)/", "Sets (N)/", line)
    line = re.sub(r"0x[0-9a-f]+", "HEX", line)
    return re.sub(r"-?\d+(\.\d+)?(E-?\d+)?", lambda number: "F" if number[1] else "N", line)


def differ(word, a, b):
    """1 if the lines differ, and prints which."""
    if a == b:
        return 0
    print(f"{word}:")
    for line in a:
        if line not in b:
            print(f"  only Apache:     {line!r}")
    for line in b:
        if line not in a:
            print(f"  only Ringkeeper: {line!r}")
    if sorted(a) == sorted(b):
        print("  the same lines, in another order or number")
    return 1


if __name__ == "__main__":
    sys.exit(main())
