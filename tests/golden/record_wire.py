"""Records the frames of every operation from a real server, for `record.py wire`."""

import struct

from zk import proto
from zk.client import Closed, Connection
from zk.server import Apache


def record_wire(scratch, flags, target):
    with Apache(scratch / "apache", "3.9.5", flags=flags) as apache:
        recorder = Recorder(apache.address)
        handshakes(recorder)
        nodes(recorder)
        watches(recorder)
        multis(recorder)
        sessions_and_auth(recorder)
        refusals(recorder)
    target.parent.mkdir(parents=True, exist_ok=True)
    header = "# name, > to the server or < from it, the whole frame in hex. Made by tests/golden/record.py wire.\n"
    target.write_text(header + "".join(f"{line}\n" for line in recorder.lines))


class Recorder:
    """One session whose every frame becomes a line."""

    def __init__(self, address):
        self.address = address
        self.lines = []
        self.xid = 0
        self.connection = None

    def line(self, name, direction, body):
        self.lines.append(f"{name} {direction} {(struct.pack('>i', len(body)) + body).hex()}")

    def connect(self, name, replied=True, **fields):
        self.connection = Connection(self.address)
        body = proto.connect_request(**fields)
        self.connection.send(proto.frame(body))
        self.line(f"connect/{name}", ">", body)
        if not replied:
            self.closed(f"connect/{name}")
            return None
        body = self.connection.frame()
        self.line(f"connect/{name}", "<", body)
        return proto.read_connect_response(body)

    def closed(self, name):
        try:
            body = self.connection.frame()
        except Closed:
            self.lines.append(f"{name} < closed")
        else:
            raise AssertionError(f"{name}: {body.hex()} where the connection should have been closed")

    def call(self, op, record=b"", name="", xid=None, err=0):
        if xid is None:
            self.xid += 1
            xid = self.xid
        name = proto.NAMES.get(op, f"op{op}") + (f"/{name}" if name else "")
        body = proto.request(xid, op, record)[4:]
        self.connection.send(proto.frame(body))
        self.line(name, ">", body)
        while True:
            body = self.connection.frame()
            reply = proto.read_reply(op, body)
            self.line(f"{name}/event" if reply["xid"] == proto.XID_EVENT else name, "<", body)
            if reply["xid"] != proto.XID_EVENT:
                assert reply["err"] == err, (name, reply)
                return reply


def handshakes(r):
    r.connect("first")
    r.connect("old-client-without-read-only-byte", read_only=None)
    made = r.connect("timeout-too-long", timeout=10_000_000)
    r.connect("renew", session=made["session"], password=made["password"], timeout=5000)
    r.connect("wrong-password", session=made["session"], password=b"x" * 16)
    r.closed("connect/wrong-password")
    r.connect("zxid-ahead", replied=False, last_zxid=1 << 40)
    r.connect("main", timeout=30000)


def nodes(r):
    r.call(proto.CREATE, proto.create("/n", b"data"))
    r.call(proto.CREATE2, proto.create("/n/stat", b"with stat"))
    r.call(proto.CREATE, proto.create("/n/null", None), "null-data")
    r.call(proto.CREATE, proto.create("/n/größe-日本", b""), "utf-8")
    for name, flags in ("ephemeral", 1), ("sequential", 2), ("ephemeral-sequential", 3):
        r.call(proto.CREATE, proto.create(f"/n/{name}-", b"", flags=flags), name)
    r.call(proto.CREATE_CONTAINER, proto.create("/n/container", b"c", flags=proto.CONTAINER))
    r.call(proto.CREATE_TTL, proto.create_ttl("/n/ttl", b"t", ttl=3_600_000))
    r.call(proto.CREATE_TTL, proto.create_ttl("/n/ttl-", b"t", flags=6, ttl=3_600_000), "sequential")
    r.call(proto.EXISTS, proto.path_watch("/n"))
    r.call(proto.EXISTS, proto.path_watch("/n/ephemeral-"), "ephemeral")
    r.call(proto.GET_DATA, proto.path_watch("/n"))
    r.call(proto.GET_DATA, proto.path_watch("/n/null"), "null")
    r.call(proto.SET_DATA, proto.set_data("/n", b"changed", 0))
    r.call(proto.SET_DATA, proto.set_data("/n", None), "null")
    r.call(proto.GET_ACL, proto.path_only("/n"))
    r.call(proto.SET_ACL, proto.set_acl("/n", [(31, "world", "anyone"), (1, "ip", "10.0.0.0/8")], 0))
    r.call(proto.GET_CHILDREN, proto.path_watch("/n/stat"), "none")
    r.call(proto.GET_CHILDREN, proto.path_watch("/n"))
    r.call(proto.GET_CHILDREN2, proto.path_watch("/n"))
    r.call(proto.GET_ALL_CHILDREN_NUMBER, proto.path_only("/n"))
    r.call(proto.GET_EPHEMERALS, proto.path_only("/n"))
    r.call(proto.SYNC, proto.path_only("/n"))
    r.call(proto.DELETE, proto.path_int("/n/stat", 0))
    r.call(proto.PING, xid=proto.XID_PING)


