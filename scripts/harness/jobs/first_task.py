"""Runs one task on a worker; prints when this driver was connected, and when the task was done.

Both are seconds since the epoch, as JSON. The head has no CPU for tasks.
"""

import json
import time

import ray


@ray.remote(num_cpus=1)
def now() -> float:
    """The time on the worker."""
    return time.time()


if __name__ == "__main__":
    ray.init()
    connected = time.time()
    print(json.dumps([connected, ray.get(now.remote())]))
