#!/usr/bin/env python3
"""Sends one seeded stream of random operations to two ZooKeeper servers and compares every reply
and event.

    tests/differential/differential.py --start [--ops 200000] [--seed 1]      Apache 3.9.5 against Ringkeeper
    tests/differential/differential.py --start --control                      Apache against a second Apache
    tests/differential/differential.py --start --servers 3                    ensembles, each session on a server of its own
    tests/differential/differential.py --start --servers 3 --local-sessions   the same with local sessions
    tests/differential/differential.py --a host:port --b host:port            servers that run already, both fresh

Exit 0: no difference. Exit 1: a difference, printed with seed, step, operation and both answers.
README.md says what is compared and what is not.
"""

import argparse
import base64
import collections
import contextlib
import json
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "ensemble")]

from cluster import BASE_PORT, RINGKEEPER, Ensemble  # noqa: E402
from drive import Difference, Driver  # noqa: E402
from generate import Generator  # noqa: E402
from shrink import shrink  # noqa: E402
from zk import proto, server, tree  # noqa: E402
from zk.client import Client, four_letter_word  # noqa: E402
from zk.server import Apache, Ringkeeper  # noqa: E402

# mntr lines that describe the tree and the sessions, and so must be equal at the end.
MNTR = ("zk_znode_count", "zk_watch_count", "zk_ephemerals_count")
SIZE = "zk_approximate_data_size"


def main():
    arguments = parse()
    if arguments.start:
        server.install("3.9.5")
    if arguments.servers > 1 and arguments.shrink:
        raise SystemExit("--shrink starts single servers")
    with contextlib.ExitStack() as stack:
        a, b = addresses(arguments, stack)
        try:
            run(arguments, a, b)
        except Difference as difference:
            report(arguments, difference)
            if arguments.shrink:
                shrink(arguments, arguments.trace, servers, save)
            return 1
    return 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", type=int, default=200_000, help="how many operations (default 200000)")
    parser.add_argument("--seed", type=int, default=1, help="of the stream; odd seeds run with enforceQuota")
    parser.add_argument("--a", help="host:port of the server that is right")
    parser.add_argument("--b", help="host:port of the server under test")
    parser.add_argument("--start", action="store_true", help="start both, on fresh directories")
    parser.add_argument("--servers", type=int, default=1, help="with --start: ensembles of so many servers")
    upgrading = "with --servers: sessions are local, and upgraded where they must be"
    parser.add_argument("--local-sessions", action="store_true", help=upgrading)
    parser.add_argument("--control", action="store_true", help="with --start: a second Apache in Ringkeeper's place")
    parser.add_argument("--flag", action="append", default=[], help="with --start: key=value for Ringkeeper alone")
    setting = "with --servers: key=value of both configurations; sessions must be able to move"
    parser.add_argument("--setting", action="append", default=[], help=setting)
    parser.add_argument("--shrink", action="store_true", help="with --start: look for a shorter stream that differs too")
    parser.add_argument("--no-expiry", action="store_true", help="leave out the session that expires (about 6 s)")
    parser.add_argument("--coverage", action="store_true", help="print how often each operation met each error code")
    parser.add_argument("--save", help="write the steps up to the difference to this file")
    parser.add_argument("--replay", help="take the steps from a file made by --save or --shrink")
    parser.add_argument("--keep", help="with --start: directory for the servers' data and logs, kept")
    arguments = parser.parse_args()
    if arguments.local_sessions and arguments.servers == 1:
        parser.error("--local-sessions takes --servers")
    if bool(arguments.a and arguments.b) == arguments.start:
        parser.error("either --a and --b, or --start")
    arguments.quota = arguments.seed % 2 == 1
    arguments.trace = []
    return arguments


def addresses(arguments, stack):
    if not arguments.start:
        return arguments.a.split(","), arguments.b.split(",")
    home = pathlib.Path(arguments.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="differential-")))
    if arguments.servers > 1:
        return tuple(stack.enter_context(each).addresses for each in ensembles(arguments, home))
    return tuple([stack.enter_context(each).address] for each in servers(arguments, home))


