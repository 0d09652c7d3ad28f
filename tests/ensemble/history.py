"""The history that an ensemble has agreed on, read from its servers' logs, and the tree at every
zxid of it. The digest of every txn is computed anew and compared."""

import bisect
import struct
import zlib

ERROR, CREATE_SESSION, CLOSE_SESSION, MULTI, CHECK = -1, -10, -11, 14, 13
CREATES = {1, 15, 19, 21}
DELETES = {2, 20}
_STAT = struct.Struct(">qqqqqiiiq")
_SYSTEM = ("/zookeeper/",)
CONTAINER, TTL = -(1 << 63), 0xFF << 56


class Node:
    """What a znode is after some txn; never changed, only followed by another one."""

    __slots__ = ("data", "czxid", "mzxid", "pzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner", "count")

    def __init__(self, **fields):
        for name in self.__slots__:
            setattr(self, name, fields.get(name, 0))

    def changed(self, **fields):
        return Node(**{name: getattr(self, name) for name in self.__slots__} | fields)

    def digest(self, path):
        """This node's part of the digest of the tree (version 2)."""
        if path.startswith(_SYSTEM):
            return 0
        crc = zlib.crc32(self.data or b"", zlib.crc32(("" if path == "/" else path).encode()))
        fields = (self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime)
        return zlib.crc32(_STAT.pack(*fields, self.version, self.cversion, self.aversion, self.owner), crc)

    def stat(self):
        """As clients see it."""
        return {
            "czxid": self.czxid, "mzxid": self.mzxid, "ctime": self.ctime, "mtime": self.mtime,
            "version": self.version, "cversion": self.cversion * 2 - self.count, "aversion": self.aversion,
            "ephemeralOwner": self.owner, "dataLength": len(self.data or b""), "numChildren": self.count,
            "pzxid": self.pzxid,
        }  # fmt: skip


class Life:
    """A session in the history: the zxids of its beginning and its end, and when it ended."""

    __slots__ = ("timeout_ms", "created", "closed", "closed_ms", "cxid_of_close")

    def __init__(self, timeout_ms, created):
        self.timeout_ms, self.created = timeout_ms, created
        self.closed = self.closed_ms = self.cxid_of_close = None


