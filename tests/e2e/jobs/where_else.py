"""Waits until a node drains, then prints where COUNT new tasks ran: `where_else.py COUNT`."""

import json
import os
import sys
import time

import ray
from ray._private.state import state

LIMIT_SECONDS = 120


@ray.remote(num_cpus=1)
def pod() -> str:
    """The name of the pod this task runs in."""
    time.sleep(0.2)  # so that one free CPU is not enough for all
    return os.environ["POD_NAME"]


if __name__ == "__main__":
    ray.init()
    end = time.monotonic() + LIMIT_SECONDS
    while not state.get_draining_nodes():
        if time.monotonic() > end:
            sys.exit("no node drains")
        time.sleep(0.2)
    print(json.dumps(ray.get([pod.remote() for _ in range(int(sys.argv[1]))])))
