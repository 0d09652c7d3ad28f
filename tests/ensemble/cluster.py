"""An ensemble of servers of given kinds, on loopback or each in a network namespace of its own."""

import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

from zk import files
from zk.client import four_letter_word
from zk.server import CACHE, ROOT, SUPER_DIGEST, binary, install

RINGKEEPER = "ringkeeper"
BASE_PORT = int(os.environ.get("ENSEMBLE_PORT", 22700))
FLAGS = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
}
# What an operator may choose: short ticks, so that a test need not wait long.
SETTINGS = {"tickTime": 500, "initLimit": 20, "syncLimit": 8, "4lw.commands.whitelist": "*"}


class Member:
    """One server of an ensemble. Its kind may change while it is stopped."""

    def __init__(self, ensemble, ident, kind, host="127.0.0.1", role="participant"):
        self.ensemble, self.ident, self.kind, self.host, self.role = ensemble, ident, kind, host, role
        self.directory = ensemble.directory / f"server-{ident}"
        self.data = self.directory / "data"
        self.port = ensemble.base + ident
        self.address = f"{host}:{self.port}"
        # Words before the server's own, as `ip netns exec`.
        self.prefix = []
        # How often it was wiped; its logs, by their inode, and the zxids of its snapshots.
        self.relics, self.kept, self.snapshots = 0, {}, set()
        self.process, self.is_paused = None, False
        # Whether its digest mismatches are known to be no fault.
        self.is_excused = False

    def __str__(self):
        return f"server {self.ident} ({self.kind})"

    def line(self):
        base = self.ensemble.base
        return f"server.{self.ident}={self.host}:{base + 10 + self.ident}:{base + 20 + self.ident}:{self.role}"

    @property
    def log(self):
        """What the server says; each kind has a file of its own."""
        return self.directory / f"{self.kind}.log"

    def prepare(self):
        """Writes its configuration, and returns the file."""
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "myid").write_text(f"{self.ident}\n")
        cfg = self.directory / "zoo.cfg"
        cfg.write_text(self.configuration())
        return cfg

    def start(self):
        assert self.process is None, f"{self} runs"
        cfg = self.prepare()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *self.command(cfg)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return self

    def configuration(self):
        lines = {
            **SETTINGS,
            "dataDir": self.data,
            "clientPort": self.port,
            "clientPortAddress": self.host,
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            **self.ensemble.settings,
        }
        if self.role == "observer":
            lines["peerType"] = "observer"
        members = [member.line() for member in self.ensemble.members.values()]
        return "".join(f"{key}={value}\n" for key, value in lines.items()) + "\n".join(members) + "\n"

    def command(self, cfg):
        flags = [f"-D{key}={value}" for key, value in {**FLAGS, **self.ensemble.flags}.items()]
        if self.kind == RINGKEEPER:
            own = [f"-D{key}={value}" for key, value in self.ensemble.own_flags.items()]
            return [binary(), "server", *flags, *own, str(cfg)]
        version, conf = self.kind.removeprefix("apache-"), ROOT / "tests/apache/conf"
        java = os.environ.get("APACHE_JAVA", "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1").split()
        return [
            "java", *java, "-Dapache.log.level=warn", f"-Dlog4j.configuration=file:{conf}/log4j.properties",
            "-Dzookeeper.preAllocSize=1024", *flags, "-cp", f"{conf}:{CACHE}/apache/{version}/lib/*",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(cfg),
        ]  # fmt: skip

    # ---- what it says of itself

    def word(self, word, timeout=3.0):
        """The answer to a four-letter word, "" if there is none in time."""
        try:
            return four_letter_word(self.address, word, timeout)
        except OSError:
            return ""

    def mode(self):
        """`leader`, `follower`, `observer`, `standalone`, `read-only`, or None."""
        return fields(self.word("srvr"), ": ").get("Mode")

    def zxid(self):
        return int(fields(self.word("srvr"), ": ").get("Zxid", "-1"), 0)

    def mntr(self):
        return fields(self.word("mntr"), "\t")

    # ---- what is done to it

    def kill(self):
        """As a crash: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self):
        """As an operator: SIGTERM. The exit code."""
        return self._end(signal.SIGTERM)

    def pause(self):
        """Returns when every thread stands still."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_paused = True
        while not all(state == "T" for state in self._states()):
            time.sleep(0.001)

    def _states(self):
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            yield (task / "stat").read_text().rpartition(")")[2].split()[0]

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def wipe(self):
        """Takes its data away, as if its disk had been replaced."""
        assert self.process is None
        self.collect()
        self.relics += 1
        self.data.rename(self.directory / f"relic-{self.relics}")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def _end(self, how):
        if self.process is None:
            return None
        if self.is_paused and how != signal.SIGKILL:
            self.go_on()
        self.process.send_signal(how)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process, self.is_paused = None, False

    # ---- its files

    def words(self):
        return self.log.read_text(errors="replace")

    def last_words(self):
        return self.words()[-3000:]

    def collect(self):
        """Keeps what logs there are: under a snapshot that the leader sends they are removed."""
        for path in (self.data / "version-2").glob("*.*"):
            kind, _, zxid = path.name.partition(".")
            try:
                if kind == "snapshot":
                    self.snapshots.add(int(zxid, 16))
                elif kind == "log" and (inode := path.stat().st_ino) not in self.kept:
                    self.kept[inode] = self.directory / f"kept-{inode}.log"
                    os.link(path, self.kept[inode])
            except (OSError, ValueError):
                continue  # it is gone already, or no name of a snapshot

    def logs(self):
        """All records that it has ever logged and not cut off, by zxid, and the zxids of its snapshots."""
        self.collect()
        files_kept = [path for path in self.kept.values() if path.exists()]
        records = {record["zxid"]: record for path in files_kept for record in files.read_log(path, is_torn=True)}
        return [records[zxid] for zxid in sorted(records)], self.snapshots