def watches(r):
    r.call(proto.EXISTS, proto.path_watch("/w", True), "watch-absent", err=-101)
    r.call(proto.CREATE, proto.create("/w", b""), "fires")
    r.call(proto.GET_DATA, proto.path_watch("/w", True), "watch")
    r.call(proto.SET_DATA, proto.set_data("/w", b"1"), "fires")
    r.call(proto.GET_CHILDREN, proto.path_watch("/w", True), "watch")
    r.call(proto.CREATE, proto.create("/w/child", b""), "fires-children")
    r.call(proto.ADD_WATCH, proto.path_int("/w", 0), "persistent")
    r.call(proto.ADD_WATCH, proto.path_int("/w", 1), "recursive")
    r.call(proto.SET_DATA, proto.set_data("/w/child", b"1"), "fires-recursive")
    r.call(proto.CHECK_WATCHES, proto.path_int("/w", 5))
    r.call(proto.CHECK_WATCHES, proto.path_int("/w", 1), "absent", err=-121)
    r.call(proto.REMOVE_WATCHES, proto.path_int("/w", 3))
    r.call(proto.GET_CHILDREN2, proto.path_watch("/w", True), "watch")
    r.call(proto.DELETE, proto.path_int("/w/child", -1), "fires-children")
    lists = (["/w", "/gone"], ["/n", "/absent"], ["/w"])
    r.call(proto.SET_WATCHES, proto.set_watches(1, *lists), xid=proto.XID_SET_WATCHES)
    record = proto.set_watches(1 << 30, *lists, ["/w"], ["/n"])
    r.call(proto.SET_WATCHES2, record, xid=proto.XID_SET_WATCHES)
    r.call(proto.DELETE, proto.path_int("/w", -1), "fires-deleted")


def multis(r):
    r.call(proto.CREATE, proto.create("/m", b""))
    every = [
        (proto.CREATE, proto.create("/m/a", b"a")),
        (proto.CREATE2, proto.create("/m/b-", b"b", flags=2)),
        (proto.CREATE_CONTAINER, proto.create("/m/c", b"", flags=4)),
        (proto.CREATE_TTL, proto.create_ttl("/m/t", b"", ttl=3_600_000)),
        (proto.SET_DATA, proto.set_data("/m", b"m", 0)),
        (proto.CHECK, proto.path_int("/m", 1)),
        (proto.DELETE, proto.path_int("/m/a", 0)),
    ]
    r.call(proto.MULTI, proto.multi(every))
    failing = [every[0], (proto.CHECK, proto.path_int("/m", 9)), every[5]]
    r.call(proto.MULTI, proto.multi(failing), "refused")
    r.call(proto.MULTI, proto.multi([]), "empty")
    r.call(proto.MULTI, proto.multi([(proto.GET_DATA, proto.path_watch("/m"))]), "with-read", err=-5)
    reads = [
        (proto.GET_DATA, proto.path_watch("/m")),
        (proto.GET_DATA, proto.path_watch("/absent")),
        (proto.GET_CHILDREN, proto.path_watch("/m/t")),
    ]
    r.call(proto.MULTI_READ, proto.multi(reads))
    r.call(proto.MULTI_READ, proto.multi([]), "empty")


def sessions_and_auth(r):
    r.call(proto.WHO_AM_I)
    r.call(proto.AUTH, proto.auth("digest", b"alice:secret"), xid=proto.XID_AUTH)
    r.call(proto.WHO_AM_I, name="digest")
    r.call(proto.CREATE, proto.create("/auth", b"", [(31, "auth", "")]), "acl-auth")
    r.call(proto.GET_ACL, proto.path_only("/auth"), "digest")
    r.call(proto.SASL, b"\0\0\0\0", "no-sasl-here")
    r.call(proto.RECONFIG, b"\xff" * 20, "standalone", err=-123)
    r.call(proto.CLOSE_SESSION)
    r.closed("closeSession")


def refusals(r):
    r.connect("refusals")
    r.call(proto.CREATE, proto.create("/n", b""), "exists", err=-110)
    r.call(proto.CREATE, proto.create("/none/x", b""), "no-parent", err=-101)
    r.call(proto.CREATE, proto.create("bad", b""), "bad-path", err=-8)
    r.call(proto.CREATE, proto.create("/x", b"", []), "no-acl", err=-114)
    r.call(proto.CREATE, proto.create("/n/e-", b"", flags=1), "ephemeral")
    r.call(proto.CREATE, proto.create("/n/e-/x", b""), "below-ephemeral", err=-108)
    r.call(proto.DELETE, proto.path_int("/n", -1), "not-empty", err=-111)
    r.call(proto.SET_DATA, proto.set_data("/n", b"", 77), "bad-version", err=-103)
    r.call(proto.GET_DATA, proto.path_watch("/auth"), "no-auth", err=-102)
    r.call(proto.GET_DATA, b"\0\0\0\x09/n", "malformed", err=-5)
    r.call(proto.AUTH, proto.auth("unknown", b""), "unknown-scheme", proto.XID_AUTH, -115)
    r.closed("auth/unknown-scheme")
    r.connect("unknown-op")
    r.call(77, b"", err=-6)
    r.closed("op77")
