"""Leaves an object on the worker that made it until /tmp/go is in the driver's pod, and reads it.

Prints the worker's pod when the object is there, and 'intact' when it has been read.
"""

import hashlib
import os
import time
from pathlib import Path

import ray

LIMIT_SECONDS = 300
LARGE = 2**20  # bytes: what is smaller than 100 KB is not kept in the object store


@ray.remote(num_cpus=1, max_retries=0, num_returns=2)
def make() -> tuple[bytes, tuple[str, str]]:
    """An object, and the pod it was made in with its digest."""
    content = os.urandom(LARGE)
    return content, (os.environ["POD_NAME"], hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    ray.init()
    made, about = make.remote()
    pod, digest = ray.get(about)
    print(f"made in {pod}", flush=True)
    end = time.monotonic() + LIMIT_SECONDS
    while not Path("/tmp/go").exists() and time.monotonic() < end:  # noqa: S108
        time.sleep(0.2)
    assert hashlib.sha256(ray.get(made)).hexdigest() == digest
    print("intact", flush=True)
