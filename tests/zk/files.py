"""Transaction logs and snapshots, read independently of any server; and the digest of the tree they
hold."""

import gzip
import pathlib
import struct
import zlib

from .jute import Malformed, Reader
from .proto import read_acl

TAIL_MARK_TAG = 0x524B
LOG_MAGIC, SNAPSHOT_MAGIC = 0x5A4B4C47, 0x5A4B534E
PERSISTED = struct.Struct(">qqqqiiiqq")
PERSISTED_FIELDS = (
    "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner", "pzxid",
)  # fmt: skip

_ACLS = lambda r: r.vector(read_acl)  # noqa: E731
_TXNS = {
    -10: lambda r: {"timeout": r.int()},
    -11: lambda r: {"paths": r.vector(Reader.string)} if r.left() > 12 or r.left() in (4, 8) else {},
    -1: lambda r: {"err": r.int()},
    1: lambda r: {"path": r.string(), "data": r.buffer(), "acl": _ACLS(r), "ephemeral": r.bool(), "parent": r.int()},
    19: lambda r: {"path": r.string(), "data": r.buffer(), "acl": _ACLS(r), "parent": r.int()},
    21: lambda r: {"path": r.string(), "data": r.buffer(), "acl": _ACLS(r), "parent": r.int(), "ttl": r.long()},
    2: lambda r: {"path": r.string()},
    5: lambda r: {"path": r.string(), "data": r.buffer(), "version": r.int()},
    7: lambda r: {"path": r.string(), "acl": _ACLS(r), "version": r.int()},
    13: lambda r: {"path": r.string(), "version": r.int()},
}
_TXNS[15], _TXNS[20], _TXNS[16] = _TXNS[1], _TXNS[2], _TXNS[5]


def _multi(reader):
    def txn(part):
        kind, data = part.int(), part.buffer()
        return {"type": kind, **_TXNS[kind](Reader(data))}

    return {"txns": reader.vector(txn)}


_TXNS[14] = _multi


def read_log(path, is_torn=False):
    """The records of one log: header fields, `txn`, and `digest` (unsigned) where the record
    carries one. The log of a server that was killed may end torn (`is_torn`): what is after the
    first record that does not verify is not there."""
    reader = Reader(pathlib.Path(path).read_bytes())
    if is_torn and not any(reader.data[:16]):
        return []
    magic, version, _dbid = reader.int(), reader.int(), reader.long()
    if (magic, version) != (LOG_MAGIC, 2):
        raise Malformed(f"{path}: magic {magic:x}, version {version}")
    records = []
    while reader.left() >= 12:
        checksum, length = reader.long(), reader.int()
        if length == 0:
            # Ringkeeper's tail mark has a tag here and a seal after the length.
            if checksum >> 48 & 0xffff == TAIL_MARK_TAG:
                reader.take(8)
            break
        if is_torn and not 0 < length < reader.left():
            return records
        payload = reader.take(length)
        if reader.byte() != 0x42 or zlib.adler32(payload) != checksum:
            if is_torn:
                return records
            raise Malformed(f"{path}: record before {reader.at} does not verify")
        records.append(_record(Reader(payload)))
    if not is_torn and any(reader.rest()):
        raise Malformed(f"{path}: the padding is not zero")
    return records


def _record(reader):
    record = {
        "session": reader.long(),
        "cxid": reader.int(),
        "zxid": reader.long(),
        "time": reader.long(),
        "type": reader.int(),
    }
    record["txn"] = _TXNS[record["type"]](reader)
    if reader.left():
        record["digest_version"], record["digest"] = reader.int(), reader.long() & (1 << 64) - 1
    if reader.left():
        raise Malformed(f"{reader.left()} bytes too many in zxid {record['zxid']:x}")
    return record


