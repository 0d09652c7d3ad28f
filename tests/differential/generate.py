"""The seeded stream of steps: what one session after the other sends. The generator sees server A's
replies only to
learn the names of sequential nodes."""

import random
import struct

from zk import proto
from zk.proto import OPEN_ACL

SLOTS = 6
SUPER = 0  # the slot that is authenticated as super
NAMES = ("a", "b", "c", "é", "日本", "x y")
QUOTA_ROOTS = ("/a", "/b/c")

ODD_PATHS = (
    "", "abc", "abc/def", "/", "/a/", "//", "/a//b", "/a/./b", "/a/../b", "/.", "/..", "/a/.", "/a/..", "/...", "/.a",
    "/a.", "/a..", "/a b", "/a\0b", "/a\x01", "/a\tb", "/a\n", "/a\x7f", "/a\x9f", "/a\ue000", "/a\uf8ff", "/a\ufff0",
    "/a\uffff", "/a\u00a0", "/a\u200b", "/a\ud7ff", "/a\uf900", "/a\ufeff", "/a\uffef", "/a\U0001f600",
    b"/a\xff", b"/a\xc3", b"/a\xc0\xaf", b"/a\xed\xa0\x80\xed\xb0\x80", "/zookeeper", "/zookeeper/config",
    "/zookeeper/quota", "/zookeeper/x", "/zookeeper/quota/x", "/none/x", "/" + "n" * 5000,
)  # fmt: skip

