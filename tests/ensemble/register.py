"""Histories of operations on registers, and whether some order explains them: each operation takes
effect at one moment between its call and its return (Wing and Gong's search, with Lowe's memory of the
configurations that have been seen).

A register is a znode: its state is its version and its data. No log of a server is looked at.
"""

import random

INFINITY = float("inf")
# Configurations of one register that are looked at before its search is given up, as a fault.
SEARCH_MAX = 1_000_000


class Call:
    """An operation: `kind` read, write or cas; `asked` (data,) or (data, version); when it was called
    and when it returned. `told` is the version and data after it, None for a version that did not
    match. One without a reply returned never, and may have taken effect or not."""

    __slots__ = ("key", "kind", "asked", "told", "called", "returned", "who")

    def __init__(self, key, kind, asked, called, who=""):
        self.key, self.kind, self.asked, self.called, self.who = key, kind, asked, called, who
        self.told, self.returned = None, INFINITY

    def returns(self, told, at):
        self.told, self.returned = told, at

    def copy(self):
        other = Call(self.key, self.kind, self.asked, self.called, self.who)
        other.returns(self.told, self.returned)
        return other

    def __repr__(self):
        end = "no reply" if self.returned == INFINITY else f"{self.told} at {self.returned:.6f}"
        return f"{self.who} {self.kind}{self.asked} at {self.called:.6f}: {end}"


def step(state, call, known):
    """The state after `call`, None if what it was told cannot be in this state. `known`: what was seen
    at each version. Data at a version that nobody saw are None, and one without a reply that leaves
    the state as it is need not have a place."""
    version, _ = state
    if call.kind == "read":
        return state if call.told == state else None
    if call.returned != INFINITY:
        if call.kind == "cas" and call.asked[1] != version:
            return state if call.told is None else None
        after = (version + 1, call.asked[0])
        return after if call.told == after else None
    if call.kind == "cas" and call.asked[1] != version:
        return None
    if (seen := known.get(version + 1)) is None:
        return (version + 1, None)
    return (version + 1, seen) if seen == call.asked[0] else None


def explain(calls, first):
    """None if the calls on one register have an order that explains them, else the state and the calls
    of which none can be the next, at the point that the search came furthest to."""
    calls = [call for call in calls if call.kind != "read" or call.returned != INFINITY]
    known = dict(call.told for call in calls if isinstance(call.told, tuple))
    # Of writes without a reply that nobody saw, one that was called earlier is at least as good.
    alike = sum(
        1 << n
        for n, call in enumerate(calls)
        if call.kind == "write" and call.returned == INFINITY and call.asked[0] not in known.values()
    )
    events = sorted(
        [(call.called, 1, n) for n, call in enumerate(calls)]
        + [(call.returned, 0, n) for n, call in enumerate(calls) if call.returned != INFINITY],
        key=lambda event: (event[0], -event[1]),
    )
    # A list of events that calls are taken out of and put back into. Position 0 is its head.
    after, before = list(range(1, len(events) + 1)) + [0], [len(events), *range(len(events))]
    at = {(kind, n): place for place, (_, kind, n) in enumerate(events, 1)}
    left = sum(call.returned != INFINITY for call in calls)
    state, taken, seen, stack, furthest = first, 0, set(), [], (-1, [])
    place = after[0]
    while left:
        kind, n = events[place - 1][1:] if place else (0, None)
        if kind == 1:
            then = step(state, calls[n], known)
            key = then and (taken & ~alike | 1 << n & ~alike, (taken & alike).bit_count() + (alike >> n & 1), then)
            if then is not None and key not in seen:
                seen.add(key)
                stack.append((n, state))
                state, taken = then, taken | 1 << n
                _take_out(after, before, at, n)
                left -= calls[n].returned != INFINITY
                place = after[0]
            else:
                place = after[place]
            continue
        # A return whose call has no place yet: what was taken last goes back.
        if len(stack) > furthest[0]:
            furthest = (len(stack), [state, *_next_ones(after, events, calls)])
        if not stack or len(seen) > SEARCH_MAX:
            return furthest[1] if not stack else [f"{state}, and {SEARCH_MAX} configurations were looked at", *furthest[1]]
        n, state = stack.pop()
        taken &= ~(1 << n)
        _put_back(after, before, at, n)
        left += calls[n].returned != INFINITY
        place = after[at[1, n]]
    return None


