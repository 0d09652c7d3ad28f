"""Looks for a shorter stream of steps that the two servers still answer differently: leaves out
ever smaller parts and
tries the rest on fresh servers."""

import contextlib
import pathlib
import tempfile

from drive import Difference, Driver

ATTEMPTS = 60


def shrink(arguments, steps, servers, save):
    """First leaves out steps, then, of those that stay, requests; each trial is a start of two
    servers."""

    def fails(candidate):
        return differs(arguments, candidate, servers)

    steps = reduce(list(steps), fails)
    single = [part for step in steps for part in split(step)]
    cut = fails(single)
    if cut is not None:
        steps = reduce(single[: cut + 1], fails)
    path = arguments.save or f"differential-{arguments.seed}-shrunk.json"
    save(path, steps)
    print(f"  the shorter stream is in {path}; --start --replay takes it")


def reduce(steps, fails):
    """The shortest stream found within ATTEMPTS."""
    attempts, part = 0, max(1, len(steps) // 2)
    while attempts < ATTEMPTS and len(steps) > 1:
        shorter = None
        for at in range(0, len(steps), part):
            candidate = steps[:at] + steps[at + part :]
            attempts += 1
            cut = fails(candidate) if candidate else None
            if cut is not None:
                shorter = candidate[: cut + 1]
                break
            if attempts >= ATTEMPTS:
                break
        if shorter is not None:
            steps = shorter
        elif part > 1:
            part //= 2
        else:
            break
        part = min(part, max(1, len(steps) // 2))
        print(f"  shrink: {attempts} attempts, {len(steps)} steps, {operations(steps)} operations", flush=True)
    return steps


def split(step):
    """A batch as batches of one request each."""
    if step[0] != "batch":
        return [step]
    return [(step[0], step[1], [request]) for request in step[2]]


def operations(steps):
    return sum(len(step[2]) for step in steps if step[0] in ("batch", "ends"))


def differs(arguments, steps, servers):
    """The index of the step at which the servers differ, None if they do not."""
    with tempfile.TemporaryDirectory(prefix="shrink-") as home, contextlib.ExitStack() as stack:
        pair = [stack.enter_context(each) for each in servers(arguments, pathlib.Path(home))]
        driver = Driver(*([each.address] for each in pair))
        for index, step in enumerate(steps):
            try:
                driver.step(step)
            except Difference:
                return index
            except (OSError, KeyError, IndexError):
                return None  # a step lacks what another prepared
    return None
