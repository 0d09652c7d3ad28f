"""A network of namespaces, one for each server, joined by a bridge on which the clients are: what it
loses and delays is chosen. Needs root, iproute2 and nft; nothing is left of it when the process ends."""

import os
import shutil
import subprocess
import sys

INSIDE = "RINGKEEPER_NETWORK"


def enter():
    """Runs this program again in namespaces of its own. False: that is not permitted here."""
    if os.environ.get(INSIDE):
        return True
    trial = "ip link add v0 type veth peer name v1 && mount -t tmpfs tmpfs /run && nft add table inet trial"
    words = ["unshare", "--net", "--mount"]
    if not all(map(shutil.which, ("unshare", "ip", "nft"))):
        return False
    if subprocess.run([*words, "sh", "-c", trial], capture_output=True).returncode:
        return False
    os.environ[INSIDE] = "1"
    os.execvp(words[0], [*words, sys.executable, *sys.argv])


class Network:
    """Servers at 10.77.0.1, .2, …; clients at 10.77.0.254."""

    def __init__(self, members):
        self.members = {member.ident: member for member in members}
        run("mount -t tmpfs tmpfs /run && mkdir -p /run/netns")
        run("ip link set lo up && ip link add br0 type bridge && ip addr add 10.77.0.254/24 dev br0 && ip link set br0 up")
        for ident, member in self.members.items():
            run(
                f"ip netns add s{ident} && ip link add h{ident} type veth peer name e0 netns s{ident}"
                f" && ip link set h{ident} master br0 up && ip -n s{ident} link set lo up"
                f" && ip -n s{ident} addr add 10.77.0.{ident}/24 dev e0 && ip -n s{ident} link set e0 up"
            )
            self._inside(ident, "nft add table inet f && nft 'add chain inet f in { type filter hook input priority 0; }'")
            member.host, member.prefix = f"10.77.0.{ident}", ["ip", "netns", "exec", f"s{ident}"]
            member.address = f"{member.host}:{member.port}"

    def deafen(self, ident, *others):
        """Server `ident` hears nothing from the others, which still hear it."""
        for other in others:
            self._inside(ident, f"nft add rule inet f in ip saddr 10.77.0.{other} drop")

    def cut(self, some, others):
        """Neither of two groups hears the other."""
        for one in some:
            self.deafen(one, *others)
        for other in others:
            self.deafen(other, *some)

    def slow(self, ident):
        """What this server sends waits for a narrow link, and of what others send some is lost."""
        self._inside(ident, "tc qdisc replace dev e0 root tbf rate 400kbit burst 8kb latency 400ms || true")
        peers = ",".join(f"10.77.0.{other}" for other in self.members if other != ident)
        self._inside(ident, f"nft 'add rule inet f in ip saddr {{ {peers} }} numgen random mod 20 < 1 drop'")

    def heal(self):
        for ident in self.members:
            self._inside(ident, "nft flush chain inet f in; tc qdisc del dev e0 root 2> /dev/null || true")

    def _inside(self, ident, command):
        run(f"ip netns exec s{ident} sh -c {quoted(command)}")


def quoted(text):
    return "'" + text.replace("'", "'\"'\"'") + "'"


def run(command):
    subprocess.run(command, shell=True, check=True)