ALICE = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E="  # alice:secret
BOB = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="  # bob:secret
ACLS = (
    ((1, "world", "anyone"),),
    ((31, "auth", ""),),
    ((31, "auth", "ignored"), (1, "world", "anyone")),
    ((31, "digest", ALICE),),
    ((31, "digest", BOB), (1, "world", "anyone")),
    ((31, "digest", ALICE), (5, "digest", BOB), (31, "auth", "")),
    ((31, "ip", "127.0.0.1"),),
    ((31, "ip", "127.0.0.0/8"), (1, "ip", "10.1.2.3/0")),
    ((31, "ip", "10.0.0.1"), (1, "ip", "::1"), (2, "ip", "fe80::/64")),
    ((31, "world", "anyone"), (31, "world", "anyone"), (1, "world", "anyone")),
    ((0, "world", "anyone"),),
    ((27, "world", "anyone"),),
    ((23, "world", "anyone"),),
    ((15, "world", "anyone"), (64, "world", "anyone"), (-1, "ip", "10.0.0.1")),
    ((31, "digest", "u:p"),),
)
BAD_ACLS = (
    None, (), ((31, "world", "someone"),), ((31, "digest", "abc"),), ((31, "digest", "a:b:c"),), ((31, "digest", ""),),
    ((31, "digest", ":"),), ((31, "ip", "abc"),), ((31, "ip", "1.2.3"),), ((31, "ip", "256.1.1.1"),),
    ((31, "ip", "1.2.3.4/33"),), ((31, "ip", "1.2.3.4/-1"),), ((31, "nope", "x"),), ((31, None, "x"),),
    ((31, "sasl", "x"),), ((31, "x509", "CN=x"),), ((31, "super", "x"),), ((31, "ensemble", "x"),), ((31, "", ""),),
    ((31, "auth", None),), ((31, "world", "anyone"), (31, "digest", "abc")),
)  # fmt: skip
VERSIONS = (-1,) * 12 + (0, 0, 0, 1, 1, 2, 3, 5, -2, 2**31 - 1, -(2**31))
LIMITS = (
    b"count=20,bytes=2000", b"count=-1,bytes=500", b"count=12,bytes=-1", b"count=-1,bytes=-1",
    b"count=12,bytes=900=;byteHardLimit=1500;countHardLimit=15", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=8",
    b"count=-1,bytes=-1=;byteHardLimit=400;countHardLimit=-1",
)  # fmt: skip
AUTHS = (
    ("digest", b"alice:secret"), ("digest", b"bob:secret"), ("digest", b"nocolon"), ("digest", b""), ("digest", b":"),
    ("digest", b"a:b:c"), ("digest", "größe:x".encode()), ("digest", b"bad\xffname:x"), ("ip", b""), ("ip", b"1.2.3.4"),
)  # fmt: skip
BAD_AUTHS = (
    ("unknown", b"x"), ("", b""), ("world", b"anyone"), ("auth", b""), ("super", b"x"), ("x509", b""), ("DIGEST", b"a:b"),
    (None, b"x"), ("digest", None),
)  # fmt: skip
SYNC_STRINGS = ("", "abc", None, "/a\U0001f600", b"/\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"a\x80b", "/a\0")
WRITES = {
    proto.CREATE, proto.CREATE2, proto.CREATE_TTL, proto.CREATE_CONTAINER, proto.DELETE, proto.SET_DATA, proto.SET_ACL,
    proto.MULTI,
}  # fmt: skip


def _universe():
    levels, parents = [], [""]
    for _ in range(4):
        parents = [f"{parent}/{name}" for parent in parents for name in NAMES]
        levels.append(parents)
    return levels


LEVELS = _universe()


class Generator:
    """Draws steps. A batch is a list of (operation, xid, record)."""

    def __init__(self, seed, quota=False, ensemble=False):
        self.random = random.Random(seed)
        self.draw = self.random.random
        self.quota = quota
        # An ensemble of Apache's never answers a write that cannot be read, and keeps its membership
        # in /zookeeper/config.
        self.ensemble = ensemble
        self.sequential = []
        self.xid = 0
        self.zxid = 0  # the last seen, for setWatches
        self.plan = _weighted(
            {
                self.create: 26, self.create_container: 3, self.create_ttl: 4, self.delete: 15, self.set_data: 13,
                self.set_acl: 1.6, self.get_data: 10, self.exists: 8, self.get_acl: 3, self.get_children: 8, self.sync: 2,
                self.multi: 6, self.multi_read: 3, self.check_watches: 1, self.remove_watches: 2, self.add_watch: 2,
                self.get_ephemerals: 1, self.get_all_children_number: 1, self.who_am_i: 1, self.set_watches: 1,
                self.set_watches2: 1, self.ping: 1, self.malformed: 1, self.reconfig: 0.2, self.quota_node: 1,
            }
        )  # fmt: skip

    # ---- steps

    def steps(self):
        """Steps without end: ("connect", slot, how), ("batch", slot, requests), ("drop", slot),
        ("ends", slot,
        requests) for requests that end the connection, ("barrier",)."""
        for slot in range(SLOTS):
            yield ("connect", slot, {"new": True})
            yield from self._authenticate(slot)
        turn = 0
        while True:
            turn += 1
            if turn % 20 == 0:
                yield ("barrier",)
            if len(self.sequential) > 250:
                gone, self.sequential = self.sequential[:150], self.sequential[150:]
                yield self._deletes(gone)
            if turn % 40 == 0:
                yield self._deletes(self._subtree())
            slot = self.below(SLOTS)
            if self.draw() < 0.06:
                yield from self._life_of_a_session(slot)
            elif self.draw() < 0.03:
                yield ("batch", slot, [self._auth(*self.one_of(AUTHS))])
            else:
                for batch in self._batches(1 + self.below(120)):
                    yield ("batch", slot, batch)

    def _batches(self, count):
        """Pipelined requests, cut where Apache's own answer depends on how far the requests before
        have come: it checks a later write against the ACL from before a setACL that is still under
        way, and a quota against what is
        applied."""
        batch, set_acl = [], False
        for request in (self.next() for _ in range(count)):
            alone = self.quota and any(root in request[2] for root in (b"/a", b"/b/c", b"/zookeeper"))
            if batch and (alone or set_acl and request[0] in WRITES):
                yield batch
                batch, set_acl = [], False
            batch.append(request)
            set_acl = set_acl or request[0] == proto.SET_ACL
            if alone:
                yield batch
                batch, set_acl = [], False
        if batch:
            yield batch

    def _deletes(self, paths):
        return ("batch", SUPER, [self._request(proto.DELETE, proto.path_int(path, -1)) for path in paths])

    def _subtree(self):
        top = self.one_of(LEVELS[0])
        return [path for level in reversed(LEVELS) for path in level if path == top or path.startswith(top + "/")]

    def _authenticate(self, slot):
        if slot == SUPER:
            yield ("batch", slot, [self._auth("digest", b"super:ringkeeper")])
        elif slot in (1, 2):
            yield ("batch", slot, [self._auth("digest", (b"alice:secret", b"bob:secret")[slot - 1])])

    def _life_of_a_session(self, slot):
        kind = self.below(10)
        if kind < 3:
            yield ("ends", slot, [self._request(proto.CLOSE_SESSION, b"junk" if self.draw() < 0.2 else b"")])
            if self.draw() < 0.3:
                yield ("refused", slot, {})
            yield ("connect", slot, {"new": True, **self._manners()})
        elif kind < 5:
            yield ("drop", slot)
            yield ("connect", slot, self._manners())
        elif kind < 7:
            yield ("takeover", slot, self._manners())
        elif kind == 7:
            yield ("drop", slot)
            yield ("refused", slot, self.one_of(({"password": b"x" * 16}, {"password": b""}, {"ahead": 1 << 40})))
            yield ("connect", slot, self._manners())
        elif kind == 8:
            scheme, data = self.one_of(BAD_AUTHS)
            yield ("ends", slot, [self._auth(scheme, data)])
            yield ("connect", slot, {})
        else:
            yield ("ends", slot, [self._request(self.one_of((0, 10, 13, 23, 99, 108, -1, 77)), b"\0" * 8)])
            yield ("connect", slot, {})
        yield from self._authenticate(slot)

    def _manners(self):
        """Fields of the ConnectRequest that must make no difference, or a known one."""
        manners = {"timeout": self.one_of((40000, 30000, 2**31 - 1, 39999))}
        if self.draw() < 0.2:
            manners["read_only"] = self.one_of((None, True))
        if self.draw() < 0.2:
            manners["version"] = self.one_of((1, -1, 42))
        return manners

    # ---- requests

    def next(self):
        return self.one_of(self.plan)()

    def _request(self, op, record):
        self.xid += 1
        return (op, self.xid, record)

    def _auth(self, scheme, data):
        return (proto.AUTH, proto.XID_AUTH, proto.auth(scheme, data, self.below(3)))

    def create(self):
        path, data, acl, flags = self._node()
        if flags == 4:
            flags = 0  # alone, a container flag is one of the lines not to copy
        return self._request(proto.CREATE if self.draw() < 0.6 else proto.CREATE2, proto.create(path, data, acl, flags))

    def create_container(self):
        path, data, acl, _ = self._node()
        flags = 4 if self.draw() < 0.95 else self.one_of((5, 6, 7, -1))
        return self._request(proto.CREATE_CONTAINER, proto.create(path, data, acl, flags))

    def create_ttl(self):
        path, data, acl, _ = self._node()
        flags = self.one_of((5, 5, 5, 6, 6)) if self.draw() < 0.95 else self.one_of((0, 1, 2, 3, 4, 7, -1))
        ttls = (1, 60_000, 2**40 - 1, 0, 2**40, 2**62)
        ttl = self.one_of(ttls) if self.draw() < 0.3 else 3_600_000
        return self._request(proto.CREATE_TTL, proto.create_ttl(path, data, acl, flags, ttl))

    def _node(self):
        flags = self.one_of((0, 0, 0, 0, 0, 1, 1, 2, 3)) if self.draw() < 0.98 else self.one_of((5, 6, 7, 9, -1))
        path = self.path()
        if flags in (2, 3) and isinstance(path, str):
            path += self.one_of(("-", "/", "/s"))
        return path, self.data(), self.acl(), flags

    def delete(self):
        if self.sequential and self.draw() < 0.25:
            path = self.sequential.pop(self.below(len(self.sequential)))
        else:
            path = self.path()
        return self._request(proto.DELETE, proto.path_int(path, self.version()))

    def set_data(self):
        return self._request(proto.SET_DATA, proto.set_data(self.path(), self.data(), self.version()))

    def set_acl(self):
        return self._request(proto.SET_ACL, proto.set_acl(self.path(), self.acl(0.5), self.version()))

    def get_data(self):
        return self._request(proto.GET_DATA, proto.path_watch(self.path(), self.watch()))

    def exists(self):
        return self._request(proto.EXISTS, proto.path_watch(self.path(), self.watch()))

    def get_acl(self):
        return self._request(proto.GET_ACL, proto.path_only(self.path()))

    def get_children(self):
        op = proto.GET_CHILDREN if self.draw() < 0.5 else proto.GET_CHILDREN2
        return self._request(op, proto.path_watch(self.path(), self.watch()))

    def sync(self):
        return self._request(proto.SYNC, proto.path_only(self.one_of(SYNC_STRINGS) if self.draw() < 0.3 else self.path()))

    def check_watches(self):
        return self._request(proto.CHECK_WATCHES, proto.path_int(self.path(), self.one_of((1, 2, 3, 4, 5, 0, 6, -1))))

    def remove_watches(self):
        kinds = (1, 2, 3, 3, 4, 5, 0, 6, -1)
        path = "/" if self.draw() < 0.2 else self.path()
        return self._request(proto.REMOVE_WATCHES, proto.path_int(path, self.one_of(kinds)))

    def add_watch(self):
        mode = self.one_of((0, 1)) if self.draw() < 0.95 else self.one_of((2, -1, 7))
        path = self.path()
        return self._request(proto.ADD_WATCH, proto.path_int("/" if path is None else path, mode))

    def get_ephemerals(self):
        return self._request(proto.GET_EPHEMERALS, proto.path_only(self.one_of(("", "/", None, " ", "/a", "/b/c", "b"))))

    def get_all_children_number(self):
        path = self.one_of(("/", "", "/a/")) if self.draw() < 0.3 else self.path()
        return self._request(proto.GET_ALL_CHILDREN_NUMBER, proto.path_only(path))

    def who_am_i(self):
        return self._request(proto.WHO_AM_I, b"")

    def set_watches(self):
        record = proto.set_watches(self._relative(), *(self._paths() for _ in range(3)))
        return (proto.SET_WATCHES, proto.XID_SET_WATCHES, record)

    def set_watches2(self):
        lists = [self._paths() for _ in range(5)]
        lists[3:] = [paths and ["/" if path is None else path for path in paths] for paths in lists[3:]]
        record = proto.set_watches(self._relative(), *lists)
        return (proto.SET_WATCHES2, proto.XID_SET_WATCHES, record)

    def _relative(self):
        return self.one_of((0, max(0, self.zxid - self.below(500)), self.zxid, self.zxid + 1000))

    def _paths(self):
        return None if self.draw() < 0.01 else [self.path() for _ in range(self.below(4))]

    def ping(self):
        return (proto.PING, proto.XID_PING if self.draw() < 0.5 else 7, b"")

    def reconfig(self):
        return self._request(proto.RECONFIG, b"\xff" * 12 + struct.pack(">q", -1))

    def quota_node(self):
        """Now and then a quota is set, changed or taken away."""
        root = self.one_of(QUOTA_ROOTS)
        steps = ["/zookeeper/quota" + root[: end or None] for end in (root.find("/", 1), 0) if end != -1]
        limits, stats = f"/zookeeper/quota{root}/zookeeper_limits", f"/zookeeper/quota{root}/zookeeper_stats"
        kind = self.below(8)
        if kind < 3:
            made = [(proto.CREATE, proto.create(path)) for path in dict.fromkeys(steps)]
            path, op = self.one_of(made)[1], proto.CREATE
            return self._request(op, path)
        if kind == 3:
            return self._request(proto.CREATE, proto.create(limits, self.one_of(LIMITS)))
        if kind == 4:
            return self._request(proto.CREATE, proto.create(stats, b"count=0,bytes=0"))
        if kind == 5:
            return self._request(proto.SET_DATA, proto.set_data(limits, self.one_of(LIMITS)))
        if kind == 6:
            return self._request(proto.GET_DATA, proto.path_watch(stats))
        return self._request(proto.DELETE, proto.path_int(self.one_of((limits, stats)), -1))

    def multi(self):
        draw = self._mild_sub if self.draw() < 0.5 else self._sub
        subs = [draw() for _ in range(self.below(6))]
        if self.draw() < 0.04 and not self.ensemble:
            subs.append(self.one_of(((proto.GET_DATA, proto.path_watch("/a")), (0, b""), (3, b""), (99, b""), (20, b""))))
        record = proto.multi(subs, end=self.draw() > 0.01 or self.ensemble)
        if self.draw() < 0.02:
            record += b"junk after the end"
        return self._request(proto.MULTI, record)

    def _sub(self):
        kind = self.below(20)
        if kind < 8:
            path, data, acl, flags = self._node()
            op = self.one_of((proto.CREATE, proto.CREATE2))
            if flags > 3 and self.draw() < 0.7:
                flags = 4
            return op, proto.create(path, data, acl, flags)
        if kind == 8:
            path, data, acl, flags = self._node()
            return proto.CREATE_CONTAINER, proto.create(path, data, acl, flags if self.draw() < 0.1 else 4)
        if kind == 9:
            path, data, acl, _ = self._node()
            return proto.CREATE_TTL, proto.create_ttl(path, data, acl, 5 + self.below(2), self.one_of((5_000_000, 0)))
        if kind < 13:
            return proto.DELETE, proto.path_int(self.path(), self.version())
        if kind < 17:
            return proto.SET_DATA, proto.set_data(self.path(), self.data(), self.version())
        return proto.CHECK, proto.path_int(self.path(), self.version())

    def _mild_sub(self):
        """A part that mostly succeeds, so that whole multis do."""
        kind, path = self.below(6), self.one_of(LEVELS[0])
        if kind < 2:
            op = self.one_of((proto.CREATE, proto.CREATE2))
            return op, proto.create(path + "/m-", self.data(), self.acl(), self.one_of((2, 2, 3)))
        if kind == 2:
            return proto.CREATE_TTL, proto.create_ttl(path + "/m-", self.data(), self.acl(), 6, 5_000_000)
        if kind == 3:
            return proto.CHECK, proto.path_int(path, -1)
        if kind == 4 and self.sequential:
            return proto.DELETE, proto.path_int(self.sequential.pop(), -1)
        return proto.SET_DATA, proto.set_data(path, self.data(), -1)

    def multi_read(self):
        reads = [
            (self.one_of((proto.GET_DATA, proto.GET_CHILDREN)), proto.path_watch(self.path(), self.watch()))
            for _ in range(self.below(6))
        ]
        if self.draw() < 0.03:
            reads.append((proto.SET_DATA, proto.set_data("/a", b"")))
        return self._request(proto.MULTI_READ, proto.multi(reads))

    def malformed(self):
        """A record that is cut, has a wrong length, or has bytes to spare (which are ignored)."""
        op, xid, record = self.next()
        while op in (proto.AUTH, proto.MULTI_READ, proto.PING, proto.GET_EPHEMERALS, proto.WHO_AM_I):
            op, xid, record = self.next()
        kind = self.below(3)
        if kind == 0 or (self.ensemble and op in WRITES | {proto.RECONFIG, proto.SYNC}):
            return (op, xid, record + b"\0to spare")
        if kind == 1 and op not in (proto.SET_WATCHES, proto.SET_WATCHES2, proto.MULTI):
            return (op, xid, struct.pack(">i", self.one_of((-2, 2**31 - 1, len(record)))) + record[4:])
        return (op, xid, record[: self.below(max(1, min(len(record), 24)))])

    # ---- parts

    def below(self, bound):
        return int(self.draw() * bound)

    def one_of(self, things):
        return things[int(self.draw() * len(things))]

    def path(self):
        luck = self.draw()
        if luck < 0.03:
            odd = self.one_of(ODD_PATHS)
            return "/" if self.ensemble and odd == "/zookeeper/config" else odd
        if luck < 0.032:
            return None
        if luck < 0.12 and self.sequential:
            return self.one_of(self.sequential)
        return self.one_of(LEVELS[self.one_of(_DEPTHS)])

    def data(self):
        luck = self.draw()
        if luck < 0.05:
            return None
        if luck < 0.15:
            return b""
        if luck < 0.97:
            return b"%x" % int(luck * 1e15) * (1 + self.below(4))
        if luck < 0.9995:
            return b"0123456789" * self.below(1000)
        return b"x" * self.below(900_000)

    def acl(self, odds=0.12):
        luck = self.draw()
        if luck < odds:
            return self.one_of(ACLS)
        if luck < odds + 0.015:
            return self.one_of(BAD_ACLS)
        return OPEN_ACL

    def version(self):
        return self.one_of(VERSIONS)

    def watch(self):
        return self.draw() < 0.25

    def learn(self, requests, replies):
        """Takes names of sequential nodes and the last zxid from the replies to `requests`."""
        for (op, _, record), body in zip(requests, replies):
            if body[12:16] != b"\0\0\0\0":
                continue
            if op in (proto.CREATE, proto.CREATE2, proto.CREATE_TTL, proto.CREATE_CONTAINER, proto.MULTI):
                self._learn_names(op, body)
        if replies:
            self.zxid = max(self.zxid, proto.HEADER.unpack_from(replies[-1])[1])

    def _learn_names(self, op, body):
        reply = proto.read_reply(op, body)
        for made in reply.get("results", [reply]):
            path = made.get("path")
            if path and path[-10:].isdigit() and len(self.sequential) < 2000:
                self.sequential.append(path)


def _weighted(weights):
    return [choice for choice, weight in weights.items() for _ in range(round(weight * 5))]


_DEPTHS = (0, 0, 1, 1, 1, 1, 2, 2, 3)
