"""Starting and stopping the servers under test, on loopback and in directories of their own."""

import os
import pathlib
import signal
import socket
import subprocess
import time

from .client import four_letter_word

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("RINGKEEPER_CACHE", ROOT / ".cache"))
SUPER_AUTH = b"super:ringkeeper"
SUPER_DIGEST = "super:8FvaNKAk7uM6qi3MXAVApu3TnDA="


class Server:
    """A server process. `flags`: {key: value} as -D arguments; `config`: {key: value} as lines of
    zoo.cfg."""

    def __init__(self, directory, config=None, flags=None, port=None):
        self.directory = pathlib.Path(directory)
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.config = {
            "tickTime": 2000,
            "dataDir": self.directory / "data",
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            **self.default_config,
            **(config or {}),
        }
        self.flags = flags or {}
        self.process = None

    default_config = {"4lw.commands.whitelist": "*"}

    def command(self, cfg, flags):
        raise NotImplementedError

    def start(self, timeout=60.0):
        self.directory.mkdir(parents=True, exist_ok=True)
        cfg = self.directory / "zoo.cfg"
        cfg.write_text("".join(f"{key}={value}\n" for key, value in self.config.items()))
        flags = [f"-D{key}={value}" for key, value in self.flags.items()]
        self.log = self.directory / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(cfg, flags), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + timeout
        while not self.serves():
            if self.process.poll() is not None:
                raise AssertionError(f"{self} ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self} does not serve after {timeout} s: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def serves(self):
        try:
            return four_letter_word(self.address, "srvr").startswith("Zookeeper version")
        except OSError:
            return False

    def kill(self):
        """As a crash: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self):
        """As an operator: SIGTERM. The exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how):
        if self.process is None:
            return None
        self.process.send_signal(how)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None
        return code

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None:
            self.kill()


class Apache(Server):
    """One of Apache's servers (`tests/apache/install` must have put it there)."""

    def __init__(self, directory, version="3.9.5", **rest):
        super().__init__(directory, **rest)
        self.version = version

    def __str__(self):
        return f"Apache {self.version} on {self.address}"

    def command(self, cfg, flags):
        conf = ROOT / "tests/apache/conf"
        heap = os.environ.get("APACHE_HEAP", "-Xmx1g")
        return [
            "java", heap, f"-Dapache.log.level={os.environ.get('APACHE_LOG', 'error')}",
            f"-Dlog4j.configuration=file:{conf}/log4j.properties", *flags,
            "-cp", f"{conf}:{CACHE}/apache/{self.version}/lib/*",
            "org.apache.zookeeper.server.ZooKeeperServerMain", str(cfg),
        ]  # fmt: skip


class Ringkeeper(Server):
    """The server of this repository."""

    def __str__(self):
        return f"Ringkeeper on {self.address}"

    def command(self, cfg, flags):
        return [binary(), "server", *flags, str(cfg)]


def binary():
    """The program of this repository: RINGKEEPER_BIN, or the release build."""
    return os.environ.get("RINGKEEPER_BIN", str(ROOT / "target/release/ringkeeper"))


def install(*versions):
    """Puts these versions of Apache's server in place; without any it does nothing."""
    if versions:
        subprocess.run([str(ROOT / "tests/apache/install"), *versions], check=True)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
