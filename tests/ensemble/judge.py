"""Holds what sessions were told against the history that the servers' logs tell, in zxid order.
The numbers are those of docs/properties.md."""

import bisect
import collections

from zk import proto

from history import ERROR
from session import CHILD, DATA, EVENTS, WRITES

TYPES = {
    proto.CREATE: {1}, proto.CREATE2: {15, 1}, proto.DELETE: {2}, proto.SET_DATA: {5}, proto.MULTI: {14},
    proto.CREATE_CONTAINER: {19}, proto.CLOSE_SESSION: {-11}, proto.SET_ACL: {7},
}  # fmt: skip
NO_NODE, NODE_EXISTS, BAD_VERSION, NOT_EMPTY = -101, -110, -103, -111


def judge(history, sessions, limit=40):
    """Sentences about what does not hold, at most `limit`; and what was looked at, counted."""
    faults, seen = list(history.faults), collections.Counter()
    requests = _requests(history, {session.ident for session in sessions}, faults)
    for session in sessions:
        if len(faults) > limit:
            break
        _Witness(history, session, requests, faults, seen).hear()
    return faults[:limit], seen


def _requests(history, idents, faults):
    """(session, cxid) -> record, of these sessions, which give no xid twice. C2: no request is there
    twice."""
    requests = {}
    for record in history.records.values():
        if record["session"] not in idents:
            continue
        key = (record["session"], record["cxid"])
        if record["type"] == -10 or (record["type"] == -11 and record["cxid"] == 0):
            continue  # of the server's own making
        if key in requests and ERROR not in (record["type"], requests[key]["type"]):
            faults.append(f"C2: xid {key[1]} of session {key[0]:#x} is applied twice: {requests[key]['zxid']:#x}, {record['zxid']:#x}")
        requests.setdefault(key, record)
    return requests


