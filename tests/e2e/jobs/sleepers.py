"""Runs tasks that may not be retried: `sleepers.py NUMBER SECONDS`.

Prints JSON: the pods in which tasks were `done`, and the errors of those that were `lost`.
"""

import json
import os
import sys
import time

import ray


@ray.remote(num_cpus=1, max_retries=0)
def sleep(seconds: float) -> str:
    """The name of the pod this task slept in."""
    time.sleep(seconds)
    return os.environ["POD_NAME"]


def main(number: str, seconds: str) -> None:
    """Run the job."""
    ray.init()
    done, lost = [], []
    for task in [sleep.remote(float(seconds)) for _ in range(int(number))]:
        try:
            done.append(ray.get(task))
        except ray.exceptions.RayError as error:
            lost.append(str(error))
    print(json.dumps({"done": done, "lost": lost}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