class Orphan:
    """A server that somebody else has started, by its number: as much of a Popen as is used."""

    def __init__(self, pid):
        self.pid = pid

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self):
        return None if os.path.exists(f"/proc/{self.pid}/exe") else 0

    def wait(self, timeout=60.0):
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return 0

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Ensemble:
    """Servers 1, 2, … of the given kinds, in a directory, at `host`, in which {} is a server's number.
    Leaving the `with` kills them all."""

    def __init__(
        self, directory, kinds, observers=(), settings=None, flags=None, own_flags=None, base=BASE_PORT, host="127.0.0.1"
    ):
        self.directory, self.host = pathlib.Path(directory), host
        self.base, self.settings, self.flags, self.own_flags = base, settings or {}, flags or {}, own_flags or {}
        self.mismatches_are_faults = True
        self.members, self.is_over = {}, threading.Event()
        for kind in kinds:
            self._add(kind, "participant")
        for kind in observers:
            self._add(kind, "observer")
        install(*{kind.removeprefix("apache-") for kind in (*kinds, *observers) if kind != RINGKEEPER})

    def _add(self, kind, role):
        ident = len(self.members) + 1
        self.members[ident] = Member(self, ident, kind, host=self.host.format(ident), role=role)

    def __getitem__(self, ident):
        return self.members[ident]

    def __iter__(self):
        return iter(self.members.values())

    def __enter__(self):
        threading.Thread(target=self._collect, daemon=True).start()
        return self

    def _collect(self):
        while not self.is_over.wait(0.02):
            for member in self:
                member.collect()

    def __exit__(self, *_):
        self.is_over.set()
        for member in self:
            member.kill()

    def voters(self):
        return [member for member in self if member.role == "participant"]

    def start(self, *idents):
        for ident in idents or self.members:
            self[ident].start()
        return self

    def stop(self):
        for member in self:
            if member.is_running():
                member.stop()

    def leader(self):
        """The server that says that it leads, None if none or several do."""
        leaders = [member for member in self if member.is_running() and not member.is_paused and member.mode() == "leader"]
        return leaders[0] if len(leaders) == 1 else None

    def wait(self, what, holds, timeout=90.0):
        """Waits until `holds()` is true, and returns what it is."""
        deadline = time.monotonic() + timeout
        while not (found := holds()):
            for member in self:
                assert member.process is None or member.is_running(), f"{member} has ended: {member.last_words()}"
            if time.monotonic() > deadline:
                raise AssertionError(f"waited for {what}: {self.describe()}")
            time.sleep(0.05)
        return found

    def wait_all(self, timeout=90.0):
        """Waits until every server serves, under one leader."""
        roles = {"leader", "follower", "observer"}
        self.wait("every server", lambda: all(member.mode() in roles for member in self), timeout)
        return self.wait("a leader", self.leader, timeout)

    def wait_equal(self, timeout=90.0):
        """Waits until all servers are at one zxid that no longer moves, and returns it."""

        def equal():
            first = {member.zxid() for member in self}
            time.sleep(0.3)
            second = {member.zxid() for member in self}
            return first.pop() if len(first) == 1 and first == second else None

        return self.wait("one zxid everywhere", equal, timeout)

    def describe(self):
        parts = []
        for member in self:
            state = "stopped" if not member.is_running() else "paused" if member.is_paused else member.mode()
            zxid = member.zxid() if member.is_running() and not member.is_paused else -1
            parts.append(f"{member}: {state}, zxid {zxid:#x}")
        return "; ".join(parts)

    def keep(self, where):
        shutil.copytree(self.directory, where, dirs_exist_ok=True)


def fields(text, separator):
    return dict(line.split(separator, 1) for line in text.splitlines() if separator in line)