def read_snapshot(path):
    """A snapshot: sessions {id: timeout}, nodes {path: fields}, `digest` (zxid, version, digest)
    and `last_zxid` where
    the trailers are there. Every seal is verified."""
    path = pathlib.Path(path)
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    elif path.suffix == ".snappy":
        raw = _unsnappy(raw)
    reader = Reader(raw)
    magic, version, _dbid = reader.int(), reader.int(), reader.long()
    if (magic, version) != (SNAPSHOT_MAGIC, 2):
        raise Malformed(f"{path}: magic {magic:x}, version {version}")
    snapshot = {"zxid": int(path.name.split(".")[1], 16)}
    snapshot["sessions"] = {reader.long(): reader.int() for _ in range(reader.int())}
    acls = {}
    for _ in range(reader.int()):
        index = reader.long()
        acls[index] = reader.vector(read_acl)
    acls[-1] = [(31, "world", "anyone")]
    snapshot["nodes"] = _nodes(reader, acls)
    _seal(reader)
    if reader.left() >= 33:
        snapshot["digest"] = (reader.long(), reader.int(), reader.long() & (1 << 64) - 1)
        _seal(reader)
    if reader.left() == 21:
        snapshot["last_zxid"] = reader.long()
        _seal(reader)
    if reader.left():
        raise Malformed(f"{path}: {reader.left()} bytes too many")
    return snapshot


def _nodes(reader, acls):
    nodes = {}
    while (path := reader.string()) != "/":
        data, acl = reader.buffer(), acls[reader.long()]
        nodes[path] = {"data": data, "acl": acl, **dict(zip(PERSISTED_FIELDS, PERSISTED.unpack(reader.take(60))))}
    return nodes


def _seal(reader):
    running = zlib.adler32(reader.data[: reader.at])
    if reader.long() != running or reader.string() != "/":
        raise Malformed(f"the seal before {reader.at} does not verify")


def tree_digest(nodes):
    """The digest (version 2) of a snapshot's nodes: the sum of a CRC-32 per node, /zookeeper/… left
    out."""
    total = 0
    for path, node in nodes.items():
        if path.startswith("/zookeeper/"):
            continue
        crc = zlib.crc32(path.encode())
        crc = zlib.crc32(node["data"] or b"", crc)
        fields = ("czxid", "mzxid", "pzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner")
        crc = zlib.crc32(struct.pack(">qqqqqiiiq", *(node[field] for field in fields)), crc)
        total += crc
    return total & (1 << 64) - 1


def logs(directory):
    return _by_zxid(directory, "log")


def snapshots(directory):
    return _by_zxid(directory, "snapshot")


def _by_zxid(directory, prefix):
    found = pathlib.Path(directory, "version-2").glob(f"{prefix}.*")
    return sorted(found, key=lambda path: int(path.name.split(".")[1], 16))


def last_digest(directory):
    """(zxid, digest in hex) of the last record that carries one, None where none does."""
    found = None
    for log in logs(directory):
        for record in read_log(log):
            if "digest" in record:
                found = (record["zxid"], f"{record['digest']:x}")
    return found


def sessions(directory):
    """{id: timeout} after replaying the newest snapshot and the logs behind it."""
    found = snapshots(directory)
    snapshot = read_snapshot(found[-1]) if found else {"zxid": 0, "sessions": {}}
    alive = dict(snapshot["sessions"])
    for log in logs(directory):
        for record in read_log(log):
            if record["zxid"] <= snapshot["zxid"]:
                continue
            if record["type"] == -10:
                alive[record["session"]] = record["txn"]["timeout"]
            elif record["type"] == -11:
                alive.pop(record["session"], None)
    return alive


def _unsnappy(raw):
    """snappy-java's stream: an 8-byte magic, version and compatible version, then length-prefixed
    raw blocks."""
    if raw[:8] != b"\x82SNAPPY\0":
        raise Malformed("no snappy stream")
    at, out = 16, []
    while at < len(raw):
        (length,) = struct.unpack_from(">i", raw, at)
        out.append(_unsnappy_block(raw[at + 4 : at + 4 + length]))
        at += 4 + length
    return b"".join(out)


def _unsnappy_block(block):
    at = shift = size = 0
    while True:
        byte = block[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    out = bytearray()
    while at < len(block):
        tag = block[at]
        at += 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(block[at : at + extra], "little")
                at += extra
            out += block[at : at + length + 1]
            at += length + 1
            continue
        if tag & 3 == 1:
            length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | block[at]
            at += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            length, offset = (tag >> 2) + 1, int.from_bytes(block[at : at + width], "little")
            at += width
        for _ in range(length):
            out.append(out[-offset])
    if len(out) != size:
        raise Malformed(f"snappy block of {len(out)} bytes says {size}")
    return bytes(out)
