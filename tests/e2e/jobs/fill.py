"""Fills the object stores of two workers of one CPU each, and lets go.

Prints JSON: the bytes of the objects that were in each worker's store, by its pod.
"""

import json
import os

import ray

OBJECT = 8 * 2**20  # bytes


class Filler:
    """An actor that takes the only CPU of its worker."""

    def fill(self) -> tuple[str, int]:
        """Fill nine tenths of this node's object store; the pod and the bytes."""
        here = ray.get_runtime_context().get_node_id()
        (node,) = (node for node in ray.nodes() if node["NodeID"] == here)
        number = int(0.9 * node["Resources"]["object_store_memory"] / OBJECT)
        self.objects = [ray.put(os.urandom(OBJECT)) for _ in range(number)]
        return os.environ["POD_NAME"], number * OBJECT


if __name__ == "__main__":
    ray.init()
    fillers = [ray.remote(num_cpus=1)(Filler).remote() for _ in range(2)]
    print(json.dumps(dict(ray.get([filler.fill.remote() for filler in fillers]))), flush=True)
