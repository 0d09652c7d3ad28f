"""Clients of kazoo that hold a lock in turn, keep an ephemeral each and watch a counter, until their
standard input ends; then they print what they saw. Run with the Python that has kazoo.

    lockers.py HOSTS [COUNT]
"""

import json
import logging
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import ConnectionLoss, KazooException, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError

LOCK, COUNTER, ALIVE = "/migration/lock", "/migration/counter", "/migration/alive"


class Locker:
    """One client, which lives as long as the run."""

    def __init__(self, hosts, number, shared):
        self.number, self.shared = number, shared
        self.lost, self.added, self.unsure, self.seen, self.backwards = 0, 0, 0, 0, 0
        self.client = KazooClient(hosts, timeout=15.0, connection_retry={"max_tries": -1}, command_retry={"max_tries": -1})
        self.client.add_listener(self.listen)
        self.client.start(timeout=60)
        self.session = self.client.client_id[0]
        for path in (LOCK, COUNTER, ALIVE):
            self.client.ensure_path(path)
        self.client.create(f"{ALIVE}/{number}", b"", ephemeral=True)
        self.client.DataWatch(COUNTER, self.watched)

    def listen(self, state):
        self.lost += state == KazooState.LOST

    def watched(self, data, stat, event=None):
        """A watch that is always set again: what it tells never goes back."""
        value = int(data or b"0")
        self.backwards += value < self.seen
        self.seen = max(self.seen, value)

    def run(self):
        lock = self.client.Lock(LOCK, str(self.number))
        while not self.shared.over.is_set():
            try:
                if lock.acquire(timeout=20):
                    self.shared.enter(self.number)
                    try:
                        self.add()
                    finally:
                        self.shared.leave(self.number)
                    lock.release()
            except (ConnectionLoss, KazooTimeoutError):
                time.sleep(0.1)
            except (SessionExpiredError, KazooException) as error:
                self.shared.faults.append(f"client {self.number}: {error!r}")
                time.sleep(1)

    def add(self):
        """One more, under the lock: a write by anybody else in between would be seen by its version."""
        data, stat = self.client.retry(self.client.get, COUNTER)
        value = int(data or b"0") + 1
        try:
            self.client.set(COUNTER, b"%d" % value, version=stat.version)
            self.added += 1
        except ConnectionLoss:
            self.unsure += 1  # done or not: the version of the next one tells
        time.sleep(0.01)

    def end(self):
        alive = self.client.exists(f"{ALIVE}/{self.number}")
        same = alive is not None and alive.ephemeralOwner == self.session == self.client.client_id[0]
        told = {"added": self.added, "unsure": self.unsure, "lost": self.lost, "same": same, "backwards": self.backwards}
        self.client.stop()
        return told


class Shared:
    """Who holds the lock, as this process sees it."""

    def __init__(self):
        self.over, self.guard = threading.Event(), threading.Lock()
        self.holder, self.faults = None, []

    def enter(self, number):
        with self.guard:
            if self.holder is not None:
                self.faults.append(f"client {number} has the lock, and so has {self.holder}")
            self.holder = number

    def leave(self, number):
        with self.guard:
            self.holder = None if self.holder == number else self.holder


def main():
    logging.disable(logging.CRITICAL)
    hosts, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    shared = Shared()
    lockers = [Locker(hosts, number, shared) for number in range(count)]
    threads = [threading.Thread(target=locker.run, daemon=True) for locker in lockers]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for _ in sys.stdin:  # each line asks how many were added so far
        print(sum(locker.added for locker in lockers), flush=True)
    shared.over.set()
    for thread in threads:
        thread.join(60)
    final = int(lockers[0].client.retry(lockers[0].client.get, COUNTER)[0] or b"0")
    print(json.dumps({"counter": final, "clients": [locker.end() for locker in lockers], "faults": shared.faults}), flush=True)


if __name__ == "__main__":
    main()
