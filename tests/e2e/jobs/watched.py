"""Gives every graph something to show: an object, tasks that run, and tasks that wait."""

import time

import ray


@ray.remote(num_cpus=1)
def hold(kept: bytes) -> int:
    """Stay, with the object at hand."""
    time.sleep(600)
    return len(kept)


ray.init()
kept = ray.put(bytes(20_000_000))
ray.get([hold.remote(kept) for _ in range(5)])
