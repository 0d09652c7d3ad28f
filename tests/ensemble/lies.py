"""Does the judge see it? Lies are planted, one at a time, in what a run has recorded, and each has to
be found."""

import copy
import random

from zk import proto

from history import ERROR, replay
from judge import judge
from session import WRITES


def plant(history, sessions, seed, show=print):
    """The lies that the judge overlooks, and those for which the run had no place."""
    missed = []
    for name, lie in LIES.items():
        rng = random.Random(f"{seed}/{name}")
        records = [dict(record) for record in history.records.values()]
        told = [_copied(session) for session in sessions]
        rng.shuffle(told)
        wanted = lie(records, told, rng)
        faults = judge(replay(records), told)[0] if wanted else ["no place for it"]
        if wanted and not any(fault.startswith(wanted) or f": {wanted}" in fault for fault in faults):
            missed.append(name)
        show(f"  lie {'missed' if name in missed else 'found '} {name}: {faults[0][:110] if faults else 'nothing'}")
    return missed


def _copied(session):
    twin = copy.copy(session)
    ops = {id(op): copy.copy(op) for op in session.ops}
    for op in ops.values():
        op.reply = copy.deepcopy(op.reply)
    twin.ops = [ops[id(op)] for op in session.ops]
    twin.trail = [(kind, ops[id(what)] if kind == "op" else dict(what)) for kind, what in session.trail]
    return twin


def _ops(told, holds):
    """(session, place in its trail, op) of the answered requests for which `holds` is true."""
    for session in told:
        for place, (kind, op) in enumerate(session.trail):
            if kind == "op" and holds(op):
                yield session, place, op


def _one(told, rng, holds):
    return rng.choice(list(_ops(told, holds)) or [(None, None, None)])


def _is_set(op):
    return op.op == proto.SET_DATA and op.reply["err"] == 0


def _lost_write(records, told, rng):
    _, _, op = _one(told, rng, _is_set)
    records[:] = [record for record in records if record["zxid"] != op.reply["zxid"]]
    return "C1"


def _other_data(records, told, rng):
    _, _, op = _one(told, rng, _is_set)
    op.args = (op.args[0], b"something else", op.args[2])
    return "C1"


def _twice(records, told, rng):
    _, _, op = _one(told, rng, _is_set)
    of_it = next(record for record in records if record["zxid"] == op.reply["zxid"])
    again = dict(of_it, zxid=records[-1]["zxid"] + 1)
    again["txn"] = dict(of_it["txn"], version=of_it["txn"]["version"] + 1)
    records.append(again)
    return "C2"


def _wrong_zxid(records, told, rng):
    _, _, op = _one(told, rng, lambda op: op.op == proto.GET_DATA and op.reply["err"] == 0)
    op.reply["zxid"] -= 50
    return "C4"


def _old_data(records, told, rng):
    session, _, op = _one(told, rng, lambda op: op.op == proto.GET_DATA and op.reply["err"] == 0 and op.reply["data"] == b"2")
    if op is None:
        return None
    op.reply["data"] = b"1"
    return "C5"


def _node_too_early(records, told, rng):
    _, _, op = _one(told, rng, lambda op: op.op == proto.EXISTS and op.reply["err"] == -101)
    op.reply.update(err=0, stat=dict.fromkeys(proto.STAT_FIELDS, 0))
    return "C5"


def _missing_child(records, told, rng):
    _, _, op = _one(told, rng, lambda op: op.op == proto.GET_CHILDREN2 and op.reply.get("children"))
    op.reply["children"] = op.reply["children"][1:]
    return "C5"


def _stale_sync(records, told, rng):
    """A server that answers a sync without asking its leader: the session itself sees nothing odd."""
    for session, place, op in _ops(told, lambda op: op.op == proto.SYNC):
        before = [what.reply["zxid"] for kind, what in session.trail[:place] if kind == "op"]
        if before and before[-1] < op.floor:
            op.reply["zxid"] = before[-1]
            for kind, what in session.trail:
                if kind == "connect":
                    what["server"] = "a server that keeps its word"
            return "C7"
    return None


def _real_time(records, told, rng):
    """A write that takes its place before one that was acknowledged when it was sent."""
    _, _, op = _one(told, rng, _is_set)
    op.floor = op.reply["zxid"] + 1
    return "C8"


def _reordered(records, told, rng):
    """Two writes of one session, sent together and not yet answered, in the other order."""
    for session in told:
        sets = [op for op in session.ops if op.op == proto.SET_DATA]
        for one, two in zip(sets, sets[1:]):
            if one.conn == two.conn:
                by_xid = {r["cxid"]: r for r in records if r["session"] == session.ident}
                a, b = by_xid.get(one.xid), by_xid.get(two.xid)
                if a and b and ERROR not in (a["type"], b["type"]):
                    a["cxid"], b["cxid"] = b["cxid"], a["cxid"]
                    session.trail[:] = [what for what in session.trail if what[1] not in (one, two)]
                    one.reply = two.reply = None
                    return "C3"
    return None


