"""The job of `helm test`: a task on each worker, or on the head where there is no worker.

The tasks ask for no CPU, so that a busy worker runs them as well.
"""

import os

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(num_cpus=0)
def where() -> str:
    """The pod that this runs in."""
    return os.environ["POD_NAME"]


ray.init(log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
workers = [node for node in nodes if "node:__internal_head__" not in node["Resources"]]
tasks = {
    node["NodeName"]: where.options(
        scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    ).remote()
    for node in workers or nodes
}
for name, task in tasks.items():
    ran = ray.get(task)
    if ran != name:
        raise RuntimeError(f"the task for {name} ran in {ran}")
print("A job ran a task on", *sorted(tasks))
