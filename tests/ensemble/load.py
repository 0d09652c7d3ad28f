"""Clients that write, read, watch, sync and hold ephemerals on all servers of an ensemble at once."""

import random
import threading
import time
import traceback

from zk import proto

from session import LOST, Frontier, Op, Session

ROOT, SHARED = "/load", 6


class Load:
    """`clients` threads, each with one session after the other. Every session that ends has closed,
    or was left alone and has to expire."""

    def __init__(self, ensemble, clients=6, seed=1, timeout_ms=8000, idle=0.01, leaves=0.25):
        self.ensemble, self.count, self.seed, self.timeout_ms = ensemble, clients, seed, timeout_ms
        # The mean pause of a client between two batches, in seconds; how often a session is left alone.
        self.idle, self.leaves = idle, leaves
        self.frontier = Frontier()
        self.sessions, self.errors = [], []
        self._stop = threading.Event()
        # Clear: clients only keep their sessions.
        self._goes_on, self._paused = threading.Event(), set()
        self._goes_on.set()
        self._threads = []

    def start(self):
        self._prepare()
        for number in range(self.count):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def stop(self, timeout=180.0):
        """Ends all sessions, and waits for it."""
        self._goes_on.set()
        self._stop.set()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.1, until - time.monotonic()))
            if thread.is_alive():
                self.errors.append("a client does not come to its end")
        if self.errors:
            raise AssertionError("; ".join(self.errors))

    def pause(self):
        """No client writes after this; they keep their sessions."""
        self._paused.clear()
        self._goes_on.clear()
        until = time.monotonic() + 60
        while len(self._paused) < self.count:
            assert time.monotonic() < until, f"only clients {self._paused} have paused: {self.errors}"
            time.sleep(0.05)

    def go_on(self):
        self._goes_on.set()

    def may_write(self, number):
        """Whether client `number` is to go on; it waits a little if not."""
        if self._goes_on.is_set():
            return True
        self._paused.add(number)
        return self._goes_on.wait(0.5)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self._stop.set()

    def acknowledged(self):
        """How many writes have been acknowledged so far."""
        return sum(1 for session in list(self.sessions) for what in list(session.trail) if what[0] == "op")

    def wait_for(self, writes, timeout=120.0):
        """Waits until that many more replies have come."""
        want, until = self.acknowledged() + writes, time.monotonic() + timeout
        while self.acknowledged() < want:
            if self.errors or time.monotonic() > until:
                raise AssertionError(f"{self.acknowledged()} replies, {want} wanted: {self.errors}")
            time.sleep(0.05)

    def session(self, name, at=0):
        session = Session(name, self.ensemble, self.frontier, self.timeout_ms)
        session.at = at
        self.sessions.append(session)
        return session

    def _prepare(self):
        first = self.session("first")
        first.connect_somewhere()
        for path in (ROOT, *(f"{ROOT}/shared-{number}" for number in range(SHARED)), f"{ROOT}/here"):
            first.ask(proto.CREATE, path, b"0", 0)
        first.close()

    def _run(self, number):
        rng = random.Random(f"{self.seed}/{number}")
        try:
            turn = 0
            while not self._stop.is_set():
                if self.may_write(number):
                    session = self.session(f"client {number}.{turn}", at=number + turn)
                    _Client(session, rng, number, turn, self).run(self._stop)
                    turn += 1
        except Exception:  # it has to be told, whatever it is
            self.errors.append(f"client {number}: {traceback.format_exc()}")