class History:
    """`records`: zxid -> record, in order. `changes[path]`: the zxids at which the node changed, with
    the node as it is from there on (None: gone). `data_changes` leaves out those that no data watch
    sees; `children[path]` has the names. `faults` are sentences."""

    def __init__(self):
        self.records, self.faults = {}, []
        root = Node(data=b"", count=1)
        system = Node(data=b"", count=2)
        self.nodes = {"/": root, "/zookeeper": system}
        self.names = {"/": frozenset(["zookeeper"]), "/zookeeper": frozenset(["config", "quota"])}
        self.changes, self.data_changes, self.children = {}, {}, {}
        for path, node in self.nodes.items():
            self._note(path, 0, node, is_data=True)
            self.children[path] = ([0], [self.names[path]])
        self.lives, self.owned = {}, {}
        self.digest = sum(node.digest(path) for path, node in self.nodes.items())
        self.compared = 0

    # ---- asking

    def at(self, path, zxid):
        """The node at that zxid, or None."""
        return _at(self.changes.get(path), zxid)

    def names_at(self, path, zxid):
        return _at(self.children.get(path), zxid)

    # ---- building

    def apply(self, record):
        zxid, kind, txn = record["zxid"], record["type"], record["txn"]
        self.records[zxid] = record
        if kind == CREATE_SESSION:
            self.lives[record["session"]] = Life(txn["timeout"], zxid)
        elif kind == CLOSE_SESSION:
            self._close(record)
        elif kind == MULTI:
            if not has_failed(record):
                for part in txn["txns"]:
                    self._change(part["type"], part, record)
        elif kind != ERROR:
            self._change(kind, txn, record)
        if "digest" in record and record["digest_version"] == 2:
            self.compared += 1
            if record["digest"] != self.digest & (1 << 64) - 1:
                self.fault(f"P16: the log's digest after {zxid:#x} is {record['digest']:x}, the replay's {self.digest & (1 << 64) - 1:x}")
                self.digest = record["digest"]

    def fault(self, text):
        self.faults.append(text)

    def _change(self, kind, txn, record):
        zxid, path = record["zxid"], txn.get("path")
        node = self.nodes.get(path)
        if kind in CREATES:
            if node is not None or _parent(path) not in self.nodes:
                self.fault(f"{zxid:#x} creates {path}, which is there, or whose parent is not")
                return
            self._create(kind, txn, record)
        elif kind == CHECK:
            return
        elif node is None:
            self.fault(f"{zxid:#x} (type {kind}) changes {path}, which does not exist")
        elif kind in DELETES:
            self._delete(path, zxid)
        elif kind == 5:
            if txn["version"] != node.version + 1:
                self.fault(f"{zxid:#x} makes version {txn['version']} of {path} after {node.version}")
            fields = {"data": txn["data"], "version": txn["version"], "mzxid": zxid, "mtime": record["time"]}
            self._put(path, zxid, node.changed(**fields), is_data=True)
        elif kind == 7:
            self._put(path, zxid, node.changed(aversion=txn["version"]))
        else:
            self.fault(f"{zxid:#x} is of a type that this replay does not know: {kind}")

    def _create(self, kind, txn, record):
        zxid, path, owner = record["zxid"], txn["path"], 0
        if txn.get("ephemeral"):
            owner = record["session"]
            life = self.lives.get(owner)
            if life is None or life.closed is not None:
                self.fault(f"S3: {zxid:#x} creates the ephemeral {path} of session {owner:#x}, which is not alive")
            self.owned.setdefault(owner, set()).add(path)
        elif kind == 19:
            owner = CONTAINER
        elif kind == 21:
            owner = (TTL | txn["ttl"]) - (1 << 64)
        node = Node(
            data=txn["data"], czxid=zxid, mzxid=zxid, pzxid=zxid, ctime=record["time"], mtime=record["time"], owner=owner
        )
        above = _parent(path)
        parent = self.nodes[above]
        fields = {"count": parent.count + 1}
        if txn["parent"] > parent.cversion:
            fields |= {"cversion": txn["parent"], "pzxid": zxid}
        self._put(above, zxid, parent.changed(**fields))
        self._rename(above, zxid, self.names.get(above, frozenset()) | {path.rpartition("/")[2]})
        self._put(path, zxid, node, is_data=True)
        self._rename(path, zxid, frozenset())

    def _delete(self, path, zxid):
        node, above = self.nodes.pop(path), _parent(path)
        self.digest -= node.digest(path)
        self._note(path, zxid, None, is_data=True)
        self._rename(path, zxid, None)
        if node.count:
            self.fault(f"{zxid:#x} deletes {path}, which has {node.count} children")
        if node.owner in self.owned:
            self.owned[node.owner].discard(path)
        parent = self.nodes[above]
        self._put(above, zxid, parent.changed(count=parent.count - 1, pzxid=max(parent.pzxid, zxid)))
        self._rename(above, zxid, self.names[above] - {path.rpartition("/")[2]})

    def _close(self, record):
        session, zxid = record["session"], record["zxid"]
        life, mine = self.lives.get(session), self.owned.pop(session, set())
        if life is None or life.closed is not None:
            # A second close of one session changes nothing.
            if mine or record["txn"].get("paths"):
                self.fault(f"S3: {zxid:#x} closes session {session:#x}, which is not alive, with {sorted(mine)}")
            return
        life.closed, life.closed_ms, life.cxid_of_close = zxid, record["time"], record["cxid"]
        listed = record["txn"].get("paths")
        if listed is not None and set(listed) != mine:
            self.fault(f"S3: {zxid:#x} closes session {session:#x} and lists {sorted(listed)}; its ephemerals are {sorted(mine)}")
        for path in sorted(mine):
            if path in self.nodes:
                self._delete(path, zxid)

    def _put(self, path, zxid, node, is_data=False):
        old = self.nodes.get(path)
        self.digest += node.digest(path) - (old.digest(path) if old is not None else 0)
        self.nodes[path] = node
        self._note(path, zxid, node, is_data)

    def _note(self, path, zxid, node, is_data=False):
        _append(self.changes.setdefault(path, ([], [])), zxid, node)
        if is_data:
            _append(self.data_changes.setdefault(path, ([], [])), zxid, node)

    def _rename(self, path, zxid, names):
        if names is None:
            self.names.pop(path, None)
        else:
            self.names[path] = names
        _append(self.children.setdefault(path, ([], [])), zxid, names)


