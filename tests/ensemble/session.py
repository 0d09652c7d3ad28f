"""A session that moves between the servers of an ensemble and writes down all that it sends and
hears, for the judge."""

import threading
import time

from zk import proto
from zk.client import Closed, Connection

LOST = (OSError, Closed)
WRITES = {
    proto.CREATE, proto.CREATE2, proto.DELETE, proto.SET_DATA, proto.SET_ACL, proto.MULTI,
    proto.CREATE_CONTAINER, proto.CLOSE_SESSION,
}  # fmt: skip
# One-shot watches by the table they stand in: which read sets them, which events take them.
DATA, CHILD = "data", "child"
EVENTS = {1: (DATA,), 2: (DATA, CHILD), 3: (DATA,), 4: (CHILD,)}


class Frontier:
    """The largest zxid that has been acknowledged to any session of this run."""

    def __init__(self):
        self.zxid, self._lock = 0, threading.Lock()

    def acknowledged(self, zxid):
        with self._lock:
            self.zxid = max(self.zxid, zxid)


class Op:
    """A request: what was sent, when, what was acknowledged before that, and the reply if one came.
    `floor` is the frontier at the time of sending, `conn` the number of the session's connection."""

    __slots__ = ("op", "args", "watch", "xid", "conn", "floor", "sent", "reply")

    def __init__(self, op, args, watch=False):
        self.op, self.args, self.watch = op, args, watch
        self.xid = self.conn = self.floor = 0
        self.reply = None

    def __repr__(self):
        name = proto.NAMES.get(self.op, self.op)
        reply = {key: value for key, value in (self.reply or {}).items() if key != "xid"}
        return f"{name}{self.args!r} xid {self.xid} conn {self.conn} floor {self.floor:#x}: {reply or 'no reply'}"

    def record(self):
        if self.op == proto.CREATE or self.op == proto.CREATE2 or self.op == proto.CREATE_CONTAINER:
            path, data, flags = self.args
            return proto.create(path, data, flags=flags)
        if self.op == proto.SET_DATA:
            return proto.set_data(*self.args)
        if self.op in (proto.DELETE, proto.CHECK):
            return proto.path_int(*self.args)
        if self.op == proto.MULTI:
            return proto.multi([(part.op, part.record()) for part in self.args])
        if self.op == proto.SYNC:
            return proto.path_only(*self.args)
        if self.op in (proto.EXISTS, proto.GET_DATA, proto.GET_CHILDREN2):
            return proto.path_watch(*self.args, self.watch)
        return b""


