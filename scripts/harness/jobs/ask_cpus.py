"""Asks for tasks of one CPU each until the job is stopped: `ask_cpus.py COUNT`.

Prints the time at which they were submitted, in seconds since the epoch. Ends by itself after ten
minutes.
"""

import sys
import time

import ray


@ray.remote(num_cpus=1)
def hold() -> None:
    """Take the CPU and use nothing of it."""
    time.sleep(600)


if __name__ == "__main__":
    ray.init()
    tasks = [hold.remote() for _ in range(int(sys.argv[1]))]
    print(time.time(), flush=True)
    ray.get(tasks)
