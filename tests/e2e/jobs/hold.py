"""Tasks that last until /tmp/go is in their pod: `hold.py COUNT BYTES`.

They must not be retried, and have a result of so many bytes: what is smaller than 100 KB is not
kept in the worker's object store. Each makes a file /tmp/held-<number> when it begins. Prints the
names of the pods they ended in, as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import ray

LIMIT_SECONDS = 600


@ray.remote(num_cpus=1, max_retries=0)
def hold(number: int, size: int) -> tuple[str, bytes]:
    """The name of the pod, once the task may end, and so many bytes."""
    Path(f"/tmp/held-{number}").touch()  # noqa: S108
    end = time.monotonic() + LIMIT_SECONDS
    while not Path("/tmp/go").exists() and time.monotonic() < end:  # noqa: S108
        time.sleep(0.2)
    return os.environ["POD_NAME"], bytes(size)


if __name__ == "__main__":
    ray.init()
    count, size = map(int, sys.argv[1:])
    results = ray.get([hold.remote(number, size) for number in range(count)])
    print(json.dumps([pod for pod, _ in results]))
