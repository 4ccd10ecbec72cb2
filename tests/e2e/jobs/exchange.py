"""Has each worker make an object that another one reads; prints where they were, as JSON."""

import json

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SIZE = 1_000_000  # too large to travel inside a message: workers fetch it from each other


@ray.remote(num_cpus=0)
def make() -> bytes:
    """An object in the store of the worker that this runs on."""
    return bytes(SIZE)


class Reader:
    """An actor: a process of its own, which the driver talks to."""

    def read(self, made: bytes) -> str:
        """The worker that has read the object."""
        assert len(made) == SIZE
        return str(ray.get_runtime_context().get_node_id())


def main() -> None:
    """Run the job."""
    ray.init()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    workers = [n for n in nodes if n != ray.get_runtime_context().get_node_id()]
    at = {worker: NodeAffinitySchedulingStrategy(worker, soft=False) for worker in workers}
    made = {worker: make.options(scheduling_strategy=at[worker]).remote() for worker in workers}
    actor = ray.remote(num_cpus=0)(Reader)
    readers = {worker: actor.options(scheduling_strategy=at[worker]).remote() for worker in workers}
    pairs = [(one, other) for one in workers for other in workers if one != other]
    read = ray.get([readers[other].read.remote(made[one]) for one, other in pairs])
    print(json.dumps({"workers": len(workers), "moved": len(read)}))


if __name__ == "__main__":
    main()
