"""Carries the steps out on both servers at once and stops at the first answer that differs. A side may
be an ensemble: then each session has a server of its own, and what one session sends is applied on all
servers before the next one's turn."""

import time

from compare import Comparer, java_password
from zk import proto, server
from zk.client import Closed, Connection, four_letter_word


class Difference(Exception):
    """The two servers did not do the same."""

    def __init__(self, what, a, b, op=None, index=None):
        super().__init__(what)
        self.what, self.a, self.b, self.op, self.index = what, a, b, op, index


class Side:
    """One session's connection to one of the servers."""

    def __init__(self, addresses, at=0):
        self.addresses, self.at = addresses, at
        self.connection = None
        self.session, self.password = 0, b"\0" * 16

    @property
    def address(self):
        return self.addresses[self.at % len(self.addresses)]

    def connect(self, fields):
        """Opens a connection and sends the ConnectRequest. The reply's body, None if the server
        hung up."""
        self.drop()
        self.connection = Connection(self.address)
        self.connection.send(proto.frame(proto.connect_request(**fields)))
        try:
            return self.connection.frame()
        except Closed:
            return None

    def frames(self, replies):
        """Every frame up to the given number of replies, events between them included; ends early
        at a close."""
        got, frames, connection = 0, [], self.connection
        while got < replies:
            try:
                frame = connection.frame()
            except (Closed, ConnectionResetError):
                break
            frames.append(frame)
            if frame[:4] != b"\xff\xff\xff\xff":
                got += 1
        return frames

    def rest(self):
        """What still comes until the server hangs up; None if it does not."""
        frames = []
        self.connection.sock.settimeout(5)
        try:
            while True:
                frames.append(self.connection.frame())
        except (Closed, ConnectionResetError):
            return frames
        except TimeoutError:
            return None

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def is_refused(body):
    return body is not None and proto.read_connect_response(body)["timeout"] == 0