def servers(arguments, home):
    """Server A and server B, not started yet."""
    flags = {
        "zookeeper.extendedTypesEnabled": "true",
        "zookeeper.enforceQuota": "true" if arguments.quota else "false",
        "zookeeper.DigestAuthenticationProvider.superDigest": server.SUPER_DIGEST,
        "znode.container.checkIntervalMs": 24 * 3600 * 1000,
    }
    quick = {**flags, "zookeeper.forceSync": "no"}
    flags.update(flag.split("=", 1) for flag in arguments.flag)
    a = Apache(home / "a", flags=quick)
    return a, Apache(home / "b", flags=quick) if arguments.control else Ringkeeper(home / "b", flags=flags)


class Started(Ensemble):
    """An ensemble that is started as a whole. Its last server leads, on either side."""

    def __enter__(self):
        last = len(self.members)
        try:
            self.start(last, *range(2, last)).wait("the last to lead", lambda: self[last].mode() == "leader")
            self.start(1).wait_all()
        except BaseException:
            self.__exit__()
            raise
        self.addresses = [member.address for member in self]
        return self


def ensembles(arguments, home):
    """Ensemble A and ensemble B, not started yet."""
    flags = {
        "zookeeper.enforceQuota": "true" if arguments.quota else "false",
        "znode.container.checkIntervalMs": 24 * 3600 * 1000,
    }
    own = dict(flag.split("=", 1) for flag in arguments.flag)
    settings = {"tickTime": 2000, "initLimit": 10, "syncLimit": 5}
    if arguments.local_sessions:
        settings.update({"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"})
        settings["maxSessionTimeout"] = 200000
    settings.update(setting.split("=", 1) for setting in arguments.setting)
    for number, kind in enumerate(("apache-3.9.5", "apache-3.9.5" if arguments.control else RINGKEEPER)):
        base = BASE_PORT + 50 * number
        kinds = [kind] * arguments.servers
        yield Started(home / f"{number}", kinds, settings=settings, flags=flags, own_flags=own, base=base)


def run(arguments, a, b):
    generator = Generator(arguments.seed, arguments.quota, len(a) > 1)
    coverage = collections.Counter()
    learn = learner(generator, coverage if arguments.coverage else None)
    driver = Driver(a, b, learn, arguments.local_sessions)
    source = replayed(arguments.replay) if arguments.replay else generated(generator, arguments, driver)
    began = shown = time.monotonic()
    for step in source:
        arguments.trace.append(step)
        driver.step(step)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            print(f"  {driver.operations} operations, {driver.compared_events} events", flush=True)
    took = time.monotonic() - began
    driver.step(("barrier",))
    for pair in zip(a, b):
        same_end(driver, *pair, is_single=len(a) == 1)
    print_coverage(coverage)
    if arguments.local_sessions:
        print(f"  {driver.lost_sessions} sessions were local when they came to another server")
        assert driver.lost_sessions, "no session was local"
    print(
        f"seed {arguments.seed}: {driver.operations} operations, {driver.compared_events} events, {len(arguments.trace)} "
        f"steps, no difference ({took:.1f} s, {driver.operations / took:.0f}/s)"
    )


def learner(generator, coverage):
    """What is done with the replies to a batch: the generator learns names, and the codes are
    counted if asked for."""

    def count(requests, replies):
        generator.learn(requests, replies)
        for (op, _, _), body in zip(requests, replies):
            code = proto.HEADER.unpack_from(body)[2]
            coverage[proto.NAMES.get(op, f"op {op}"), code] += 1
            if op == proto.MULTI and code == 0:
                entries = proto.read_reply(op, body)["results"][:-1]
                first = next((entry["err"] for entry in entries if entry["err"]), 0)
                coverage["multi, first error", first] += 1

    return generator.learn if coverage is None else count


def print_coverage(coverage):
    for name in sorted({name for name, _ in coverage}):
        codes = sorted(((code, n) for (of, code), n in coverage.items() if of == name), reverse=True)
        print(f"  {name}: " + ", ".join(f"{code} × {n}" for code, n in codes))


