"""The rows of `perf/compare --servers 3`: three servers against three, each with a directory of its
own, on one machine and its one disk, in one run.

Prints Markdown as `perf/compare` does, and --json writes everything. Every wait in it is bounded.

  perf/compare --servers 3                      every row, about 15 minutes
  perf/compare --servers 3 --quick              every row, short, about 3 minutes
  perf/compare --servers 3 --rows set16,kill    only these rows (see --help for their names)
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from ensembles import Client, Ensemble, Ports, gaps_of
from servers import (DiskProbe, Failure, Lines, ROOT, absolute, conditions, cpu_seconds, end_on_signals, number, raise_file_limit,
                     say, start_floor, total)
from slowdisk import SlowDisk

TREE_ROOT = "/ringkeeper-bench"
TREE_FANOUT = 1000
# Name, title, sessions, outstanding, mix, which servers are driven.
LOADS = [
    ("set16", "setData 128 B, 16 x 16 over three servers", 16, 16, "set=1", "all"),
    ("set1", "setData 128 B, 1 x 1, at a follower", 1, 1, "set=1", "follower"),
    ("set1leader", "setData 128 B, 1 x 1, at the leader", 1, 1, "set=1", "leader"),
    ("mix", "90 % getData, 10 % setData, 64 x 16 over three servers", 64, 16, "get=90,set=10", "all"),
]
# What they must reach: figure, relation, bound, against whom.
TARGETS = {
    "set16": [("throughput", ">=", 6.0, "apache"), ("cpu", "<=", 1 / 12, "apache")],
    "set1": [("p50", "<=", 0.7, "apache"), ("p99", "<=", 0.5, "apache"), ("p50", "<=", None, "2 echo + durable")],
    "set1leader": [("p50", "<=", 0.7, "apache"), ("p99", "<=", 0.5, "apache"), ("p50", "<=", None, "echo + durable")],
    "mix": [("throughput", ">=", 8.0, "apache")],
}
UNITS = {"throughput": "op/s", "cpu": "us CPU/op", "p50": "us p50", "p99": "us p99"}
FIGURES = ["throughput", "cpu", "client", "others", "idle", "p50", "p99", "p99.9"]
# Of one core, what processes that have no part in it may take before a slot is marked.
OTHERS_MAX = 0.15
FAULTS = ["kill", "gap", "pause"]
ROW_NAMES = [name for name, *_ in LOADS] + FAULTS + ["rejoin", "slowdisk"]
KINDS = ["apache", "ringkeeper"]
# The ensembles to which faults are done: a leader that says nothing is given up after 2 s.
TICK_MS, SYNC_LIMIT = 500, 4
# Milliseconds: a killed leader's p50 and p99, a gap, what a pause may take beyond syncLimit.
KILL_P50_MS, KILL_P99_MS, GAP_MS, PAUSE_MORE_MS = 100.0, 500.0, 10.0, 200.0
# One write every 2 ms while gaps are looked for; the fault happens half-way through the time.
GAP_EVERY, GAP_SECONDS = 0.002, 1.2
# Writes a second while a server catches up by DIFF, the same for both kinds.
DIFF_RATE = 2000
FLUSH_MS = 50
SLOW_DISK = [("slow1", "1 x 1 at another server"), ("slow16", "16 x 1 at the two others"),
             ("slow16all", "16 x 1 at all three")]


def are_meant(arguments):
    """Whether the arguments of perf/compare ask for an ensemble."""
    return "--servers" in arguments or any(argument.startswith("--servers=") for argument in arguments)


def main(arguments):
    options = parse_options(arguments)
    raise_file_limit()
    end_on_signals()
    os.makedirs(options.work, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="ringkeeper-ensembles-", dir=options.work))
    run = Run(options, work)
    try:
        run.measure()
    except KeyboardInterrupt:
        run.failures.append("interrupted")
    finally:
        run.stop_all()
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    run.judge()
    print(run.tables())
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(run.document(), indent=1) + "\n")
    for failure in run.failures:
        say(f"FAILED: {failure}")
    return 1 if run.failures else 0


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="perf/compare --servers 3", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, choices=[3], required=True, help="the servers of an ensemble")
    parser.add_argument("--rows", default=",".join(ROW_NAMES), help="of " + ",".join(ROW_NAMES))
    parser.add_argument("--quick", action="store_true", help="short slots, few faults, 100,000 znodes: a smoke test")
    numbers = [
        ("slots", int, 5, 2, "slots per kind and load"), ("slot-seconds", float, 5.0, 1.5, "measured seconds per slot"),
        ("warm-seconds", float, 45.0, 9.0, "load on Apache before it counts"),
        ("kills", int, 25, 4, "kills of a leader"), ("gaps", int, 12, 3, "kills, and pauses, of a follower"),
        ("pauses", int, 5, 1, "pauses of a leader"), ("znodes", int, 1_000_000, 100_000, "znodes under rejoin"),
        ("behind", int, 100_000, 20_000, "transactions that a server is behind under rejoin, DIFF"),
        ("rejoins", int, 3, 1, "rejoins of each sort"),
    ]
    for name, kind, full, quick, text in numbers:
        parser.add_argument(f"--{name}", type=kind, help=f"{text} (default {full}, quick {quick})")
    parser.add_argument("--ringkeeper", default=str(ROOT / "target/release/ringkeeper"), help="the program")
    parser.add_argument("--apache", help="directory of Apache's jars (default: as tests/apache/install puts them)")
    parser.add_argument("--only", choices=KINDS, help="run just one of the two kinds")
    parser.add_argument("--twice", choices=KINDS, help="run this kind in the other's place as well: what is noise")
    parser.add_argument("--first-port", type=int, default=23000, help="ports of the servers (default 23000 and up)")
    parser.add_argument("--work", default=tempfile.gettempdir(), help="where data directories go (a real disk)")
    parser.add_argument("--keep", action="store_true", help="keep the data directories")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--add-to", help="add to the figures of earlier runs in this file, and judge them together")
    options = parser.parse_args(arguments)
    absolute(options)
    options.json = options.add_to or options.json
    for name, _, full, quick, _ in numbers:
        name = name.replace("-", "_")
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    options.server_core = options.client_core = None
    options.rows = options.rows.split(",")
    unknown = set(options.rows) - set(ROW_NAMES)
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROW_NAMES)}")
    return options


class Run:
    """Everything that is started and measured."""

    def __init__(self, options, work):
        self.options, self.work = options, work
        self.ports = Ports(options.first_port)
        self.ensembles, self.floors, self.disks = [], [], []
        self.slots, self.facts = {}, {}
        self.lines, self.failures = Lines(), []
        slots = (f"three servers of each kind, each with its own directory on the one disk; medians of "
                 f"{options.slots} alternating slots of {options.slot_seconds:g} s")
        self.conditions = conditions(options, work, slots)
        # The rows that there are figures of.
        self.rows = set()
        if options.add_to and pathlib.Path(options.add_to).exists():
            earlier = json.loads(pathlib.Path(options.add_to).read_text())
            self.slots, self.facts, self.rows = earlier["slots"], earlier["facts"], set(earlier["rows"])

    def kinds(self):
        return [self.options.only] if self.options.only else KINDS

    def measure(self):
        for line in self.conditions.values():
            say(line)
        self.rows |= set(self.options.rows)
        parts = [({name for name, *_ in LOADS}, self.measure_loads), (set(FAULTS), self.measure_faults),
                 ({"rejoin"}, self.measure_rejoins), ({"slowdisk"}, self.measure_slow_disk)]
        for names, measure in parts:
            if not names & set(self.options.rows):
                continue
            # What others have left in the page cache is not written while something is measured.
            os.sync()
            try:
                measure()
            except (Failure, subprocess.SubprocessError) as failure:
                self.failures.append(str(failure))
            self.stop_all()

    # Starting and driving.

    def ensemble(self, kind, purpose, **more):
        program = kind
        if self.options.twice:
            program = self.options.twice
        ensemble = Ensemble(f"{kind} ({purpose})", program, self.work / f"{kind}-{purpose}", self.options, self.ports,
                            **more)
        self.ensembles.append(ensemble)
        return ensemble

    def bench_command(self, members, ensemble, load):
        return [self.options.ringkeeper, "bench", "--quiet", "--server", ",".join(member.address for member in members),
                "--pid", ",".join(str(member.pid) for member in ensemble.running())] + [str(part) for part in load]

    def bench(self, members, ensemble, load, seconds, warmup=0.0, limit=300.0):
        """Loads the given members of an ensemble and returns the report."""
        command = self.bench_command(members, ensemble, load)
        command += ["--duration", str(seconds), "--warmup", str(warmup), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit)
        if done.returncode != 0:
            raise Failure(f"{ensemble.name}: {' '.join(command)}\n{done.stderr}")
        return self.checked(json.loads(done.stdout), ensemble)

    def make_tree(self, members, ensemble, load):
        """Makes the tree and nothing else."""
        command = self.bench_command(members, ensemble, load)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=300)
        if done.returncode != 0:
            raise Failure(f"{ensemble.name}: {' '.join(command)}\n{done.stderr}")

    @contextlib.contextmanager
    def load_meanwhile(self, members, ensemble, load, reports):
        """Loads the members until the end of the block, and appends the report."""
        command = self.bench_command(members, ensemble, load)
        command += ["--duration", "300", "--warmup", "0", "--until-eof", "--json"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(0.5)
            yield
            output, errors = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            raise Failure(f"{ensemble.name}: {' '.join(command)}\n{errors}")
        reports.append(self.checked(json.loads(output), ensemble))

    def checked(self, report, ensemble):
        if report["errors"]:
            raise Failure(f"{ensemble.name} answered with errors: {report['errors']}")
        return report

    def stop_all(self):
        for ensemble in self.ensembles:
            ensemble.stop()
        for floor in self.floors:
            floor.kill()
            floor.wait()
        for disk in self.disks:
            disk.remove()
        self.ensembles, self.floors, self.disks = [], [], []

    # Loads: both ensembles stay up, one of them is driven at a time.

    def measure_loads(self):
        ensembles = {kind: self.ensemble(kind, "load") for kind in self.kinds()}
        for ensemble in ensembles.values():
            ensemble.start()
            ensemble.await_roles()
        for kind, ensemble in ensembles.items():
            self.warm(kind, ensemble)
        echo_port, echo = start_floor("echo", self.options, self.work)
        self.floors.append(echo)
        for name, title, sessions, outstanding, mix, where in LOADS:
            if name not in self.options.rows:
                continue
            load = ["--sessions", sessions, "--outstanding", outstanding, "--mix", mix]
            for slot in range(self.options.slots):
                for kind in list(ensembles) if slot % 2 == 0 else list(ensembles)[::-1]:
                    ensemble = ensembles[kind]
                    leader, followers = ensemble.leader(), ensemble.followers()
                    members = {"all": ensemble.members, "leader": [leader],
                               "follower": [followers[slot % len(followers)]]}[where]
                    report = self.bench(members, ensemble, load + ["--seed", slot + 1], self.options.slot_seconds,
                                        min(1.0, self.options.slot_seconds / 3))
                    self.keep(name, kind, report)
                if where != "all":
                    self.floors_slot(name, echo_port, echo)

    def warm(self, kind, ensemble):
        seconds = self.options.warm_seconds if kind == "apache" else min(3.0, self.options.warm_seconds)
        say(f"warming {ensemble.name} up for {seconds:.0f} s; server {ensemble.leader().number} leads")
        self.make_tree(ensemble.members, ensemble, ["--duration", 0])
        ensemble.await_equal()
        for mix, sessions, outstanding in [("get=1", 16, 16), ("set=1", 16, 16), ("get=9,set=1", 64, 16)]:
            self.bench(ensemble.members, ensemble, ["--sessions", sessions, "--outstanding", outstanding, "--mix", mix],
                       seconds / 3)

    def floors_slot(self, name, port, process):
        """What one client's write cannot be faster than: a request and its reply, and a durable write."""
        command = [self.options.ringkeeper, "bench", "--quiet", "--echo", "--server", f"127.0.0.1:{port}", "--pid",
                   str(process.pid), "--sessions", "1", "--outstanding", "1", "--mix", "set=1", "--duration", "1",
                   "--warmup", "0.2", "--json"]
        self.keep(name, "echo", json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout))
        self.slots[name].setdefault("durable", []).append(self.durable_write(self.work))

    def durable_write(self, directory, count=500):
        command = [self.options.ringkeeper, "bench", "durable-write", "--json", "--dir", str(directory), "--count",
                   str(count), "--duration", "10"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)

    def keep(self, row, who, report):
        slots = self.slots.setdefault(row, {}).setdefault(who, [])
        slots.append(report)
        latency = report["latency_us"]
        say(f"{row:11} slot {len(slots)}  {who:18} {report['ops_per_second']:9.0f} op/s   p50 {latency['p50']:8.1f} us   "
            f"p99 {latency['p99']:9.1f} us   CPU {report['server_cpu_us_per_op']:6.2f} us/op"
            + (f"   OTHERS took {others(report):.2f} of a core" if others(report) > OTHERS_MAX else ""))

    # Faults: one ensemble at a time.

    def measure_faults(self):
        for kind in self.kinds():
            ensemble = self.ensemble(kind, "faults", tick_time=TICK_MS, sync_limit=SYNC_LIMIT)
            facts = self.facts.setdefault(kind, {})
            try:
                ensemble.start()
                ensemble.await_roles()
                self.bench(ensemble.members, ensemble, ["--sessions", 16, "--outstanding", 4, "--mix", "set=1"],
                           min(5.0, self.options.warm_seconds))
                for name, measure in [("kill", self.kill), ("gap", self.gap), ("pause", self.pause)]:
                    if name in self.options.rows:
                        measure(kind, ensemble, facts)
            except Failure as failure:
                self.failures.append(str(failure))
            ensemble.stop()

    def kill(self, kind, ensemble, facts):
        """From the SIGKILL of the leader to the next acknowledged write of a client at a follower."""
        for turn in range(self.options.kills):
            leader, followers = ensemble.leader(), ensemble.followers()
            client = Client(followers[turn % 2:] + followers[:turn % 2])
            gaps_of(client, 0.3, GAP_EVERY)
            connects = client.connects
            killed = time.monotonic()
            os.kill(leader.pid, 9)
            seconds = client.write() - killed
            ensemble.kill(leader)
            facts.setdefault("kill_ms", []).append(seconds * 1000)
            say(f"kill        {turn + 1:3}  {kind:18} leader {leader.number}: next write after {seconds * 1000:.0f} ms, "
                f"{client.connects - connects} connections")
            client.close()
            ensemble.start(leader)
            ensemble.await_roles()

    def gap(self, kind, ensemble, facts):
        """The longest gap between acknowledged writes of a client at another server, around the
        kill or the pause of a follower."""
        for how in ("killed", "paused"):
            for turn in range(self.options.gaps):
                leader, followers = ensemble.leader(), ensemble.followers()
                victim, other = followers[turn % 2], followers[1 - turn % 2]
                client = Client([leader if turn // 2 % 2 else other])
                with contextlib.ExitStack() as stack:
                    if how == "killed":
                        do = lambda: os.kill(victim.pid, 9)
                    else:
                        do = lambda: stack.enter_context(ensemble.paused(victim, waits=False))
                    with DiskProbe(self.work) as probe:
                        disk = {}
                        def fault():
                            disk["before"] = probe.restart()
                            do()
                        before, after = gaps_of(client, GAP_SECONDS, GAP_EVERY, GAP_SECONDS / 2, fault)
                        disk["after"] = probe.restart()
                    if how == "paused":
                        ensemble.await_stopped(victim)
                facts.setdefault(f"gap_{how}_ms", []).append(after * 1000)
                facts.setdefault(f"gap_{how}_disk_ms", []).append(disk["after"] * 1000)
                facts.setdefault("gap_without_ms", []).append(before * 1000)
                facts.setdefault("gap_without_disk_ms", []).append(disk["before"] * 1000)
                say(f"gap         {turn + 1:3}  {kind:18} follower {how}: {after * 1000:.1f} ms, before {before * 1000:.1f} ms; "
                    f"a bare durable write {disk['after'] * 1000:.1f} and {disk['before'] * 1000:.1f} ms")
                client.close()
                if how == "killed":
                    ensemble.kill(victim)
                    ensemble.start(victim)
                ensemble.await_roles()

    def pause(self, kind, ensemble, facts):
        """From the SIGSTOP of the leader to the next acknowledged write of a client at a follower."""
        for turn in range(self.options.pauses):
            leader, followers = ensemble.leader(), ensemble.followers()
            client = Client(followers[turn % 2:] + followers[:turn % 2])
            gaps_of(client, 0.3, GAP_EVERY)
            with ensemble.paused(leader):
                started = time.monotonic()
                seconds = client.write() - started
            facts.setdefault("pause_ms", []).append(seconds * 1000)
            say(f"pause       {turn + 1:3}  {kind:18} leader {leader.number}: next write after {seconds * 1000:.0f} ms")
            client.close()
            time.sleep(0.3)
            ensemble.await_roles()

    # A server that is behind.

    def measure_rejoins(self):
        for kind in self.kinds():
            # Apache counts the room that it reserves at the end of a log as part of the log, and sends
            # a snapshot where the log seems long, by whole files: so they are short.
            settings = "preAllocSize=1024\ntxnLogSizeLimitInKb=4096\n"
            ensemble = self.ensemble(kind, "rejoin", settings=settings)
            facts = self.facts.setdefault(kind, {})
            try:
                self.rejoin(kind, ensemble, facts)
            except Failure as failure:
                self.failures.append(str(failure))
            ensemble.stop()

    def rejoin(self, kind, ensemble, facts):
        options = self.options
        first, second, third = ensemble.members
        ensemble.start(first, second)
        ensemble.await_roles()
        say(f"{ensemble.name}: creating {options.znodes} znodes of 100 B")
        tree = ["--nodes", options.znodes, "--fanout", TREE_FANOUT, "--payload", 100]
        started = time.monotonic()
        self.make_tree([first, second], ensemble, tree + ["--duration", 0, "--sessions", 16])
        say(f"{ensemble.name}: created in {time.monotonic() - started:.1f} s")
        # The periodic snapshots fall into the making of the znodes, and none into what is measured.
        self.await_rest(ensemble)
        ensemble.stop()
        ensemble.settings += "snapCount=1000000000\n"
        ensemble.start(first, second)
        ensemble.await_roles()
        writes = tree + ["--sessions", 16, "--outstanding", 1, "--mix", "set=1"]
        seconds = max(3.0, options.slot_seconds)
        warm = min(10.0, options.warm_seconds) if kind == "apache" else 1.0
        for turn in range(options.rejoins):
            self.await_rest(ensemble)
            report = self.bench([first, second], ensemble, writes, seconds, warm)
            facts.setdefault("without", []).append(report)
            # It comes with nothing.
            shutil.rmtree(third.directory / "data", ignore_errors=True)
            self.rejoin_once(kind, ensemble, facts, "snap", writes)
            self.stop_third(ensemble, third)
        ensemble.start(third)
        ensemble.await_roles()
        for turn in range(options.rejoins):
            self.stop_third(ensemble, third)
            self.bench([first, second], ensemble, tree + ["--sessions", 16, "--outstanding", 16, "--mix", "set=1", "--ops",
                                                          options.behind], 120)
            self.await_rest(ensemble)
            paced = tree + ["--sessions", 16, "--outstanding", 64, "--mix", "set=1", "--rate", DIFF_RATE]
            self.rejoin_once(kind, ensemble, facts, "diff", paced)

    def stop_third(self, ensemble, third):
        if ensemble.leader() is third:
            raise Failure(f"{ensemble.name}: the server that joined last leads")
        ensemble.kill(third)

    def rejoin_once(self, kind, ensemble, facts, how, load):
        """Starts the third server under load, until it serves and has all that was there when it
        was started."""
        first, second, third = ensemble.members
        leader = ensemble.leader()
        before, reports = leader.counters(), []
        with self.load_meanwhile([first, second], ensemble, load, reports):
            zxid = leader.zxid()
            started = time.monotonic()
            ensemble.start(third)
            ensemble.await_member(third, 120.0, zxid)
            seconds = time.monotonic() - started
        after = leader.counters()
        sent = {name: after.get(key, 0) - before.get(key, 0)
                for name, key in [("snap", "zk_snap_count"), ("diff", "zk_diff_count")]}
        facts.setdefault(f"{how}_seconds", []).append(seconds)
        facts.setdefault(f"{how}_sent", []).append(sent)
        facts.setdefault(how, []).extend(reports)
        latency = reports[0]["latency_us"]
        say(f"rejoin      {how}  {kind:18} in sync after {seconds:.2f} s ({sent}); writes of the others meanwhile: "
            f"{reports[0]['ops_per_second']:.0f} op/s, p50 {latency['p50']:.0f} us, p99 {latency['p99']:.0f} us, "
            f"max {latency['max']:.0f} us")

    def await_rest(self, ensemble, seconds=20.0):
        """Waits until the servers have next to nothing to do."""
        deadline = time.monotonic() + seconds
        used = lambda: sum(cpu_seconds(member.pid) for member in ensemble.running())
        while time.monotonic() < deadline:
            before = used()
            time.sleep(0.5)
            if used() - before < 0.08:
                return

    # A server of three with a slow disk, beside an ensemble without one.

    def measure_slow_disk(self):
        for kind in self.kinds():
            facts = self.facts.setdefault(kind, {})
            # The layers themselves take time of the processors: both have them.
            directories = {}
            for name, flush_ms in [("fast", 0), ("slow", FLUSH_MS)]:
                disk = SlowDisk(self.work / f"{kind}-{name}-disk", flush_ms)
                self.disks.append(disk)
                directories[name] = disk.directory / "3"
                flush_us = self.durable_write(disk.directory, 10)["floor"]["latency_us"]["p50"]
                facts[f"{name}_flush_us"] = flush_us
                say(f"{kind}: a durable 4 KiB write on the {name} disk takes {flush_us / 1000:.1f} ms")
            fast = self.ensemble(kind, "fast", last=directories["fast"])
            slow = self.ensemble(kind, "slow", last=directories["slow"])
            for ensemble in (fast, slow):
                # The third comes last, so it follows.
                ensemble.start(*ensemble.members[:2])
                ensemble.await_roles()
                ensemble.start(ensemble.members[2])
                ensemble.await_roles()
                self.warm(kind, ensemble)
            for name, sessions, count in [("slow1", 1, 2), ("slow16", 16, 2), ("slow16all", 16, 3)]:
                load = ["--sessions", sessions, "--outstanding", 1, "--mix", "set=1"]
                for slot in range(self.options.slots):
                    pair = [("", fast), (", slow", slow)]
                    for suffix, ensemble in pair if slot % 2 == 0 else pair[::-1]:
                        if ensemble.leader() is ensemble.members[2]:
                            raise Failure(f"{ensemble.name}: the server that joined last leads")
                        report = self.bench(ensemble.members[:count], ensemble, load, self.options.slot_seconds, 0.5)
                        self.keep(name, kind + suffix, report)
            self.stop_all()

    # Judging.

    def median(self, row, who, figure):
        """The median over the slots of one contender, or None where it did not run."""
        reports = self.slots.get(row, {}).get(who)
        return median_of(reports, figure) if reports else None

    def judge(self):
        """Makes the table, of whatever there are figures of."""
        self.judge_loads()
        self.judge_faults()
        if "rejoin" in self.rows:
            self.judge_rejoins()
        if "slowdisk" in self.rows:
            self.judge_slow_disk()

    def judge_loads(self):
        for name, title, *_ in LOADS:
            for figure, relation, bound, against in TARGETS[name] if name in self.rows else []:
                ours = self.median(name, "ringkeeper", figure)
                if against.endswith("echo + durable"):
                    hops = 2 if against.startswith("2") else 1
                    echo = self.median(name, "echo", "p50")
                    theirs = total(echo * hops if echo else None, self.median(name, "durable", "durable"))
                else:
                    theirs = self.median(name, against, figure)
                self.lines.add(f"{title}: {UNITS[figure]}", against, ours, theirs, relation, bound)

    def judge_faults(self):
        ours, theirs = self.facts.get("ringkeeper", {}), self.facts.get("apache", {})
        def both(key, title, share, limit):
            at = lambda facts: rank(facts[key], share) if facts.get(key) else None
            self.lines.add(title, f"at most {limit:g} ms", at(ours), limit, "<=", 1.0)
            self.lines.add(title, "apache", at(ours), at(theirs), "<=", None)
        if "kill" in self.rows:
            count = len(ours.get("kill_ms", []))
            both("kill_ms", f"leader killed, next write: ms p50 of {count}", 0.5, KILL_P50_MS)
            both("kill_ms", "the same: ms p99", 0.99, KILL_P99_MS)
        if "gap" in self.rows:
            for how in ("killed", "paused"):
                both(f"gap_{how}_ms", f"follower {how}, longest gap between writes: ms p50", 0.5, GAP_MS)
                both(f"gap_{how}_ms", "the same: ms, worst", 1.0, GAP_MS)
            both("gap_without_ms", "no fault, longest gap in the time before: ms p50", 0.5, GAP_MS)
            both("gap_without_ms", "the same: ms, worst", 1.0, GAP_MS)
            for how in ("killed", "paused", "without"):
                gaps, disk = (ours.get(f"gap_{how}{of}_ms", []) for of in ("", "_disk"))
                worst = max(zip(gaps, disk), default=(None, None))
                title = "no fault" if how == "without" else f"follower {how}"
                self.lines.add(f"{title}: the worst gap, and a bare durable write beside it: ms", "disk", *worst, "<=", None)
        if "pause" in self.rows:
            both("pause_ms", "leader paused, next write: ms, worst", 1.0, TICK_MS * SYNC_LIMIT + PAUSE_MORE_MS)

    def judge_rejoins(self):
        ours, theirs = self.facts.get("ringkeeper", {}), self.facts.get("apache", {})
        tail = lambda facts, how: median_of(facts[how], "p99") if facts.get(how) else None
        middle = lambda facts, key: statistics.median(facts[key]) if facts.get(key) else None
        znodes, behind = f"{self.options.znodes:,}", f"{self.options.behind:,}"
        title = f"a server joins by SNAP of {znodes} znodes, setData 16 x 1 at the others: us p99"
        self.lines.add(title, "its own without", tail(ours, "snap"), tail(ours, "without"), "<=", 2.0)
        self.lines.add("the same, Apache's", "its own without", tail(theirs, "snap"), tail(theirs, "without"), "<=", None)
        self.lines.add("the same, until it is in sync: s", "apache", middle(ours, "snap_seconds"),
                       middle(theirs, "snap_seconds"), "<=", None)
        title = f"a server rejoins {behind} transactions behind by DIFF, {DIFF_RATE:,} writes/s: s"
        self.lines.add(title, "apache", middle(ours, "diff_seconds"), middle(theirs, "diff_seconds"), "<=", 1 / 3)
        for kind, facts in self.facts.items():
            for how in ("snap", "diff"):
                if any(sent[how] != 1 for sent in facts.get(f"{how}_sent", [])):
                    self.failures.append(f"{kind}: not every rejoin by {how} was one: {facts[f'{how}_sent']}")

    def judge_slow_disk(self):
        for name, title in SLOW_DISK:
            for kind in reversed(KINDS):
                with_slow, without = (self.median(name, kind + suffix, "p50") for suffix in (", slow", ""))
                # Of slots that follow each other: what the machine does meanwhile is the same to both.
                pairs = zip(*(self.slots.get(name, {}).get(kind + suffix, []) for suffix in (", slow", "")))
                ratios = [median_of([one], "p50") / median_of([other], "p50") for one, other in pairs]
                ratio = statistics.median(ratios) if ratios else None
                bound = 1.2 if kind == "ringkeeper" and name != "slow16all" else None
                who = "" if kind == "ringkeeper" else ", Apache's"
                self.lines.add(f"a follower whose disk flushes in {FLUSH_MS} ms, setData {title}{who}: us p50",
                               "its own without", with_slow, without, "<=", bound, ratio)

    # Printing.

    def tables(self):
        rows = ["| work | who | op/s | us CPU/op | of the client | cores of others | machine idle, % | us p50 | us p99 | "
                "us p99.9 |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
        titles = {name: title for name, title, *_ in LOADS}
        titles |= {name: f"setData {title}, beside a slow disk or not" for name, title in SLOW_DISK}
        for name, by_who in self.slots.items():
            for who in by_who:
                if who != "durable":
                    figures = [number(self.median(name, who, figure)) for figure in FIGURES]
                    rows.append("| " + " | ".join([titles.get(name, name), who] + figures) + " |")
        for kind, facts in self.facts.items():
            for how in ("without", "snap", "diff"):
                if facts.get(how):
                    figures = [number(median_of(facts[how], figure)) for figure in FIGURES]
                    rows.append("| " + " | ".join([f"rejoin: {how}", kind] + figures) + " |")
        return "\n".join(list(self.conditions.values()) + [""] + self.lines.markdown()
                         + (["", *rows] if len(rows) > 2 else []))

    def document(self):
        return {"conditions": self.conditions, "rows": sorted(self.rows), "failures": self.failures, "lines": self.lines.all, "slots": self.slots,
                "facts": self.facts}


def others(report):
    """The cores that were kept busy by what is neither the servers nor the client: the kernel's own
    threads, and whatever else runs on the machine."""
    rest = report["machine_cpu_us_per_op"] - report["server_cpu_us_per_op"] - report["client_cpu_us_per_op"]
    return max(0.0, rest * report["ops_per_second"] / 1e6)


def median_of(reports, figure):
    read = {
        "throughput": lambda report: report["ops_per_second"],
        "cpu": lambda report: report["server_cpu_us_per_op"],
        "others": others,
        "idle": lambda report: report["machine_idle"] * 100,
        "client": lambda report: report["client_cpu_us_per_op"],
        "durable": lambda report: report["floor"]["latency_us"]["p50"],
    }.get(figure, lambda report: report["latency_us"][figure])
    return statistics.median(read(report) for report in reports)


def rank(values, share):
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