class _Witness:
    """One session's trail, from its beginning to its end."""

    def __init__(self, history, session, requests, faults, seen):
        self.history, self.session, self.requests = history, session, requests
        self.faults, self.seen = faults, seen
        self.zxid = 0  # the largest that the session has seen
        # (table, path) -> (earliest, latest): the zxid at which the watch is due, None if never.
        self.watches = {}
        # Events since the last reply: nothing that they tell may be later than the next reply.
        self.early = []
        self.gone_again = set()
        self.event_zxid, self.server = 0, ""

    def fault(self, text):
        self.faults.append(f"{self.session.name} ({self.session.ident:#x}, on {self.server}): {text}")

    def hear(self):
        for kind, what in self.session.trail:
            getattr(self, f"_{kind}")(what)
        self._order_of_writes()
        self._life()

    # ---- connections

    def _connect(self, what):
        self.early, self.server = [], what["server"]
        self.seen["connections"] += 1
        self.seen["moves"] += what["renewed"]
        if what["asked"] and what["session"] != what["asked"]:
            self.fault(f"S6: asked for its session, it got {what['session']:#x}")
        life = self.history.lives.get(what["session"])
        if life is None:
            self.fault("no log has the beginning of this session")
        elif not self.zxid:
            self.zxid = life.created

    def _expired(self, what):
        life = self.history.lives.get(what["session"])
        if life is None or life.closed is None:
            self.fault(f"S1: {what['server']} says that it has expired, and no log has its end")

    def _watches(self, reply):
        """The reply to setWatches: what was due before it has been told."""
        zxid = reply["zxid"]
        self._not_before(zxid, reply)
        for (table, path), (_, latest) in list(self.watches.items()):
            if latest is None or latest > zxid:
                continue
            if self._is_armed_again(table, path, zxid):
                self.watches[table, path] = (self._due(table, path, zxid),) * 2
            else:
                self.fault(f"W4: the {table} watch of {path} was due at {latest:#x}; set again at {zxid:#x}, nothing came")
                del self.watches[table, path]

    def _is_armed_again(self, table, path, zxid):
        """Whether the server finds nothing to report: only for a node that was not there, and came
        and went meanwhile."""
        return table == DATA and path in self.session_absent and self.history.at(path, zxid) is None

    session_absent = frozenset()

    # ---- replies

    def _op(self, op):
        zxid, err = op.reply["zxid"], op.reply["err"]
        self.seen["replies"] += 1
        self._not_before(zxid, op)
        if op.op in WRITES:
            self._write(op)
        elif op.op == proto.SYNC:
            self.seen["syncs"] += 1
            if zxid < op.floor and "apache" in self.server:
                # Apache's leader answers a sync with what it has applied itself, and tells its
                # followers of a commit before that.
                self.seen["syncs of Apache's that are stale"] += 1
            elif zxid < op.floor:
                self.fault(f"C7: {op!r}, though {op.floor:#x} was acknowledged before it was sent")
        elif op.op in (proto.GET_DATA, proto.EXISTS, proto.GET_CHILDREN2):
            self._read(op)
        if op.watch and (err == 0 or (op.op == proto.EXISTS and err == NO_NODE)):
            self._watch(op)
        self._overdue(zxid, op)

    def _not_before(self, zxid, what):
        if zxid < self.zxid:
            self.fault(f"C4: it has seen {self.zxid:#x}, then {what!r}")
        self.zxid = max(self.zxid, zxid)
        for event, due in self.early:
            if due > zxid:
                self.fault(f"W2: {event} tells of {due:#x} before {what!r}")
        self.early = []
        self.gone_again = set()

    def _write(self, op):
        zxid, err = op.reply["zxid"], op.reply["err"]
        record = self.history.records.get(zxid)
        if record is None or (record["session"], record["cxid"]) != (self.session.ident, op.xid):
            self.fault(f"C1: {op!r}; at that zxid the log has {record}")
            return
        self.seen["writes"] += err == 0
        self.seen["refusals"] += err != 0
        if zxid <= op.floor:
            self.fault(f"C8: {op!r}, though {op.floor:#x} was acknowledged before it was sent")
        if op.op == proto.MULTI:
            self._multi(op, record)
        elif err:
            code = record["txn"].get("err")
            if record["type"] != ERROR or code != err:
                self.fault(f"C1: {op!r}; the log has {record}")
            self._refused(op, err, zxid)
        else:
            if record["type"] not in TYPES[op.op]:
                self.fault(f"C1: {op!r}; the log has type {record['type']}")
            elif op.op != proto.CLOSE_SESSION:
                self._same(op, record["txn"], op.reply, zxid)

    def _multi(self, op, record):
        results, parts = op.reply["results"][:-1], record["txn"]["txns"]
        if record["type"] != 14 or len(parts) != len(op.args) or len(results) != len(parts):
            self.fault(f"C9: {op!r}; the log has {record}")
            return
        failed = [part for part in parts if part["type"] == ERROR]
        if bool(failed) != any(result["err"] for result in results):
            self.fault(f"C9: {op!r}; the log has {record}")
        if not failed:
            for part, txn, result in zip(op.args, parts, results):
                if part.op != proto.CHECK:
                    self._same(part, txn, result, op.reply["zxid"])

    def _same(self, op, txn, result, zxid):
        """An operation that was carried out is the one that was asked for, and told as it is."""
        path = result.get("path", op.args[0])
        if path != txn["path"] or not path.startswith(op.args[0]):
            self.fault(f"C1: {op!r}; the log has {txn['path']}")
        if op.op != proto.DELETE and txn["data"] != op.args[1]:
            self.fault(f"C1: {op!r}; the log has other data: {txn['data']}")
        if "stat" in result:
            self._same_stat(op, path, result["stat"], zxid)

    def _same_stat(self, op, path, stat, zxid):
        node = self.history.at(path, zxid)
        if node is None or node.stat() != stat:
            self.fault(f"C11: {op!r}; by the log the Stat is {node and node.stat()}")

    def _refused(self, op, err, zxid):
        """A refusal is right by the tree that the txn before it has left."""
        path = op.args[0] if op.args else None
        node = self.history.at(path, zxid)
        right = {
            NO_NODE: lambda: node is None if op.op in (proto.DELETE, proto.SET_DATA) else not self._parent_is_there(path, zxid),
            NODE_EXISTS: lambda: node is not None,
            BAD_VERSION: lambda: node is not None and node.version != op.args[-1],
            NOT_EMPTY: lambda: node is not None and node.count > 0,
        }.get(err)
        if right is not None and not right():
            self.fault(f"C8: {op!r} is refused without a reason; the node is {node and node.stat()}")

    def _parent_is_there(self, path, zxid):
        return self.history.at(path.rpartition("/")[0] or "/", zxid) is not None

    def _read(self, op):
        """C5, C6: the tree at the zxid of the reply."""
        self.seen["reads"] += 1
        path, zxid, reply = op.args[0], op.reply["zxid"], op.reply
        node = self.history.at(path, zxid)
        if (node is None) != (reply["err"] == NO_NODE):
            self.fault(f"C5: {op!r}; by the log the node is {node and node.stat()}")
        elif node is not None:
            if node.stat() != reply["stat"]:
                self.fault(f"C5: {op!r}; by the log its Stat is {node.stat()}")
            if op.op == proto.GET_DATA and reply["data"] != node.data:
                self.fault(f"C5: {op!r}; by the log its data is {node.data}")
            if op.op == proto.GET_CHILDREN2 and set(reply["children"]) != self.history.names_at(path, zxid):
                self.fault(f"C5: {op!r}; by the log its children are {self.history.names_at(path, zxid)}")

    # ---- watches

    def _watch(self, op):
        table, path = CHILD if op.op == proto.GET_CHILDREN2 else DATA, op.args[0]
        due = self._due(table, path, op.reply["zxid"])
        self.watches.setdefault((table, path), (due, due))
        if table == DATA:
            is_absent = op.reply["err"] != 0
            self.session_absent = self.session_absent | {path} if is_absent else self.session_absent - {path}

    def _due(self, table, path, zxid):
        """The zxid of the next change that the watch sees, None if there is none."""
        changes = self.history.children if table == CHILD else self.history.data_changes
        zxids = changes.get(path, ([], []))[0]
        index = bisect.bisect_right(zxids, zxid)
        return zxids[index] if index < len(zxids) else None

    def _event(self, event):
        self.seen["events"] += 1
        kind, path, zxid = event["type"], event["path"], event["zxid"]
        found = [table for table in EVENTS.get(kind, ()) if (table, path) in self.watches]
        # Watches that are set again on a new connection are told one by one that their node is gone.
        again = (event["conn"], path) if (kind, zxid) == (2, -1) else None
        if again and len(found) > 1:
            self.gone_again.add(again)
        if not found and again not in self.gone_again:
            self.fault(f"W1: {event}, which nothing that is set asks for")
        if not found:
            self.gone_again.discard(again)
        for table in found:
            due, _ = self.watches.pop((table, path))
            if due is None:
                self.fault(f"W2: {event}, and by the log the {table} of {path} never changes again")
                continue
            self.early.append((event, due))
            if zxid != -1:
                self._told(event, due, table)
        if zxid != -1:
            if zxid < self.event_zxid:
                self.fault(f"W3: {event} comes after one of {self.event_zxid:#x}")
            self.event_zxid = zxid

    def _told(self, event, due, table):
        """An event that names a txn names the one at which the watch was due, and tells what it did."""
        path, zxid = event["path"], event["zxid"]
        if zxid != due:
            self.fault(f"W8: {event}, due at {due:#x}")
        now, before = self.history.at(path, zxid), self.history.at(path, zxid - 1)
        kind = 2 if now is None else 1 if before is None else 4 if table == CHILD else 3
        if event["type"] != kind:
            self.fault(f"W8: {event}; by the log it is of type {kind}")

    def _overdue(self, zxid, op):
        for (table, path), (_, latest) in list(self.watches.items()):
            if latest is not None and latest <= zxid:
                self.fault(f"W2: the {table} watch of {path} was due at {latest:#x}, and {op!r} comes without it")
                del self.watches[table, path]

    # ---- the whole session

    def _order_of_writes(self):
        """C3, C12: of what was sent on one connection the log has a beginning, in that order, and
        nothing of it after something that was sent on a later one."""
        life = self.history.lives.get(self.session.ident)
        end = life.closed if life is not None and life.closed is not None else None
        last, hole = 0, None
        for op in self.session.ops:
            if op.op not in WRITES:
                continue
            record = self.requests.get((self.session.ident, op.xid))
            if record is None:
                if op.reply is not None:
                    self.fault(f"C1: {op!r}; no log has it")
                hole = op
                continue
            if op.reply is None and record["type"] == ERROR:
                continue  # of a connection that the session had left (-118)
            zxid = record["zxid"]
            if zxid < last:
                self.fault(f"C3: {op!r} is at {zxid:#x}, after one that was sent later, at {last:#x}")
            if hole is not None and hole.conn == op.conn and (end is None or zxid < end) and record["type"] != ERROR:
                self.fault(f"C3: {op!r} is in the log, and {hole!r}, sent before it, is not")
            last = max(last, zxid)

    def _life(self):
        """S1: a session that is heard of in time does not end; it ends if it asks for it."""
        life = self.history.lives.get(self.session.ident)
        if life is None or life.closed is None:
            if self.session.is_over and not self.faults:
                self.fault("S2: it is over, and no log has its end")
            return
        if life.cxid_of_close == 0 and self.session.heard is not None:
            silent_ms = life.closed_ms - self.session.heard * 1000
            # A server tells the leader of its clients twice a tick, and a client asks three times
            # within its timeout: half of it is more than both.
            if silent_ms < life.timeout_ms / 2:
                self.fault(f"S1: expired at {life.closed:#x}, {silent_ms:.0f} ms after what it sent and got answered")
            self.seen["expired"] += 1