def generated(generator, arguments, driver):
    expiry = not arguments.no_expiry and arguments.ops >= 5000
    for step in generator.steps():
        if driver.operations >= arguments.ops:
            return
        yield step
        if expiry and driver.operations >= arguments.ops // 2:
            expiry = False
            yield ("expire",)


def replayed(path):
    for step in json.loads(pathlib.Path(path).read_text()):
        if step[0] in ("batch", "ends"):
            step[2] = [(op, xid, bytes.fromhex(record)) for op, xid, record in step[2]]
        if len(step) > 2 and "password" in step[2]:
            step[2]["password"] = bytes.fromhex(step[2]["password"])
        yield tuple(step)


def save(path, steps):
    def plain(value):
        return value.hex() if isinstance(value, bytes) else value

    pathlib.Path(path).write_text(json.dumps(steps, default=plain) + "\n")


def same_end(driver, a, b, is_single):
    """The whole trees, and the counters about them."""
    dumps = []
    for address in (a, b):
        client = Client(address)
        client.auth("digest", server.SUPER_AUTH)
        dumps.append(tree.dump(client))
        if not is_single:
            dumps[-1].pop("/zookeeper/config")
        client.close()
    plain = driver.comparer.plain_tree(dumps[0], True), driver.comparer.plain_tree(dumps[1], False)
    for path in sorted(set(dumps[0]) | set(dumps[1])):
        if plain[0].get(path) != plain[1].get(path):
            raise Difference(f"at the end, node {path!r}", dumps[0].get(path), dumps[1].get(path))
    counters = [server_counters(address) for address in (a, b)]
    sizes = [counter.pop(SIZE) for counter in counters]
    if counters[0] != counters[1]:
        raise Difference("at the end, srvr and mntr", *counters)
    counted = str(data_size(dumps[1]))
    if is_single and sizes[1] not in (sizes[0], counted):
        raise Difference(f"at the end, {SIZE}, {counted} as counted", *sizes)


def data_size(nodes):
    """What the size should be: paths in UTF-16 units, data in bytes, the root both as "" and as
    "/"."""
    data = sum(len(base64.b64decode(node.get("data") or "")) for node in nodes.values())
    return data + sum(len(path.encode("utf-16-le", "surrogatepass")) // 2 for path in nodes)


def server_counters(address):
    srvr = dict(line.split(": ", 1) for line in four_letter_word(address, "srvr").splitlines() if ": " in line)
    mntr = dict(line.split("\t", 1) for line in four_letter_word(address, "mntr").splitlines() if "\t" in line)
    return {key: srvr.get(key) for key in ("Zxid", "Mode", "Node count")} | {key: mntr.get(key) for key in (*MNTR, SIZE)}


def report(arguments, difference):
    step = arguments.trace[-1] if arguments.trace else ()
    print(f"DIFFERENCE, seed {arguments.seed}, step {len(arguments.trace) - 1} ({step[0]}, slot {step[1:2]}):")
    print(f"  what: {difference.what}")
    if difference.index is not None and len(step) > 2:
        op, xid, record = step[2][difference.index]
        print(f"  operation {difference.index} of {len(step[2])}: {proto.NAMES.get(op, op)} xid {xid} {shown(record)}")
    for name, answer in (("A", difference.a), ("B", difference.b)):
        print(f"  {name}: {shown(decoded(difference.op, answer))}")
    if arguments.save:
        save(arguments.save, arguments.trace)
        print(f"  the steps are in {arguments.save}; --replay takes them")


def decoded(op, answer):
    if isinstance(answer, list):
        return [decoded(op, entry) for entry in answer]
    if not isinstance(answer, bytes):
        return answer
    try:
        return proto.read_reply(op, answer)
    except Exception:  # whatever it is, it is shown as it came
        return answer.hex()


def shown(value):
    text = repr(value)
    return text if len(text) < 1500 else f"{text[:1400]}… ({len(text)} characters)"


if __name__ == "__main__":
    sys.exit(main())
