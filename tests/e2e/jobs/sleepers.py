"""Runs tasks with large results that may not be retried: `sleepers.py NUMBER SECONDS`.

Prints JSON: the pods in which tasks were `done`, and the errors of those that were `lost`, without
which it succeeds.
"""

import json
import os
import sys
import time

import ray

LARGE = 2**20  # bytes: what is smaller than 100 KB is not kept in the worker's object store


@ray.remote(num_cpus=1, max_retries=0)
def sleep(seconds: float) -> tuple[str, bytes]:
    """The name of the pod this task slept in, and a large result."""
    time.sleep(seconds)
    return os.environ["POD_NAME"], bytes(LARGE)


def main(number: str, seconds: str) -> None:
    """Run the job."""
    ray.init()
    done, lost = [], []
    for task in [sleep.remote(float(seconds)) for _ in range(int(number))]:
        try:
            pod, content = ray.get(task)
            assert len(content) == LARGE
            done.append(pod)
        except ray.exceptions.RayError as error:
            lost.append(str(error))
    print(json.dumps({"done": done, "lost": lost}), flush=True)
    sys.exit(bool(lost))


if __name__ == "__main__":
    main(*sys.argv[1:])
