"""Runs a task of each length on the workers, once: `lengths.py SECONDS SECONDS ...`.

Prints the lengths of those that were lost, as JSON.
"""

import json
import sys
import time

import ray
from ray.exceptions import RayError


@ray.remote(num_cpus=1, max_retries=0)
def sleep(seconds: float) -> None:
    """Take a CPU for a while."""
    time.sleep(seconds)


if __name__ == "__main__":
    ray.init()
    lost = []
    for length, task in [(length, sleep.remote(float(length))) for length in sys.argv[1:]]:
        try:
            ray.get(task)
        except RayError:
            lost.append(float(length))
    print(json.dumps(lost), flush=True)
