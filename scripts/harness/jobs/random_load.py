"""Runs a random load of tasks that may not be retried: `random_load.py SEED SECONDS`.

Rounds of 15 to 90 seconds aim at 0 to 12 tasks that run together. A task sleeps, holds memory, or
makes an object for the driver to read, for 1 to 40 seconds. After SECONDS nothing new begins.

Prints JSON every ten seconds and at the end: the numbers of tasks `begun` and `finished`, and the
errors of those that were `lost`.
"""

import hashlib
import json
import os
import random
import sys
import time
from typing import Any

import ray
from ray.exceptions import RayError

MOST_TOGETHER = 12
MOST_SECONDS = 40.0
MEBIBYTES = 250  # of a task that holds memory
OBJECT = 2**20  # bytes: what is smaller than 100 KB is not kept in a worker's object store
REPORT_SECONDS = 10


def sleep(seconds: float) -> None:
    """Wait, and use nothing."""
    time.sleep(seconds)


def hold(seconds: float) -> None:
    """Write to many pages, and keep them."""
    held = bytearray(os.urandom(2**20)) * MEBIBYTES
    time.sleep(seconds)
    assert held


def make(seconds: float) -> tuple[bytes, str]:
    """An object, and its digest."""
    time.sleep(seconds)
    content = os.urandom(OBJECT)
    return content, hashlib.sha256(content).hexdigest()


class Load:
    """The tasks that run, and what became of those that ran."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)  # noqa: S311
        once = ray.remote(num_cpus=1, max_retries=0)
        self.kinds = [once(function) for function in (sleep, hold, make)]
        self.running: list[Any] = []
        self.begun, self.finished = 0, 0
        self.lost: list[str] = []
        self.reported = 0.0

    def round(self, end: float) -> None:
        """Keep a random number of tasks running for a random time, until `end` at the latest."""
        number = self.random.choice((0, 2, 6, MOST_TOGETHER))
        end = min(end, time.monotonic() + self.random.uniform(15, 90))
        while time.monotonic() < end:
            for _ in range(number - len(self.running)):
                kind = self.random.choice(self.kinds)
                self.running.append(kind.remote(self.random.uniform(1, MOST_SECONDS)))
                self.begun += 1
            self.collect(1)

    def collect(self, seconds: float) -> None:
        """Look at what ends within `seconds`."""
        began = time.monotonic()
        ended, self.running = ray.wait(self.running, timeout=seconds) if self.running else ([], [])
        for task in ended:
            try:
                result = ray.get(task)
            except RayError as error:
                self.lost.append(f"{type(error).__name__}: {error}")
                continue
            if result:
                content, digest = result
                assert hashlib.sha256(content).hexdigest() == digest
            self.finished += 1
        time.sleep(max(0, min(0.2, seconds - (time.monotonic() - began))))
        if time.monotonic() - self.reported > REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Print the numbers of up to now."""
        self.reported = time.monotonic()
        numbers = {"begun": self.begun, "finished": self.finished, "lost": self.lost}
        print(json.dumps(numbers), flush=True)


def main(seed: str, seconds: str) -> None:
    """Run the job."""
    ray.init()
    load = Load(seed)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        load.round(end)
    while load.running:
        load.collect(1)
    load.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
