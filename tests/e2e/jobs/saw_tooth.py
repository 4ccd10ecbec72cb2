"""One, two, three tasks that end together, again and again: `saw_tooth.py SECONDS`.

A tooth takes a minute, and valleys are short and long by turns. After SECONDS nothing new begins.
"""

import itertools
import sys
import time

import ray

TASKS = 3
RISE_SECONDS = 20  # for each of them
VALLEYS_SECONDS = (30, 180)


@ray.remote(num_cpus=1)
def work(end: float) -> None:
    """Take a CPU until `end`, in seconds since the epoch."""
    time.sleep(max(0.0, end - time.time()))


if __name__ == "__main__":
    ray.init()
    last = time.time() + float(sys.argv[1])
    for valley in itertools.cycle(VALLEYS_SECONDS):
        end = time.time() + TASKS * RISE_SECONDS
        tasks = []
        for _ in range(TASKS):
            tasks.append(work.remote(end))
            time.sleep(RISE_SECONDS)
        ray.get(tasks)
        if time.time() + valley >= last:
            break
        time.sleep(valley)
