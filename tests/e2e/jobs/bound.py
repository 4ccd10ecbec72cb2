"""Tasks that a user binds to the own worker group of a shared cluster: `bound.py USER`.

Prints JSON: the pod that the script itself runs in, and those of its tasks.
"""

import json
import os
import sys

import ray


def pod() -> str:
    """The name of the pod this runs in."""
    return os.environ["POD_NAME"]


def main(user: str) -> None:
    """Run the job."""
    ray.init()
    task = ray.remote(num_cpus=0.1, label_selector={"user": user}, resources={user: 1})(pod)
    print(json.dumps({"script": pod(), "tasks": ray.get([task.remote() for _ in range(8)])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
