"""Ensembles of three servers as `perf/compare --servers 3` runs them, and a client that follows
one: it has one session, writes one znode at a time, and is at the next server at once when it loses
its own."""

import contextlib
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

from servers import Failure, Frames, HEAP, ROOT, install_apache

# Ports of members come from here up, below those that the kernel gives to outgoing connections: a
# member that is started again must find its own free.
FIRST_PORT = 23000


class Ports:
    """Hands out ports that nobody listens on, each once."""

    def __init__(self, first=FIRST_PORT):
        self.next = first

    def take(self):
        while True:
            self.next += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.next - 1))
                except OSError:
                    continue
                return self.next - 1


class Member:
    """One server of an ensemble, with a directory of its own."""

    def __init__(self, number, command, directory, client, quorum, election):
        self.number, self.command, self.directory, self.port = number, command, directory, client
        self.line = f"server.{number}=127.0.0.1:{quorum}:{election}"
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def log_tail(self):
        return "\n".join((self.directory / "log.txt").read_text(errors="replace").splitlines()[-15:])

    def word(self, word):
        """The answer to a word, as text; empty where there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.settimeout(2)
                connection.sendall(word.encode())
                answer = b""
                while more := connection.recv(65536):
                    answer += more
                return answer.decode(errors="replace")
        except OSError:
            return ""

    def role(self):
        """`leader` or `follower` where it serves, None where it does not."""
        found = re.search(r"^Mode: (\w+)", self.word("srvr"), re.MULTILINE)
        return found.group(1) if found and found.group(1) in ("leader", "follower") else None

    def zxid(self):
        """The last transaction that it has applied; 0 where it does not serve."""
        found = re.search(r"^Zxid: 0x([0-9a-f]+)", self.word("srvr"), re.MULTILINE)
        return int(found.group(1), 16) if found else 0

    def counters(self):
        """The numbers of `mntr`."""
        pairs = (line.split("\t") for line in self.word("mntr").splitlines() if line.count("\t") == 1)
        return {key: float(value) for key, value in pairs if re.fullmatch(r"-?[\d.]+", value)}


class Ensemble:
    """Three servers of one kind, `apache` or `ringkeeper`. Nothing in it waits for ever."""

    def __init__(self, name, kind, work, options, ports, tick_time=2000, sync_limit=5, settings="", last=None):
        """`last` is the directory of the third server, if it is not beside the others."""
        self.name, self.kind, self.settings = name, kind, settings
        self.tick_time, self.sync_limit = tick_time, sync_limit
        if kind == "apache":
            jars = options.apache or install_apache()
            command = ["java", HEAP, "-Dzookeeper.admin.enableServer=false", "-Dapache.log.level=warn",
                       "-cp", f"{ROOT / 'tests/apache/conf'}:{jars}/*",
                       "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
        else:
            command = [options.ringkeeper, "server"]
        self.members = []
        for number in (1, 2, 3):
            directory = last if number == 3 and last else work / str(number)
            self.members.append(
                Member(number, command, directory, ports.take(), ports.take(), ports.take()))

    def configure(self, member):
        data = member.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{member.number}\n")
        lines = "\n".join(each.line for each in self.members)
        config = member.directory / "zoo.cfg"
        config.write_text(
            f"clientPort={member.port}\nclientPortAddress=127.0.0.1\ndataDir={data}\n"
            f"tickTime={self.tick_time}\ninitLimit=60\nsyncLimit={self.sync_limit}\n"
            f"maxClientCnxns=0\nmaxSessionTimeout=60000\n4lw.commands.whitelist=*\n{lines}\n{self.settings}")
        return config

    def start(self, *members):
        """Starts the given members, or all that do not run, without waiting for them."""
        for member in members or self.members:
            if member.is_running():
                continue
            command = member.command + [str(self.configure(member))]
            with open(member.directory / "log.txt", "ab") as log:
                member.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                                  cwd=member.directory)

    def await_roles(self, seconds=60.0):
        """Waits until every member that runs serves and one of them leads; returns the seconds."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            running = [member for member in self.members if member.process is not None]
            for member in running:
                if not member.is_running():
                    raise Failure(f"{self.name}: server {member.number} ended by itself:\n{member.log_tail()}")
            roles = [member.role() for member in running]
            if None not in roles and roles.count("leader") == 1:
                return time.monotonic() - started
            time.sleep(0.02)
        tails = "\n".join(member.log_tail() for member in self.members if member.process is not None)
        raise Failure(f"{self.name}: no quorum of all in {seconds:.0f} s:\n{tails}")

    def await_member(self, member, seconds=60.0, zxid=0):
        """Waits until one member serves and has this transaction; returns the seconds."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if not member.is_running():
                raise Failure(f"{self.name}: server {member.number} ended by itself:\n{member.log_tail()}")
            if member.role() is not None and member.zxid() >= zxid:
                return time.monotonic() - started
            time.sleep(0.01)
        raise Failure(f"{self.name}: server {member.number} does not serve after {seconds:.0f} s:\n{member.log_tail()}")

    def await_equal(self, seconds=30.0):
        """Waits until every member that runs has what the leader has now."""
        zxid, deadline = self.leader().zxid(), time.monotonic() + seconds
        while any(member.zxid() < zxid for member in self.running()):
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: a server is behind after {seconds:.0f} s")
            time.sleep(0.02)

    def leader(self):
        leaders = [member for member in self.members if member.is_running() and member.role() == "leader"]
        if len(leaders) != 1:
            raise Failure(f"{self.name}: {len(leaders)} servers lead")
        return leaders[0]

    def followers(self):
        leader = self.leader()
        return [member for member in self.members if member.is_running() and member is not leader]

    def running(self):
        return [member for member in self.members if member.is_running()]

    def kill(self, member):
        member.process.send_signal(signal.SIGKILL)
        member.process.wait(30)
        member.process = None

    @contextlib.contextmanager
    def paused(self, member, waits=True):
        """SIGSTOP, until no thread of it runs any more, and SIGCONT at the end. A thread that waits
        for the disk stops when that has answered; who measures meanwhile does not wait for it."""
        member.process.send_signal(signal.SIGSTOP)
        if waits:
            self.await_stopped(member)
        try:
            yield
        finally:
            if member.process is not None:
                member.process.send_signal(signal.SIGCONT)

    def await_stopped(self, member):
        deadline = time.monotonic() + 5
        while not is_stopped(member.pid):
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: server {member.number} does not stop")

    def stop(self):
        for member in self.members:
            if member.process is not None:
                member.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        for member in self.members:
            if member.process is None:
                continue
            try:
                member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
            member.process = None


class Client(Frames):
    """One session that writes one znode. A write that its server does not answer is sent again at
    the next server, without a pause beyond a millisecond."""

    PATH = "/perf-client"
    AGAIN = 0.001

    def __init__(self, members, timeout_ms=20_000):
        self.members = list(members)
        self.timeout_ms = timeout_ms
        self.id, self.password = 0, bytes(16)
        self.socket, self.at, self.xid = None, 0, 0
        self.connects = 0
        self.connect(30.0)
        self.create()

    @property
    def member(self):
        return self.members[self.at]

    def connect(self, seconds):
        """Connects to the server whose turn it is, or the ones after it, until one takes the session."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connect_once()
                return
            except OSError as error:
                self.drop()
                self.at = (self.at + 1) % len(self.members)
                if time.monotonic() > deadline:
                    raise Failure(f"no server took a session in {seconds:.0f} s: {error}") from error
                time.sleep(self.AGAIN)

    def connect_once(self):
        self.socket = socket.create_connection(("127.0.0.1", self.member.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(15)
        self.connects += 1
        self.send(struct.pack(">iqiq", 0, 0, self.timeout_ms, self.id)
                  + struct.pack(">i", 16) + self.password + b"\0")
        answer = self.receive()
        _, timeout, session, length = struct.unpack(">iiqi", answer[:20])
        if timeout <= 0:
            raise Failure(f"the session 0x{self.id:x} has expired")
        self.id, self.password = session, answer[20:20 + length]

    def create(self):
        """Creates the znode that is written; it may be there."""
        self.request(1, self.path_bytes() + struct.pack(">i", 128) + bytes(128)
                     + struct.pack(">iii", 1, 31, 5) + b"world" + struct.pack(">i", 6) + b"anyone"
                     + struct.pack(">i", 0), allowed=(0, -110))

    def write(self, seconds=60.0):
        """Writes until a write is acknowledged, and returns the time at which it was."""
        body = self.path_bytes() + struct.pack(">i", 128) + bytes(128) + struct.pack(">i", -1)
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.request(5, body)
            except OSError as error:
                self.drop()
                if time.monotonic() > deadline:
                    raise Failure(f"no write was acknowledged in {seconds:.0f} s: {error}") from error
                self.at = (self.at + 1) % len(self.members)
                self.connect(seconds)

    def request(self, op, body, allowed=(0,)):
        self.xid += 1
        self.send(struct.pack(">ii", self.xid, op) + body)
        while True:
            xid, _, error = struct.unpack(">iqi", self.receive()[:16])
            now = time.monotonic()
            if xid != self.xid:
                continue
            if error not in allowed:
                # A leader that loses its role may refuse what it has queued; a client asks again.
                raise ConnectionAbortedError(f"error {error}")
            return now

    def close(self):
        with contextlib.suppress(OSError):
            self.request(-11, b"")
        self.drop()

    def drop(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def path_bytes(self):
        return struct.pack(">i", len(self.PATH)) + self.PATH.encode()


def is_stopped(pid):
    """Whether all threads of a process are stopped."""
    states = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return all(state == "T" for state in states)


def gaps_of(client, seconds, every, at=None, do=None):
    """Writes one after another, one each `every` seconds, for `seconds`; calls `do` once, `at`
    seconds after the start. Returns the longest gap between two acknowledgements before and after
    that, in seconds."""
    started = last = client.write()
    longest, done_at = {False: 0.0, True: 0.0}, None
    turn = 0
    while last - started < seconds:
        if do is not None and done_at is None and last - started >= at:
            do()
            done_at = time.monotonic()
        turn += 1
        pause = started + turn * every - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        now = client.write()
        after = done_at is not None
        longest[after] = max(longest[after], now - last)
        last = now
    return longest[False], longest[True]
