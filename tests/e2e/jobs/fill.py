"""Fills the object stores of two workers of one CPU each, and lets go: `fill.py MEBIBYTES`.

Beside its store the first worker holds so much memory, which is what brings the second one.
"""

import os
import sys

import ray

OBJECT = 8 * 2**20  # bytes


class Filler:
    """An actor that takes the only CPU of its worker."""

    def fill(self, mebibytes: int) -> int:
        """Fill nine tenths of this node's object store; the bytes that it took."""
        self.held = bytearray(os.urandom(2**20)) * mebibytes
        (node,) = (n for n in ray.nodes() if n["NodeID"] == ray.get_runtime_context().get_node_id())
        number = int(0.9 * node["Resources"]["object_store_memory"] / OBJECT)
        self.objects = [ray.put(os.urandom(OBJECT)) for _ in range(number)]
        return number * OBJECT


def main(mebibytes: str) -> None:
    """Run the job."""
    ray.init()
    fillers = [ray.remote(num_cpus=1)(Filler).remote() for _ in range(2)]
    first = fillers[0].fill.remote(int(mebibytes))
    print(*ray.get([first, fillers[1].fill.remote(0)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