def read_history(members):
    """The history of the ensemble, whose servers stand still."""
    history = History()
    logs = [(str(member), *member.logs()) for member in members]
    by_zxid = {}
    for name, log, _ in logs:
        for record in log:
            known = by_zxid.setdefault(record["zxid"], record)
            if not same_record(known, record):
                history.fault(f"P4: {record['zxid']:#x} differs between logs: {known} / {name}: {record}")
    ends = ends_of_epochs([(log, snapshots) for _, log, snapshots in logs])
    # What is left out was proposed and never committed: truncated, or under a later snapshot.
    committed = [by_zxid[zxid] for zxid in sorted(by_zxid) if zxid & 0xFFFFFFFF <= ends.get(zxid >> 32, 1 << 32)]
    history.abandoned = len(by_zxid) - len(committed)
    return replay(committed, history)


def replay(records, history=None):
    """The history that these records tell, in the order of their zxids."""
    history, last = history or History(), 0
    for record in records:
        zxid = record["zxid"]
        expected = last + 1 if last >> 32 == zxid >> 32 else zxid >> 32 << 32 | 1
        if zxid != expected:
            history.fault(f"P15: the logs have {zxid:#x}, and no {expected:#x}")
        history.apply(record)
        last = zxid
    return history


def ends_of_epochs(logs):
    """{epoch: its last committed counter}, for every epoch but the last. A log that goes from one
    epoch to the first txn of a later one shows where the former ended, and that nothing was
    committed in any between, unless the server took a snapshot from another one there. A log under
    such a snapshot may keep what was abandoned, so the shortest that is shown is meant."""
    ends = {}
    for log, snapshots in logs:
        for one, two in zip(log, log[1:]):
            before, after = one["zxid"] >> 32, two["zxid"] >> 32
            if before == after or two["zxid"] & 0xFFFFFFFF != 1:
                continue
            if any(one["zxid"] < zxid < two["zxid"] for zxid in snapshots):
                continue
            ends[before] = min(one["zxid"] & 0xFFFFFFFF, ends.get(before, 1 << 32))
            for between in range(before + 1, after):
                ends[between] = 0
    return ends


def same_record(a, b):
    """Of a multi that failed, Apache's server logs the parts before the failure as they were or
    as failed, by which of its threads is first."""
    keys = (set(a) & set(b)) | {"session", "cxid", "zxid", "time", "type"}
    if has_failed(a) and has_failed(b):
        return all(a[key] == b[key] for key in keys - {"txn"}) and len(a["txn"]["txns"]) == len(b["txn"]["txns"])
    return all(a[key] == b[key] for key in keys | {"txn"})


def has_failed(record):
    return record["type"] == MULTI and any(part["type"] == ERROR for part in record["txn"]["txns"])


def _at(changes, zxid):
    if changes is None:
        return None
    index = bisect.bisect_right(changes[0], zxid)
    return changes[1][index - 1] if index else None


def _append(changes, zxid, value):
    """Of several changes by one txn (a multi) the last one counts."""
    if changes[0] and changes[0][-1] == zxid:
        changes[1][-1] = value
    else:
        changes[0].append(zxid)
        changes[1].append(value)


def _parent(path):
    return path.rpartition("/")[0] or "/"