def _take_out(after, before, at, n):
    for kind in (1, 0):
        if (place := at.get((kind, n))) is not None:
            after[before[place]], before[after[place]] = after[place], before[place]


def _put_back(after, before, at, n):
    for kind in (0, 1):
        if (place := at.get((kind, n))) is not None:
            after[before[place]] = before[after[place]] = place


def _next_ones(after, events, calls):
    place, found = after[0], []
    while place and events[place - 1][1] == 1:
        found.append(calls[events[place - 1][2]])
        place = after[place]
    return found


def faults(calls, first):
    """What no order explains, for each register of these calls."""
    keys = {}
    for call in calls:
        keys.setdefault(call.key, []).append(call)
    for key, each in keys.items():
        if (stuck := explain(each, first)) is not None:
            yield f"{key} is not linearizable: in the state {stuck[0]} none of these is next: {stuck[1:][:8]}"


# ---- lies, which must be found


def lies(calls, first, seed):
    """What was not found of the mistakes that are planted in a history which has an order, one at a
    time; and how many were planted."""
    rng, missed, planted = random.Random(seed), [], 0
    for name, make in (("a stale read", _stale), ("a write forgotten", _forgotten), ("a cas done twice", _twice)):
        for _ in range(5):
            if not (lie := make(calls, first, rng)):
                missed.append(f"no place for {name}")
                continue
            planted += 1
            key, told = lie
            if explain(told, first) is None:
                missed.append(f"{name} on {key} was not found")
    return missed, planted


def _of_key(calls, key):
    return [call.copy() for call in calls if call.key == key]


def _stale(calls, first, rng):
    """A read shows what was there before a write that had been acknowledged before the read began."""
    values = {call.told: call for call in calls if call.kind != "read" and call.told is not None}
    reads = [call for call in calls if call.kind == "read" and call.told is not None]
    rng.shuffle(reads)
    for read in reads:
        wrote = values.get(read.told)
        if wrote and wrote.key == read.key and wrote.returned < read.called:
            own = _of_key(calls, read.key)
            there = {call.told[0]: call.told for call in own if call.kind != "read" and call.told} | {0: first}
            if older := there.get(read.told[0] - 1):
                liar = next(call for call in own if (call.called, call.who) == (read.called, read.who))
                liar.told = older
                return read.key, own
    return None


def _forgotten(calls, first, rng):
    """A write was acknowledged, and nothing that follows shows it."""
    keys = sorted({call.key for call in calls})
    rng.shuffle(keys)
    for key in keys:
        own = _of_key(calls, key)
        done = sorted((call for call in own if call.kind == "write" and call.told), key=lambda call: call.told)
        if len(done) < 5:
            continue
        lost = done[len(done) // 2]
        if not any(call.called > lost.returned and call.told and call.told[0] > lost.told[0] for call in own):
            continue
        for call in own:
            if call is not lost and call.told and call.told[0] >= lost.told[0]:
                call.told = (call.told[0] - 1, call.told[1])
        return key, own
    return None


def _twice(calls, first, rng):
    """Two cas of one version are both told that they were done."""
    refused = [call for call in calls if call.kind == "cas" and call.told is None and call.returned != INFINITY]
    rng.shuffle(refused)
    for call in refused:
        own = _of_key(calls, call.key)
        if not any(each.kind != "read" and each.told and each.told[0] == call.asked[1] + 1 for each in own):
            continue
        liar = next(each for each in own if (each.called, each.who) == (call.called, call.who))
        liar.told = (call.asked[1] + 1, call.asked[0])
        return call.key, own
    return None