class Session:
    """`trail` is what happened, in order: ("connect", fields), ("op", Op) where its reply came,
    ("event", fields), ("watches", reply) after a reconnect. `ops` is all that was sent."""

    def __init__(self, name, ensemble, frontier, timeout_ms=8000):
        self.name, self.servers, self.frontier, self.timeout_ms = name, list(ensemble), frontier, timeout_ms
        self.ident, self.password = 0, b"\0" * 16
        self.trail, self.ops = [], []
        self.connection, self.conn, self.at = None, 0, 0
        self.last_xid, self.last_zxid = 0, 0
        self.watches = {DATA: set(), CHILD: set()}
        # When the last request was sent that has been answered, in seconds of the wall clock.
        self.heard = None
        self.is_over = False

    # ---- connecting

    def connect(self, at=None):
        """Opens a connection to server number `at` (from 0), else to the next one that takes it.
        False: the session has expired, which the trail says as well."""
        self.drop()
        server = self.servers[(self.at if at is None else at) % len(self.servers)]
        self.at, address = self.servers.index(server) + 1, server.address
        self.conn += 1
        connection, before = None, time.time()
        try:
            connection = Connection(address, self.timeout_ms / 3000)
            connection.send(
                proto.frame(proto.connect_request(self.timeout_ms, self.ident, self.password, self.last_zxid))
            )
            reply = proto.read_connect_response(connection.frame())
        except LOST:
            if connection is not None:
                connection.close()
            raise
        self.connection = connection
        if reply["timeout"] <= 0:
            self.trail.append(("expired", {"session": self.ident, "conn": self.conn, "server": str(server)}))
            self.is_over = True
            self.drop()
            return False
        fields = {"session": reply["session"], "conn": self.conn, "server": str(server), "asked": self.ident}
        self.trail.append(("connect", {**fields, "timeout": reply["timeout"], "renewed": self.ident != 0}))
        self.ident, self.password, self.granted_ms = reply["session"], reply["password"], reply["timeout"]
        self.heard = max(self.heard or 0, before)
        self._watch_again()
        return True

    def connect_somewhere(self, deadline=120.0):
        """Tries one server after the other. False: the session has expired."""
        until = time.monotonic() + deadline
        while True:
            try:
                return self.connect()
            except LOST:
                if time.monotonic() > until:
                    raise AssertionError(f"{self.name}: no server takes session {self.ident:#x} for {deadline} s") from None
                time.sleep(0.02)

    def _watch_again(self):
        if not any(self.watches.values()):
            return
        # A client cannot tell a watch of getData from one of exists here: one list has both kinds.
        data, child = sorted(self.watches[DATA]), sorted(self.watches[CHILD])
        there = [path for path in data if path not in self.absent]
        absent = [path for path in data if path in self.absent]
        record = proto.set_watches(self.last_zxid, there, absent, child)
        self.connection.send(proto.request(proto.XID_SET_WATCHES, 101, record))
        self._reply(101)

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # ---- requests

    def batch(self, ops):
        """Sends all `ops` in one write, and takes their replies. What is lost on the way stays
        without one, and the exception tells."""
        frames, before = [], time.time()
        for op in ops:
            self.last_xid += 1
            op.xid, op.conn, op.floor, op.sent = self.last_xid, self.conn, self.frontier.zxid, before
            frames.append(proto.request(op.xid, op.op, op.record()))
            self.ops.append(op)
        self.connection.send(b"".join(frames))
        for op in ops:
            self._reply(op.op, op)
        self.heard = max(self.heard or 0, before)
        return ops

    def ask(self, op, *args, watch=False):
        return self.batch([Op(op, args, watch)])[0].reply

    def ping(self):
        """Also takes the events that have come."""
        before = time.time()
        self.connection.send(proto.request(proto.XID_PING, proto.PING))
        self._reply(proto.PING)
        self.heard = max(self.heard or 0, before)

    def close(self):
        """Ends the session. It may have to be asked for again."""
        while not self.is_over:
            try:
                if self.connection is None and not self.connect_somewhere():
                    return
                self.batch([Op(proto.CLOSE_SESSION, ())])
                self.is_over = True
            except LOST:
                self.drop()
        self.drop()

    def _reply(self, kind, op=None):
        while True:
            reply = proto.read_reply(kind, self.connection.frame())
            if reply["xid"] != proto.XID_EVENT:
                break
            self._event(reply)
        if op is None:
            if kind == 101:
                self.trail.append(("watches", reply))
            return
        if reply["xid"] != op.xid:
            raise AssertionError(f"{self.name}: xid {reply['xid']} answers {op!r} on {self.servers[self.at - 1]}")
        op.reply = reply
        self.trail.append(("op", op))
        self.last_zxid = max(self.last_zxid, reply["zxid"])
        if op.op in WRITES and reply["err"] == 0:
            self.frontier.acknowledged(reply["zxid"])
        if op.watch:
            self._watch(op)

    absent = frozenset()

    def _watch(self, op):
        path, err = op.args[0], op.reply["err"]
        if op.op == proto.EXISTS and err in (0, -101) or op.op == proto.GET_DATA and err == 0:
            self.watches[DATA].add(path)
            self.absent = self.absent | {path} if err else self.absent - {path}
        elif op.op == proto.GET_CHILDREN2 and err == 0:
            self.watches[CHILD].add(path)

    def _event(self, reply):
        event = reply["event"]
        self.trail.append(("event", {**event, "zxid": reply["zxid"], "conn": self.conn}))
        for table in EVENTS.get(event["type"], ()):
            self.watches[table].discard(event["path"])
