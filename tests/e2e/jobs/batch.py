"""As many tasks of a second as it is told, which may be tried again; prints their sum.

Says 'ready', and the pod of this driver, when all of them are on their way.
"""

import os
import sys
import time

import ray


@ray.remote(num_cpus=1, max_retries=-1)
def work(number: int) -> int:
    """A second of work."""
    time.sleep(1)
    return number


if __name__ == "__main__":
    ray.init()
    tasks = [work.remote(number) for number in range(int(sys.argv[1]))]
    print("ready", os.environ["POD_NAME"], flush=True)
    print(sum(ray.get(tasks)))
