"""The client protocol: operation numbers, error codes, request records, and replies as plain
dictionaries."""

import struct

from .jute import Reader, Writer

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN, SYNC = range(1, 10)
PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG, CHECK_WATCHES, REMOVE_WATCHES = range(11, 19)
CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = range(19, 23)
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER, SET_WATCHES2, ADD_WATCH, WHO_AM_I = range(100, 108)
CLOSE_SESSION = -11

NAMES = {
    CREATE: "create", DELETE: "delete", EXISTS: "exists", GET_DATA: "getData", SET_DATA: "setData",
    GET_ACL: "getACL", SET_ACL: "setACL", GET_CHILDREN: "getChildren", SYNC: "sync", PING: "ping",
    GET_CHILDREN2: "getChildren2", CHECK: "check", MULTI: "multi", CREATE2: "create2", RECONFIG: "reconfig",
    CHECK_WATCHES: "checkWatches", REMOVE_WATCHES: "removeWatches", CREATE_CONTAINER: "createContainer",
    DELETE_CONTAINER: "deleteContainer", CREATE_TTL: "createTTL", MULTI_READ: "multiRead", AUTH: "auth",
    SET_WATCHES: "setWatches", SASL: "sasl", GET_EPHEMERALS: "getEphemerals",
    GET_ALL_CHILDREN_NUMBER: "getAllChildrenNumber", SET_WATCHES2: "setWatches2", ADD_WATCH: "addWatch",
    WHO_AM_I: "whoAmI", CLOSE_SESSION: "closeSession",
}  # fmt: skip

XID_EVENT, XID_PING, XID_AUTH, XID_SET_WATCHES = -1, -2, -4, -8

PERSISTENT, EPHEMERAL, PERSISTENT_SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, SEQUENTIAL_TTL = range(7)

READ, WRITE, PERM_CREATE, PERM_DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
OPEN_ACL = ((ALL, "world", "anyone"),)
READ_ACL = ((READ, "world", "anyone"),)

STAT_FIELDS = (
    "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner", "dataLength",
    "numChildren", "pzxid",
)  # fmt: skip
STAT = struct.Struct(">qqqqiiiqiiq")
HEADER = struct.Struct(">iqi")
_XID_TYPE = struct.Struct(">ii")


def frame(body):
    return struct.pack(">i", len(body)) + body


def request(xid, op, record=b""):
    """A whole request frame."""
    return struct.pack(">iii", 8 + len(record), xid, op) + record


def connect_request(timeout=30000, session=0, password=b"\0" * 16, last_zxid=0, version=0, read_only=False):
    """The body of a ConnectRequest. `read_only` None leaves its byte out, as old clients do."""
    out = Writer().int(version).long(last_zxid).int(timeout).long(session).buffer(password)
    if read_only is not None:
        out.bool(read_only)
    return out.bytes()


def put_acl(out, acl):
    perms, scheme, ident = acl
    out.int(perms).string(scheme).string(ident)


def read_acl(reader):
    return (reader.int(), reader.string(), reader.string())


def read_stat(reader):
    return dict(zip(STAT_FIELDS, STAT.unpack(reader.take(68))))


def create(path, data=b"", acl=OPEN_ACL, flags=0):
    return Writer().string(path).buffer(data).vector(acl, put_acl).int(flags).bytes()


def create_ttl(path, data=b"", acl=OPEN_ACL, flags=TTL, ttl=1000):
    return create(path, data, acl, flags) + struct.pack(">q", ttl)


def path_only(path):
    return Writer().string(path).bytes()


def path_int(path, number):
    """delete, check, checkWatches, removeWatches, addWatch."""
    return Writer().string(path).int(number).bytes()


def path_watch(path, watch=False):
    """exists, getData, getChildren, getChildren2."""
    return Writer().string(path).bool(watch).bytes()


def set_data(path, data, version=-1):
    return Writer().string(path).buffer(data).int(version).bytes()


def set_acl(path, acl, version=-1):
    return Writer().string(path).vector(acl, put_acl).int(version).bytes()


def auth(scheme, data, kind=0):
    return Writer().int(kind).string(scheme).buffer(data).bytes()


def set_watches(relative, *lists):
    """setWatches takes three lists (data, exist, child), setWatches2 five (… persistent,
    recursive)."""
    out = Writer().long(relative)
    for paths in lists:
        out.vector(paths, Writer.string)
    return out.bytes()


def multi(operations, end=True):
    """`operations`: pairs of operation number and record."""
    out = Writer()
    for op, record in operations:
        out.int(op).bool(False).int(-1).raw(record)
    if end:
        out.int(-1).bool(True).int(-1)
    return out.bytes()


def _strings(reader):
    return reader.vector(Reader.string)


def read_connect_response(body):
    reader = Reader(body)
    reply = {
        "protocolVersion": reader.int(),
        "timeout": reader.int(),
        "session": reader.long(),
        "password": reader.buffer(),
    }
    reply["readOnly"] = reader.bool() if reader.left() else None
    return reply


def read_event(reader):
    return {"type": reader.int(), "state": reader.int(), "path": reader.string()}


def _read_multi(reader):
    results = []
    while True:
        op, done, err = reader.int(), reader.bool(), reader.int()
        if done:
            results.append({"type": op, "done": True, "err": err})
            return results
        entry = {"type": op, "err": err}
        entry.update({"code": reader.int()} if op == -1 else _BODIES.get(op, _nothing)(reader))
        results.append(entry)


def _nothing(_reader):
    return {}


def _stat_only(reader):
    return {"stat": read_stat(reader)}


def _path(reader):
    return {"path": reader.string()}


def _path_stat(reader):
    return {"path": reader.string(), "stat": read_stat(reader)}


def _children(reader):
    return {"children": sorted(_strings(reader))}


_BODIES = {
    CREATE: _path,
    CREATE2: _path_stat,
    CREATE_CONTAINER: _path_stat,
    CREATE_TTL: _path_stat,
    EXISTS: _stat_only,
    SET_DATA: _stat_only,
    SET_ACL: _stat_only,
    GET_DATA: lambda r: {"data": r.buffer(), "stat": read_stat(r)},
    GET_ACL: lambda r: {"acl": r.vector(read_acl), "stat": read_stat(r)},
    GET_CHILDREN: _children,
    GET_CHILDREN2: lambda r: {**_children(r), "stat": read_stat(r)},
    SYNC: _path,
    MULTI: lambda r: {"results": _read_multi(r)},
    MULTI_READ: lambda r: {"results": _read_multi(r)},
    SASL: lambda r: {"token": r.buffer()},
    GET_EPHEMERALS: lambda r: {"ephemerals": sorted(_strings(r))},
    GET_ALL_CHILDREN_NUMBER: lambda r: {"totalNumber": r.int()},
    ADD_WATCH: lambda r: {"code": r.int()},
    WHO_AM_I: lambda r: {"ids": sorted(r.vector(lambda v: (v.string(), v.string())))},
}


def read_reply(op, body):
    """One reply frame's body as a dictionary; what is left over comes under `rest`."""
    xid, zxid, err = HEADER.unpack_from(body)
    reply = {"xid": xid, "zxid": zxid, "err": err}
    reader = Reader(body, HEADER.size)
    if xid == XID_EVENT:
        reply["event"] = read_event(reader)
    elif reader.left():
        reply.update(_BODIES.get(op, _nothing)(reader))
    if reader.left():
        reply["rest"] = reader.rest()
    return reply
