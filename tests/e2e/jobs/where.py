"""Prints, as JSON, the name of the pod that runs a task which needs one CPU."""

import json
import os

import ray


@ray.remote(num_cpus=1)
def pod() -> str:
    """The name of the pod this task runs in."""
    return os.environ["POD_NAME"]


if __name__ == "__main__":
    ray.init()
    print(json.dumps(ray.get(pod.remote())))
