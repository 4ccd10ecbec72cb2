"""What becomes of the things on a worker that has to go before they are done: `fates.py SECONDS`.

Prints 'ready' once everything is on the only worker there is, waits until it is told by /tmp/go
that this worker is gone, and prints the fates as JSON: a pod's name, a number or an error's name.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

LIMIT_SECONDS = 300
LARGE = 2**20  # bytes: what is smaller than 100 KB is not kept in the object store


def pod() -> str:
    """The name of the pod this runs in."""
    return os.environ["POD_NAME"]


def slow(seconds: float) -> str:
    """A task that takes its time."""
    time.sleep(seconds)
    return pod()


def made() -> tuple[str, bytes]:
    """An object that only the worker holds, and where it was made."""
    return pod(), os.urandom(LARGE)


def put() -> list[Any]:
    """An object that belongs to the task that put it."""
    return [ray.put((pod(), os.urandom(LARGE)))]


class Counter:
    """State that lives in an actor."""

    def __init__(self) -> None:
        self.count = 0

    def increment(self) -> int:
        """The next number."""
        self.count += 1
        return self.count


def fate(look: Any) -> Any:
    """What `look` finds, or the name of the error."""
    try:
        return look()
    except RayError as error:
        return type(error).__name__


def main(seconds: str) -> None:
    """Run the job."""
    ray.init(namespace="fates")
    kinds: dict[str, dict[str, Any]] = {
        "actor": {},
        "actor with restarts": {"max_restarts": 1},
        "detached actor": {"name": "a", "lifetime": "detached"},
        "detached actor with restarts": {"name": "b", "lifetime": "detached", "max_restarts": 1},
    }
    actors = {
        # One that asks for no CPU may be on the head.
        name: ray.remote(num_cpus=0.1, **options)(Counter).remote()
        for name, options in kinds.items()
    }
    for actor in actors.values():
        assert ray.get([actor.increment.remote() for _ in range(3)])[-1] == 3
    fetched, only_there = (ray.remote(num_cpus=1)(made).remote() for _ in range(2))
    copy = ray.get(fetched)  # leaves a copy on the head's node, where this driver is
    (belongs_to_worker,) = ray.get(ray.remote(num_cpus=1)(put).remote())
    ray.wait([only_there], fetch_local=False)
    own = ray.put(bytes(LARGE))
    retried = ray.remote(num_cpus=1)(slow).remote(float(seconds))
    not_retried = ray.remote(num_cpus=1, max_retries=0)(slow).remote(float(seconds))
    print("ready", flush=True)

    deadline = time.monotonic() + LIMIT_SECONDS
    while not Path("/tmp/go").exists():  # noqa: S108
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.5)
    fates = {
        "task": fate(lambda: ray.get(retried)),
        "task without retries": fate(lambda: ray.get(not_retried)),
        "object": fate(lambda: ray.get(only_there)[0]),
        "object that the driver has read": fate(lambda: ray.get(fetched) == copy and copy[0]),
        "object put by a task": fate(lambda: ray.get(belongs_to_worker)[0]),
        "object put by the driver": fate(lambda: len(ray.get(own))),
    }
    for name, actor in actors.items():
        fates[name] = fate(lambda actor=actor: ray.get(actor.increment.remote()))
    print(json.dumps(fates), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