def _hole(records, told, rng):
    """Of two writes on one connection the first is not in the log."""
    session, place, op = _one(told, rng, lambda op: _is_set(op) and op.xid > 5)
    earlier = next(one for one in session.ops if one.op in WRITES and one.conn == op.conn)
    record = next(r for r in records if (r["session"], r["cxid"]) == (session.ident, earlier.xid))
    record["session"], earlier.reply = 1, None
    session.trail[:] = [what for what in session.trail if what[1] is not earlier]
    return "C3"


def _version(records, told, rng):
    _, _, op = _one(told, rng, _is_set)
    op.reply["stat"]["version"] += 1
    return "C11"


def _refusal(records, told, rng):
    _, _, op = _one(told, rng, lambda op: op.op == proto.SET_DATA and op.reply["err"] == -103)
    if op is None:
        return None
    record = next(r for r in records if r["zxid"] == op.reply["zxid"])
    op.reply["err"] = -101
    record["txn"] = {"err": -101}
    return "C8"


def _events(told, rng):
    found = [(session, place) for session in told for place, (kind, _) in enumerate(session.trail) if kind == "event"]
    rng.shuffle(found)
    return found


def _missed_event(records, told, rng):
    """Of a session that goes on afterwards."""
    for session, place in _events(told, rng):
        if any(kind == "op" for kind, _ in session.trail[place:]):
            del session.trail[place]
            return "W"
    return None


def _double_event(records, told, rng):
    session, place = _events(told, rng)[0]
    session.trail.insert(place, session.trail[place])
    return "W1"


def _late_event(records, told, rng):
    """After the reply that already shows the change."""
    for session, place in _events(told, rng):
        after = session.trail[place + 1 : place + 2]
        if after and after[0][0] == "op" and session.trail[place][1]["zxid"] > 0:
            session.trail[place : place + 2] = reversed(session.trail[place : place + 2])
            return "W"
    return None


def _early_event(records, told, rng):
    """Before a reply that does not have the change yet."""
    for session, place in _events(told, rng):
        before = session.trail[place - 1]
        if before[0] == "op" and not before[1].watch and before[1].reply["zxid"] < session.trail[place][1]["zxid"]:
            session.trail[place - 1 : place + 1] = reversed(session.trail[place - 1 : place + 1])
            return "W2"
    return None


def _left_ephemeral(records, told, rng):
    """A session ends, and one of its ephemerals stays."""
    closes = [record for record in records if record["type"] == -11 and record["txn"].get("paths")]
    record = rng.choice(closes)
    record["txn"] = {"paths": record["txn"]["paths"][1:]}
    return "S3"


def _late_ephemeral(records, told, rng):
    """An ephemeral is made for a session that has ended."""
    closed = next(r for r in records if r["type"] == -11)
    path = "/load/late"
    txn = {"path": path, "data": b"", "acl": [], "ephemeral": True, "parent": 0}
    records.append(dict(closed, type=1, cxid=99999, zxid=records[-1]["zxid"] + 1, txn=txn))
    return "S3"


def _expired_early(records, told, rng):
    for record in records:
        if record["type"] == -11 and record["cxid"] == 0:
            for session in told:
                if session.ident == record["session"]:
                    session.heard = record["time"] / 1000 - 1
                    return "S1"
    return None


def _lost_session(records, told, rng):
    """The end of a session is told, and no log has it."""
    ended = {record["session"] for record in records if record["type"] == -11}
    session = next(session for session in told if session.ident in ended)
    records[:] = [r for r in records if r["type"] != -11 or r["session"] != session.ident]
    session.trail.append(("expired", {"session": session.ident, "server": "a server"}))
    return "S1"


LIES = {
    "an acknowledged write is not in the log": _lost_write,
    "a write is logged with other data": _other_data,
    "a write is applied twice": _twice,
    "a session goes back to an older zxid": _wrong_zxid,
    "a read shows older data than its zxid": _old_data,
    "a read shows a node that is not there yet": _node_too_early,
    "a child is missing": _missing_child,
    "a sync is answered without a quorum": _stale_sync,
    "a write comes before what was acknowledged": _real_time,
    "two pipelined writes change places": _reordered,
    "a write is lost before another one of its connection": _hole,
    "a Stat has another version": _version,
    "a write is refused without a reason": _refusal,
    "an event is missing": _missed_event,
    "an event comes twice": _double_event,
    "an event comes after the data": _late_event,
    "an event comes before its change": _early_event,
    "an ephemeral stays after its session": _left_ephemeral,
    "an ephemeral is made after its session": _late_ephemeral,
    "a session expires while it is heard of": _expired_early,
    "a session is lost": _lost_session,
}