class _Client:
    """One session's life."""

    def __init__(self, session, rng, number, turn, load):
        self.session, self.rng, self.number, self.load = session, rng, number, load
        self.home = f"{ROOT}/client-{number}-{turn}"
        self.value = self.made = 0
        self.own = []

    def run(self, stop):
        session, batches = self.session, self.rng.randint(150, 600)
        if not session.connect_somewhere():
            return
        self._attempt(lambda: session.batch(self._begin()))
        while batches and not stop.is_set() and not session.is_over:
            if not self.load.may_write(self.number):
                self._attempt(session.ping)
                continue
            batches -= 1
            self._attempt(lambda: session.batch(self._some()))
            time.sleep(self.rng.uniform(0, 2 * self.load.idle))
            if self.rng.random() < 0.01:
                session.drop()  # goes to another server, with all its watches
        leaves = self.number == 0 if stop.is_set() else self.rng.random() < self.load.leaves
        if leaves and self.load.leaves:
            session.drop()  # its ephemerals go when it expires
        elif not session.is_over:
            session.close()

    def _attempt(self, act):
        """Carries `act` out; a connection that is lost or gone is opened again, at another server."""
        session = self.session
        try:
            if session.connection is None and not session.connect_somewhere():
                return
            act()
        except LOST:
            session.drop()

    def _begin(self):
        create = [Op(proto.CREATE2, (self.home, b"", 0))]
        return [*create, Op(proto.CREATE, (f"{ROOT}/here/{self.session.ident & (1 << 64) - 1:x}", b"", proto.EPHEMERAL))]

    def _some(self):
        makers = (
            (self._count, 6), (self._read, 8), (self._shared, 3), (self._make, 3), (self._remove, 2),
            (self._multi, 1), (self._ephemeral, 2), (self._sync, 2), (self._names, 2),
        )  # fmt: skip
        kinds, weights = zip(*makers)
        chosen = self.rng.choices(kinds, weights, k=self.rng.choice((1, 1, 2, 5, 12)))
        return [op for maker in chosen for op in maker()]

    def _count(self):
        """The session's own counter only grows, and it reads what it wrote."""
        self.value += 1
        yield Op(proto.SET_DATA, (self.home, b"%d" % self.value, -1))
        if self.rng.random() < 0.3:
            yield Op(proto.GET_DATA, (self.home,))

    def _any_path(self):
        shared = f"{ROOT}/shared-{self.rng.randrange(SHARED)}"
        return self.rng.choice([shared, shared, self.home, *self.own[-3:]])

    def _read(self):
        kind = self.rng.choice((proto.GET_DATA, proto.GET_DATA, proto.EXISTS, proto.GET_CHILDREN2))
        yield Op(kind, (self._any_path(),), watch=self.rng.random() < 0.4)

    def _names(self):
        path = self.rng.choice((f"{ROOT}/here", self.home, ROOT))
        yield Op(proto.GET_CHILDREN2, (path,), watch=self.rng.random() < 0.5)

    def _shared(self):
        """A node that all write, by its version or in spite of it: some of it is refused."""
        path = f"{ROOT}/shared-{self.rng.randrange(SHARED)}"
        yield Op(proto.SET_DATA, (path, self.rng.randbytes(8), self.rng.choice((-1, -1, 3, 7))))

    def _make(self):
        self.made += 1
        kind = self.rng.choice((proto.CREATE, proto.CREATE2))
        if self.rng.random() < 0.3:
            yield Op(kind, (f"{self.home}/s-", b"", proto.PERSISTENT_SEQUENTIAL))
            return
        path = f"{self.home}/n-{self.rng.randrange(12)}"
        self.own.append(path)
        yield Op(proto.EXISTS, (path,), watch=True)
        yield Op(kind, (path, self.rng.randbytes(self.rng.choice((0, 20, 300))), 0))

    def _remove(self):
        if self.own:
            yield Op(proto.DELETE, (self.rng.choice(self.own), -1))

    def _multi(self):
        self.value += 1
        path = f"{self.home}/n-{self.rng.randrange(12)}"
        self.own.append(path)
        first = Op(proto.CHECK, (self.home, self.rng.choice((-1, -1, -1, 0))))
        change = self.rng.choice((Op(proto.CREATE, (path, b"multi", 0)), Op(proto.DELETE, (path, -1))))
        yield Op(proto.MULTI, (first, change, Op(proto.SET_DATA, (self.home, b"%d" % self.value, -1))))

    def _ephemeral(self):
        self.made += 1
        yield Op(proto.CREATE, (f"{self.home}-e{self.made % 4}", b"", proto.EPHEMERAL))
        if self.rng.random() < 0.5:
            yield Op(proto.DELETE, (f"{self.home}-e{self.made % 4}", -1))

    def _sync(self):
        """What was acknowledged anywhere before a sync was sent, a read after it shows."""
        yield Op(proto.SYNC, (ROOT,))
        yield Op(proto.GET_DATA, (f"{ROOT}/shared-{self.rng.randrange(SHARED)}",))