class Driver:
    """The sessions ("slots"), each on both servers. A side is a list of addresses."""

    def __init__(self, addresses_a, addresses_b, on_replies=None, has_local_sessions=False):
        self.addresses = (addresses_a, addresses_b)
        self.has_local_sessions, self.lost_sessions = has_local_sessions, 0
        # On a busy machine one session's turn comes late; what is local is lost when it expires.
        self.timeout_ms = 200000 if has_local_sessions else 40000
        self.slots = {}
        self.comparer = Comparer()
        self.on_replies = on_replies or (lambda requests, replies: None)
        self.operations = 0
        self.compared_events = 0

    def sides(self, slot):
        if slot not in self.slots:
            at = slot if isinstance(slot, int) else 0
            self.slots[slot] = tuple(Side(addresses, at) for addresses in self.addresses)
        return self.slots[slot]

    def step(self, step):
        for addresses in self.addresses:
            settle(addresses)
        getattr(self, f"_{step[0]}")(*step[1:])

    # ---- steps

    def _connect(self, slot, how):
        """A new session (`new`), or the slot's own again."""
        sides = self.sides(slot)
        if sides[0].connection is None and "takeover" not in how:
            for side in sides:
                side.at += 1  # a session that comes back comes to another server
        fields = {key: value for key, value in how.items() if key not in ("new", "takeover")}
        if how.get("new"):
            for side in sides:
                side.session, side.password = 0, b"\0" * 16
        bodies = [side.connect({"timeout": self.timeout_ms, **fields, **credentials(side)}) for side in sides]
        if self.has_local_sessions and sides[0].session and all(map(is_refused, bodies)):
            # It was local, and is at another server now: neither side knows it there.
            self.lost_sessions += 1
            for side in sides:
                side.drop()
                side.session, side.password = 0, b"\0" * 16
            bodies = [side.connect({"timeout": self.timeout_ms, **fields, **credentials(side)}) for side in sides]
        self._same_connect(bodies, renewed=sides[0].session != 0)
        for side, body in zip(sides, bodies):
            reply = proto.read_connect_response(body)
            side.session, side.password = reply["session"], reply["password"]
            if side.password != java_password(side.session):
                raise Difference("the session's password is not Java's", *bodies)
        self.comparer.pair(sides[0].session, sides[1].session)

    def _takeover(self, slot, how):
        """Connects again while the old connection is open; the server must close that one."""
        sides = self.sides(slot)
        old = [side.connection for side in sides]
        if None in old:
            return
        for side in sides:
            side.connection = None
        self._connect(slot, {**how, "takeover": True})
        rests = []
        for connection in old:
            side = Side(())
            side.connection = connection
            rests.append(side.rest())
            side.drop()
        if rests[0] is None or rests[1] is None:
            raise Difference("an old connection stays open after its session has moved", *rests)
        self._same_events(*rests)

    def _refused(self, slot, how):
        """A renewal that must fail: wrong password, closed session, or a zxid ahead of the
        server's."""
        sides = self.sides(slot)
        bodies = []
        for side in sides:
            fields = credentials(side)
            if "password" in how:
                fields["password"] = how["password"]
            if "ahead" in how:
                fields["last_zxid"] = how["ahead"]
            bodies.append(side.connect(fields))
            if side.rest() is None:
                bodies[-1] = "connection stays open"
            side.drop()
        if bodies[0] != bodies[1]:
            raise Difference(f"a renewal that must fail ({how})", *bodies)

    def _drop(self, slot):
        for side in self.sides(slot):
            side.drop()

    def _batch(self, slot, requests):
        sides = self.sides(slot)
        if sides[0].connection is None:
            return
        data = b"".join(proto.request(xid, op, record) for op, xid, record in requests)
        for side in sides:
            side.connection.send(data)
        frames = [side.frames(len(requests)) for side in sides]
        self._same_frames(requests, *frames)

    def _ends(self, slot, requests):
        """Requests after which the server closes the connection."""
        if self.sides(slot)[0].connection is None:
            return
        zxid_of_close = self._close_zxid(slot, requests)
        rests = [side.rest() for side in self.sides(slot)]
        self._drop(slot)
        if rests != [[], []]:
            raise Difference("after a request that ends the connection", *rests)
        if zxid_of_close is not None:
            self.comparer.closings.add(zxid_of_close)

    def _close_zxid(self, slot, requests):
        """Sends `requests`; a closing one's events are known by its zxid, which only the reply
        tells."""
        sides = self.sides(slot)
        data = b"".join(proto.request(xid, op, record) for op, xid, record in requests)
        for side in sides:
            side.connection.send(data)
        frames = [side.frames(len(requests)) for side in sides]
        zxid = None
        if requests[-1][0] == proto.CLOSE_SESSION and frames[0]:
            zxid = proto.HEADER.unpack_from(frames[0][-1])[1]
            self.comparer.closings.add(zxid)
        self._same_frames(requests, *frames)
        return zxid

    def _barrier(self):
        """A ping on every connection: brings in all events, and keeps the sessions alive."""
        for slot in list(self.slots):
            self._batch(slot, [(proto.PING, proto.XID_PING, b"")])

    def _expire(self):
        """A session of 4 s falls silent and expires; the super session watches its ephemeral.
        Meanwhile nothing else is
        written, and the others only ping."""
        path = "/expiring"
        self._connect("silent", {"new": True, "timeout": 4000})
        # The root may be closed to everyone else by now.
        self._batch("silent", [(proto.AUTH, proto.XID_AUTH, proto.auth("digest", server.SUPER_AUTH))])
        self._batch("silent", [(proto.CREATE, 1, proto.create(path, b"", flags=proto.EPHEMERAL))])
        self._batch(0, [(proto.EXISTS, 1, proto.path_watch(path, True))])
        self._drop("silent")
        del self.slots["silent"]
        events = {slot: ([], []) for slot in self.slots}
        deadline = time.monotonic() + 20
        while not all(any(path.encode() in event for event in side) for side in events[0]):
            if time.monotonic() > deadline:
                raise Difference("a silent session of 4 s has not expired after 20 s", *events[0])
            time.sleep(0.2)
            self._collect(events)
        self._collect(events)
        for found in events[0][0]:
            self.comparer.closings.add(proto.HEADER.unpack_from(found)[1])
        for a, b in events.values():
            self._same_events(a, b)

    def _collect(self, events):
        """Pings every connection and takes what events come, whenever they do."""
        for slot, sides in self.slots.items():
            for side, found in zip(sides, events[slot]):
                if side.connection is not None:
                    side.connection.send(proto.request(proto.XID_PING, proto.PING))
                    found += side.frames(1)[:-1]

    # ---- comparing

    def _same_connect(self, bodies, renewed):
        if bodies[0] is None or bodies[1] is None:
            raise Difference("connect: a server hung up", *bodies)
        a, b = (proto.read_connect_response(body) for body in bodies)
        for reply in (a, b):
            if reply["timeout"] == 0:
                raise Difference("connect: the session is refused", a, b)
        same = all(a[key] == b[key] for key in ("protocolVersion", "timeout", "readOnly"))
        if not same or len(a["password"]) != len(b["password"]) or len(bodies[0]) != len(bodies[1]):
            raise Difference(f"connect ({'renewed' if renewed else 'new'} session)", a, b)

    def _same_frames(self, requests, frames_a, frames_b):
        if self.comparer.closings:
            frames_a = self.comparer.order_closings(frames_a)
            frames_b = self.comparer.order_closings(frames_b)
        index, replies, same_reply = 0, [], self.comparer.same_reply
        for a, b in zip(frames_a, frames_b):
            if a[:4] == b"\xff\xff\xff\xff" or b[:4] == b"\xff\xff\xff\xff":
                if not self.comparer.same_event(a, b):
                    raise Difference("event", a, b, requests[index][0], index)
                self.compared_events += 1
                continue
            if not same_reply(requests[index][0], a, b):
                raise Difference("reply", a, b, requests[index][0], index)
            replies.append(a)
            index += 1
        if len(frames_a) != len(frames_b):
            a, b = (frames[len(replies) :] for frames in (frames_a, frames_b))
            at = min(index, len(requests) - 1)
            raise Difference("one server answers, the other does not", a[:3], b[:3], requests[at][0], at)
        self.operations += index
        self.on_replies(requests, replies)

    def _same_events(self, a, b):
        a, b = self.comparer.order_closings(a), self.comparer.order_closings(b)
        if a != b:
            raise Difference("events on a connection whose session has moved", a[:5], b[:5])


def settle(addresses, timeout=30.0):
    """Waits until all servers of an ensemble have applied the same. Before the first txn the zxid of
    some has no epoch yet, and there is only one: the counter tells."""
    deadline = time.monotonic() + timeout
    while len(addresses) > 1:
        lines = [line for each in addresses for line in four_letter_word(each, "srvr").splitlines()]
        zxids = {int(line[6:], 16) & 0xFFFFFFFF for line in lines if line.startswith("Zxid: ")}
        if len(zxids) == 1:
            return
        if time.monotonic() > deadline:
            raise Difference("the servers of an ensemble do not come to one zxid", sorted(zxids), addresses)


def credentials(side):
    return {"session": side.session, "password": side.password}
