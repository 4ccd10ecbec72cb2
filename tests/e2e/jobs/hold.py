"""Tasks that last until /tmp/go is in their pod, and must not be retried: `hold.py COUNT`.

Each makes a file /tmp/held-<number> when it begins. Prints the names of the pods they ended in,
as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import ray

LIMIT_SECONDS = 600


@ray.remote(num_cpus=1, max_retries=0)
def hold(number: int) -> str:
    """The name of the pod, once the task may end."""
    Path(f"/tmp/held-{number}").touch()  # noqa: S108
    end = time.monotonic() + LIMIT_SECONDS
    while not Path("/tmp/go").exists() and time.monotonic() < end:  # noqa: S108
        time.sleep(0.2)
    return os.environ["POD_NAME"]


if __name__ == "__main__":
    ray.init()
    print(json.dumps(ray.get([hold.remote(number) for number in range(int(sys.argv[1]))])))
