"""Whether two servers gave the same answer: bytes first, then with the fields set aside that may
differ (times, session
ids, the order of names and ids that Apache takes from a hash set)."""

import struct

from zk import proto

_TIMES = struct.Struct(">qq")
_LONG = struct.Struct(">q")
_MINUTE = 60_000

# Replies whose body ends in a Stat.
_STAT_LAST = {
    proto.EXISTS, proto.GET_DATA, proto.SET_DATA, proto.SET_ACL, proto.GET_ACL, proto.CREATE2, proto.CREATE_TTL,
    proto.CREATE_CONTAINER, proto.GET_CHILDREN2,
}  # fmt: skip
# Replies that need a decoder once their bytes differ.
_DECODED = {
    proto.GET_CHILDREN, proto.GET_CHILDREN2, proto.GET_ACL, proto.MULTI, proto.MULTI_READ, proto.GET_EPHEMERALS,
    proto.WHO_AM_I, proto.SYNC,
}  # fmt: skip
_SINGLE_WRITES = {
    proto.CREATE, proto.CREATE2, proto.CREATE_TTL, proto.CREATE_CONTAINER, proto.DELETE, proto.SET_DATA, proto.SET_ACL,
    proto.RECONFIG,
}  # fmt: skip
_MARSHALLING = struct.pack(">i", -5)


class Comparer:
    """Knows which session of A is which of B, and which zxids closed a session."""

    def __init__(self):
        self.sessions = {0: 0}
        self.closings = set()

    def pair(self, session_a, session_b):
        self.sessions[session_a] = session_b

    def same_reply(self, op, a, b):
        if a == b:
            return True
        if a[:16] != b[:16]:
            return self._same_undecodable(op, a, b)
        if op in _STAT_LAST and self._same_but_stat(a, b):
            return True
        return op in _DECODED and self._plain(proto.read_reply(op, a), True) == self._plain(proto.read_reply(op, b))

    def same_event(self, a, b):
        """A reply on one side only is a difference; paths are compared as what they say."""
        if a == b:
            return True
        if a[:16] != b[:16]:
            return False
        return self._plain(proto.read_reply(proto.PING, a)) == self._plain(proto.read_reply(proto.PING, b))

    def _same_undecodable(self, op, a, b):
        """The zxid in the header of a single write that could not be read is open: the last one, or
        one of its own."""
        open_zxid = op in _SINGLE_WRITES and a[12:16] == _MARSHALLING
        return open_zxid and a[:4] == b[:4] and a[12:] == b[12:]

    def _same_but_stat(self, a, b):
        if len(a) != len(b) or a[:-52] != b[:-52] or a[-36:-24] != b[-36:-24] or a[-16:] != b[-16:]:
            return False
        if not all(map(same_time, _TIMES.unpack(a[-52:-36]), _TIMES.unpack(b[-52:-36]))):
            return False
        return self.sessions.get(_LONG.unpack(a[-24:-16])[0]) == _LONG.unpack(b[-24:-16])[0]

    def _plain(self, value, of_a=False):
        """A decoded reply in which what may differ is equal; A's session ids become B's."""
        if isinstance(value, dict):
            plain = {key: self._plain(field, of_a) for key, field in value.items()}
            if "ephemeralOwner" in plain:
                if of_a:
                    plain["ephemeralOwner"] = self.sessions.get(plain["ephemeralOwner"], "unknown")
                plain["ctime"] = plain["mtime"] = None
            if "acl" in plain and sum(entry[1] == "digest" for entry in plain["acl"]) > 1:
                # `auth` expands in the order of a hash set.
                plain["acl"] = sorted(plain["acl"], key=repr)
            return plain
        if isinstance(value, list | tuple):
            return [self._plain(entry, of_a) for entry in value]
        return joined(value) if isinstance(value, str) else value

    def plain_tree(self, nodes, of_a):
        return {path: self._plain(node, of_a) for path, node in nodes.items()}

    def order_closings(self, frames):
        """Sorts the events of each closed session: they come in the order of a hash set."""
        ordered, run = [], []
        for frame in frames:
            xid, zxid, _ = proto.HEADER.unpack_from(frame)
            closing = xid == proto.XID_EVENT and zxid in self.closings
            if run and not (closing and frame[:16] == run[0][:16]):
                ordered += sorted(run)
                run = []
            (run if closing else ordered).append(frame)
        return ordered + sorted(run)


def same_time(a, b):
    return (a == 0) == (b == 0) and abs(a - b) < 10 * _MINUTE


def joined(text):
    """Java writes a character beyond U+FFFF as two surrogates of three bytes each; ours writes it
    as UTF-8 does."""
    if not any("\udc80" <= char <= "\udcff" for char in text):
        return text
    raw = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogatepass")
    return raw.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def java_password(session):
    """The password of a session: java.util.Random(id ^ 0xB3415C00).nextBytes(16)."""
    seed = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & (1 << 48) - 1
    out = b""
    for _ in range(4):
        seed = (seed * 0x5DEECE66D + 0xB) & (1 << 48) - 1
        out += struct.pack("<I", seed >> 16 & 0xFFFFFFFF)
    return out
