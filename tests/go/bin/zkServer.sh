#!/usr/bin/env python3
"""Stands in for Apache's zkServer.sh in the suite of go-zookeeper: `zkServer.sh start-foreground zoo.cfg`.

A configuration without members is one server to a test: here it is three Ringkeepers, with the client's
port at the first, which follows. The others end when the first is killed. GO_SERVER=apache starts Apache's
server instead, as the suite asks for it.
"""

import ctypes
import os
import pathlib
import shlex
import signal
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS))

from zk.server import binary, free_port  # noqa: E402

SERVERS = int(os.environ.get("GO_SERVERS", "3"))
PR_SET_PDEATHSIG = 1


def main():
    cfg = pathlib.Path(sys.argv[2])
    flags = [flag for flag in shlex.split(os.environ.get("SERVER_JVMFLAGS", "")) if flag.startswith("-D")]
    if os.environ.get("GO_SERVER", "ringkeeper") == "apache":
        command = [str(TESTS / "apache/run"), "3.9.5", str(cfg), *flags]
        os.execv(command[0], command)
    text = cfg.read_text() + "clientPortAddress=127.0.0.1\n"
    home = cfg.parent
    if "\nserver." not in text and SERVERS > 1:
        ports = [(free_port(), free_port()) for _ in range(SERVERS)]
        text += "".join(f"server.{i}=127.0.0.1:{a}:{b}\n" for i, (a, b) in enumerate(ports, 1))
        for i in range(2, SERVERS + 1):
            start_another(home / f"ringkeeper-{i}", i, text, flags)
    own = home / "loopback.cfg"
    own.write_text(text)
    os.execv(binary(), [binary(), "server", *flags, str(own)])


def start_another(home, number, text, flags):
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data/myid").write_text(f"{number}\n")
    other = {"dataDir": home / "data", "clientPort": free_port()}
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in other]
    lines += [f"{key}={value}" for key, value in other.items()]
    cfg = home / "zoo.cfg"
    cfg.write_text("\n".join(lines) + "\n")
    libc = ctypes.CDLL(None)
    with (home / "log").open("ab") as log:
        subprocess.Popen(
            [binary(), "server", *flags, str(cfg)],
            stdout=log,
            stderr=log,
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )


main()
