"""Faults of servers and of the network between them, chosen by a seed."""

import time

from cluster import RINGKEEPER


class Schedule:
    """Chooses a fault, makes it, waits some seconds and undoes it."""

    def __init__(self, ensemble, network, rng):
        self.ensemble, self.network, self.rng = ensemble, network, rng
        self.done = {}

    def one(self):
        kinds = [self._kill, self._kill_leader, self._stop, self._pause, self._pause_leader, self._wipe, self._kill_all]
        if self.network is not None:
            kinds += [self._isolate, self._isolate_leader, self._one_way, self._one_way, self._bridge, self._halves]
            kinds += [self._slow, self._cut_and_kill]
        kind = self.rng.choice(kinds)
        name = kind.__name__.strip("_").replace("_", " ")
        self.done[name] = self.done.get(name, 0) + 1
        print(f"  {time.strftime('%H:%M:%S')} {name}", end=" ", flush=True)
        print(kind() or "", flush=True)

    def _some(self):
        return self.rng.choice(list(self.ensemble))

    def _leader(self):
        return self.ensemble.leader() or self._some()

    def _for_a_while(self):
        time.sleep(self.rng.choice((0.3, 1, 2, 3, 6)))

    def _kill(self, member=None):
        member = member or self._some()
        member.kill()
        self._for_a_while()
        member.start()
        return member

    def _kill_leader(self):
        return self._kill(self._leader())

    def _kill_all(self):
        """At once, and in any order again."""
        members = list(self.ensemble)
        self.rng.shuffle(members)
        for member in members:
            member.kill()
        for member in members:
            member.start()
            time.sleep(self.rng.choice((0, 0, 0.3)))

    def _stop(self):
        member = self._some()
        member.stop()
        self._for_a_while()
        member.start()
        return member

    def _wipe(self):
        """Only one at a time, and only while all others have all: else acknowledged writes are gone."""
        self.ensemble.wait_all()
        member = self._some()
        member.kill()
        member.wipe()
        self._for_a_while()
        member.start()
        self.ensemble.wait_all()
        return member

    def _pause(self, member=None):
        member = member or self._some()
        member.pause()
        self._for_a_while()
        member.go_on()
        return member

    def _pause_leader(self):
        return self._pause(self._leader())

    # ---- the network

    def _others(self, ident):
        return [member.ident for member in self.ensemble if member.ident != ident]

    def _isolate(self, member=None):
        member = member or self._some()
        self.network.cut([member.ident], self._others(member.ident))
        self._for_a_while()
        self.network.heal()
        return member

    def _isolate_leader(self):
        return self._isolate(self._leader())

    def _one_way(self):
        """One hears the others and is not heard, or the other way about."""
        ident = self.rng.choice((self._leader(), self._some())).ident
        if is_deaf := self.rng.random() < 0.5:
            self.network.deafen(ident, *self._others(ident))
        else:
            for other in self._others(ident):
                self.network.deafen(other, ident)
        self._for_a_while()
        self.network.heal()
        return f"server {ident} is {'deaf' if is_deaf else 'mute'}"

    def _bridge(self):
        """Two groups that do not hear each other, and one server that hears both."""
        idents = [member.ident for member in self.ensemble]
        self.rng.shuffle(idents)
        middle, rest = idents[0], idents[1:]
        self.network.cut(rest[: len(rest) // 2], rest[len(rest) // 2 :])
        self._for_a_while()
        self.network.heal()
        return f"server {middle} is between"

    def _halves(self):
        idents = [member.ident for member in self.ensemble]
        self.rng.shuffle(idents)
        self.network.cut(idents[: len(idents) // 2], idents[len(idents) // 2 :])
        self._for_a_while()
        self.network.heal()
        return idents

    def _slow(self):
        member = self.rng.choice((self._leader(), self._some()))
        self.network.slow(member.ident)
        self._for_a_while()
        self.network.heal()
        return member

    def _cut_and_kill(self):
        """A server is cut off, and another one killed and started meanwhile."""
        lonely, killed = self.rng.sample(list(self.ensemble), 2)
        self.network.cut([lonely.ident], self._others(lonely.ident))
        killed.kill()
        self._for_a_while()
        killed.start()
        self.network.heal()
        return f"{lonely} cut off, {killed} killed"


def panics(ensemble):
    words = ("panicked at", "assertion", "Digests are not matching")
    for member in ensemble:
        if member.kind == RINGKEEPER:
            for line in member.log.read_text(errors="replace").splitlines():
                if any(word in line for word in words):
                    yield f"{member} says: {line}"
