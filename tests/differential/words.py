#!/usr/bin/env python3
"""The four-letter words of Apache 3.9.5 and of Ringkeeper, after the same short history, compared
line by line with the numbers set aside.

    tests/differential/words.py [--ensemble] [--control] [--show]

With --ensemble: of each role in an ensemble of three voters and an observer, and of a server that
finds no quorum.

Set aside too: Java's own lines of envi, the address a connection comes from, which of two buckets a
session is in, and the order of Apache's hash sets (lines of a list are sorted). Numbers that
describe the tree stay.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "ensemble")]

from cluster import RINGKEEPER, Ensemble  # noqa: E402
from zk import proto, server  # noqa: E402
from zk.client import Client, four_letter_word  # noqa: E402
from zk.server import Apache, Ringkeeper  # noqa: E402

WORDS = "conf cons crst dirs dump envi gtmk isro mntr ruok srst srvr stat wchc wchp wchs hash".split()
# What is compared with its number.
COUNTED = (
    "znode_count", "watch_count", "ephemerals_count", "approximate_data_size", "global_sessions",
    "quorum_size", "learners", "synced_followers", "synced_non_voting_followers", "synced_observers",
    "proposal_count", "commit_count", "learner_proposal_received_count", "learner_commit_received_count",
    "looking_count", "cnt_election_time", "cnt_unavailable_time",
)  # fmt: skip
APACHE = "apache-3.9.5"
BASE_PORT = int(os.environ.get("WORDS_PORT", 22600))
SORTED = ("cons", "dump", "stat", "wchc", "wchp")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensemble", action="store_true", help="of each role")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what Ringkeeper answers")
    arguments = parser.parse_args()
    server.install("3.9.5")
    if arguments.ensemble:
        return of_ensembles(arguments)
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


def of_ensembles(arguments):
    kinds = (APACHE, APACHE if arguments.control else RINGKEEPER)
    wrong = asked = 0
    with tempfile.TemporaryDirectory(prefix="words-") as home:
        home = pathlib.Path(home)
        ensembles = [
            Ensemble(home / name, [kind] * 3, observers=[kind], base=BASE_PORT + 40 * nth, settings={"tickTime": 2000})
            for nth, (name, kind) in enumerate(zip("ab", kinds))
        ]
        with ensembles[0], ensembles[1]:
            for state, members, clients in states_of(ensembles):
                for word in WORDS:
                    answers = [four_letter_word(member.address, word) for member in members]
                    if arguments.show:
                        print(f"--- {state}: {word}\n{answers[1]}")
                    texts = [plain(word, answer, clients and clients[i]) for i, answer in enumerate(answers)]
                    wrong, asked = wrong + differ(f"{state}: {word}", *texts), asked + 1
    print(f"words of ensembles: {asked - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


def alone(ensemble):
    """Server 1 as soon as it answers words: it finds no quorum."""
    ensemble.start(1)
    ensemble.wait("server 1", lambda: answers_words(ensemble[1]))
    return ensemble[1]


def answers_words(member):
    try:
        return four_letter_word(member.address, "ruok") == "imok"
    except OSError:
        return False


def states_of(ensembles):
    """A server without a quorum, a leader, a follower and an observer of each kind, with a client
    of the observer's."""
    yield "without a quorum", [alone(each) for each in ensembles], None
    for ensemble in ensembles:
        ensemble.start(2, 3, 4)
        ensemble.wait_all()
    clients = [history(each[4].address) for each in ensembles]
    for ensemble in ensembles:
        ensemble.wait_equal()
    yield "leader", [each.leader() for each in ensembles], clients
    # Of those that have looked once: server 1 may have looked twice.
    for mode in ("follower", "observer"):
        yield mode, [next(member for member in reversed(list(each)) if member.mode() == mode) for each in ensembles], clients
    for client in clients:
        client.close()


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
    text = answer.replace("\0", "")
    if client is not None:
        text = text.replace(f"{client.session & (1 << 64) - 1:x}", "SESSION")
    lines = text.split("\n")
    if word == "envi":
        lines = [line for line in lines if not re.match(r"java\.|os\.|user\.|host\.", line)]
    if word == "mntr":
        # Apache adds lines per top-level name that was read or written; ours need not.
        # Ours has lines of its own at the end.
        of_names = re.compile("_per_namespace|words|_learner_handler_")
        theirs = lambda line: not of_names.search(line)
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
