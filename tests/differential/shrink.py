"""Looks for a shorter stream of steps that the two servers still answer differently: leaves out ever smaller parts and
tries the rest on fresh servers."""

import contextlib
import pathlib
import tempfile

from drive import Difference, Driver

ATTEMPTS = 60


def shrink(arguments, steps, servers, save):
    """Tries for ATTEMPTS starts of two servers; returns the shortest stream found."""
    steps = list(steps)
    attempts, part = 0, max(1, len(steps) // 2)
    while attempts < ATTEMPTS:
        shorter = None
        for at in range(0, len(steps), part):
            candidate = steps[:at] + steps[at + part :]
            attempts += 1
            cut = differs(arguments, candidate, servers) if candidate else None
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
    path = arguments.save or f"differential-{arguments.seed}-shrunk.json"
    save(path, steps)
    print(f"  the shorter stream is in {path}; --start --replay takes it")


def operations(steps):
    return sum(len(step[2]) for step in steps if step[0] in ("batch", "ends"))


def differs(arguments, steps, servers):
    """The index of the step at which the servers differ, None if they do not."""
    with tempfile.TemporaryDirectory(prefix="shrink-") as home, contextlib.ExitStack() as stack:
        pair = [stack.enter_context(each) for each in servers(arguments, pathlib.Path(home))]
        driver = Driver(*(each.address for each in pair))
        for index, step in enumerate(steps):
            try:
                driver.step(step)
            except Difference:
                return index
            except (OSError, KeyError, IndexError):
                return None  # a step lacks what another prepared
    return None
