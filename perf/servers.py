"""The two servers as the scripts of this directory run them, and what a reader must know of the
machine."""

import datetime
import mmap
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
APACHE_VERSION = "3.9.5"
HEAP = "-Xmx2g"


def absolute(options):
    """Makes the paths among the options absolute: each server runs in a directory of its own."""
    for name in ["ringkeeper", "baseline", "apache", "work"]:
        if getattr(options, name, None):
            setattr(options, name, os.path.abspath(getattr(options, name)))


class Failure(Exception):
    """A server does not do what it must; the table then holds what was measured before."""


class Server:
    """One server process on a data directory of its own."""

    def __init__(self, name, command, directory, port, options, settings=""):
        self.name, self.command, self.port, self.options = name, command, port, options
        self.directory, self.settings = directory, settings
        self.process = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, snap_count=100_000):
        """Starts it and returns the seconds until it has opened a session."""
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        config = self.directory / "zoo.cfg"
        config.write_text(
            f"clientPort={self.port}\nclientPortAddress=127.0.0.1\ndataDir={data}\ntickTime=2000\n"
            f"snapCount={snap_count}\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n{self.settings}")
        command = self.command + [str(config)]
        if self.options.server_core is not None:
            command = ["taskset", "-c", str(self.options.server_core)] + command
        log = open(self.directory / "log.txt", "ab")
        started = time.monotonic()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        log.close()
        self.wait_for_session(started)
        return time.monotonic() - started

    def wait_for_session(self, started):
        while time.monotonic() - started < 300:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended at once; see {self.directory / 'log.txt'}:\n{self.log_tail()}")
            try:
                Session(self.port).close()
                return
            except OSError:
                time.sleep(0.002)
        raise Failure(f"{self.name} opened no session in 300 s; see {self.directory / 'log.txt'}")

    def stop(self, with_signal=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(with_signal)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def await_rest(self, seconds=20.0):
        """Waits until it has next to nothing to do: what one load has left must not fall into the
        next."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            before = cpu_seconds(self.process.pid)
            time.sleep(0.5)
            if cpu_seconds(self.process.pid) - before < 0.05:
                return

    def log_tail(self):
        return "\n".join((self.directory / "log.txt").read_text(errors="replace").splitlines()[-15:])

    def snapshots(self):
        return sorted((self.directory / "data" / "version-2").glob("snapshot.*"), key=lambda path: path.stat().st_mtime)

    def drop_old_snapshots(self):
        """Keeps the newest three, as autopurge would; dozens are taken while they are measured."""
        for path in self.snapshots()[:-3]:
            path.unlink(missing_ok=True)


class Frames:
    """Frames of the client protocol, over `self.socket`."""

    def send(self, body):
        self.socket.sendall(struct.pack(">i", len(body)) + body)

    def receive(self):
        (length,) = struct.unpack(">i", self.exactly(4))
        return self.exactly(length)

    def exactly(self, count):
        got = b""
        while len(got) < count:
            more = self.socket.recv(count - len(got))
            if not more:
                raise ConnectionResetError("closed")
            got += more
        return got


class Session(Frames):
    """A short client session: to see that a server serves, and that it has the data."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.settimeout(5)
        self.send(struct.pack(">iqiq", 0, 0, 10_000, 0) + struct.pack(">i", 16) + bytes(16) + b"\0")
        self.receive()

    def exists(self, path):
        encoded = path.encode()
        self.send(struct.pack(">iii", 1, 3, len(encoded)) + encoded + b"\0")
        return struct.unpack(">iqi", self.receive()[:16])[2] == 0

    def close(self):
        self.send(struct.pack(">ii", 2, -11))
        try:
            self.receive()
        except OSError:
            pass
        self.socket.close()


def server_of(name, work, options, settings=""):
    """A server, not started: `apache`, or any other name for the program that `options` holds."""
    if name == "apache":
        jars = options.apache or install_apache()
        command = ["java", HEAP, "-Dzookeeper.admin.enableServer=false", "-Dapache.log.level=warn",
                   "-cp", f"{ROOT / 'tests/apache/conf'}:{jars}/*",
                   "org.apache.zookeeper.server.ZooKeeperServerMain"]
    else:
        command = [options.ringkeeper, "server"]
    return Server(name, command, work, free_port(), options, settings)


def start_floor(name, options, work):
    """Starts a floor, `echo` or a bare durable server; returns its port and process."""
    port = free_port()
    command = [options.ringkeeper, "bench"]
    if name == "echo":
        command += ["echo-server"]
    else:
        way, _, space = name.removeprefix("bare-").partition("-")
        command += ["durable-server", "--way", way, "--space", space or "old", "--dir", str(work)]
    command += ["--listen", f"127.0.0.1:{port}"]
    if options.server_core is not None:
        command += ["--core", str(options.server_core)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return port, process
        except OSError:
            time.sleep(0.02)
    process.kill()
    process.wait()
    raise Failure(f"{name} does not start")


class DiskProbe:
    """Makes 4 KiB durable again and again, beside what is measured: how long the disk itself lets a
    write wait. A context manager."""

    EVERY = 0.002

    def __init__(self, directory):
        self.path = directory / "disk-probe"
        self.longest, self.is_over = 0.0, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        with mmap.mmap(-1, 4096) as block:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
            try:
                while not self.is_over:
                    started = time.monotonic()
                    os.pwritev(file, [block], 0)
                    took = time.monotonic() - started
                    self.longest = max(self.longest, took)
                    time.sleep(max(0.0, self.EVERY - took))
            finally:
                os.close(file)

    def restart(self):
        """The longest write until now, in seconds; from here on another one counts."""
        longest, self.longest = self.longest, 0.0
        return longest

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join(10)
        self.path.unlink(missing_ok=True)


class Lines:
    """The table of what must be reached."""

    def __init__(self):
        self.all = []

    def add(self, title, against, ours, theirs, relation, bound, ratio=None):
        """One line; without a bound it only says what was measured. The ratio is that of the two figures
        unless a better one is given."""
        if ratio is None and ours is not None and theirs:
            ratio = ours / theirs
        met = None
        if ratio is not None and bound is not None:
            met = ratio >= bound if relation == ">=" else ratio <= bound
        self.all.append({"work": title, "against": against, "ringkeeper": ours, "other": theirs, "ratio": ratio,
                         "relation": relation, "bound": bound, "met": met})

    def markdown(self):
        """Rows that fall short are bold."""
        rows = ["| work | against | Ringkeeper | other | ratio | to reach | |", "|---|---|---:|---:|---:|---:|---|"]
        for line in self.all:
            met = {True: "yes", False: "**no**", None: "-"}[line["met"]]
            title, ratio = line["work"], f"{number(line['ratio'])}x"
            if line["met"] is False:
                title, ratio = f"**{title}**", f"**{ratio}**"
            to_reach = "" if line["bound"] is None else f"{line['relation']} {number(line['bound'])}x"
            rows.append(f"| {title} | {line['against']} | {number(line['ringkeeper'])} | {number(line['other'])} | "
                        f"{ratio} | {to_reach} | {met} |")
        return rows


def end_on_signals():
    """A script that is told to end (SIGTERM) takes down what it has started, as on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def raise_file_limit():
    """Thousands of sessions need as many files; the servers inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def conditions(options, work, slots):
    """What a reader must know to believe the figures."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    one_minute = os.getloadavg()[0]
    busy = " (BUSY: the figures are worth little)" if one_minute > 0.7 else ""
    system = subprocess.run(["stat", "-f", "-c", "%T", str(work)], stdout=subprocess.PIPE, text=True).stdout.strip()
    version = subprocess.run([options.ringkeeper, "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    pinned = "servers {}, load generator {}".format(
        *("unpinned" if core is None else f"on core {core}" for core in (options.server_core, options.client_core)))
    return {
        "date": f"- {datetime.date.today()}, {version.splitlines()[0] if version else 'Ringkeeper'} "
                f"against Apache ZooKeeper {APACHE_VERSION} ({HEAP}, {options.warm_seconds:.0f} s of warm-up)",
        "machine": f"- {os.cpu_count()} x {cpu}, Linux {os.uname().release}, {system}; {pinned}",
        "load": f"- load average at the start {one_minute:.2f}{busy}",
        "slots": f"- {slots}; durability on in both",
    }


def install_apache():
    subprocess.run([str(ROOT / "tests/apache/install"), APACHE_VERSION], check=True)
    cache = os.environ.get("RINGKEEPER_CACHE", str(ROOT / ".cache"))
    return f"{cache}/apache/{APACHE_VERSION}/lib"


def resident(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Failure(f"process {pid} has gone")


def cpu_seconds(pid):
    """Of all threads; 0 when the process has gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def total(*parts):
    return None if None in parts else sum(parts)


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def say(line):
    print(line, file=sys.stderr, flush=True)
