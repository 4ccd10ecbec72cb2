"""A task, or a placement group of `asks.py COUNT`, that asks for a resource: `asks.py RESOURCE`.

Prints as JSON the list of the pods: of the task, or of the bundles of one CPU each, all on workers
of their own.
"""

import json
import os
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


def pod() -> str:
    """The name of the pod this runs in."""
    return os.environ["POD_NAME"]


def main(what: str) -> None:
    """Run the job."""
    ray.init()
    if what.isdigit():
        bundles = placement_group([{"CPU": 1}] * int(what), strategy="STRICT_SPREAD")
        ray.get(bundles.ready())
        places = [PlacementGroupSchedulingStrategy(bundles, index) for index in range(int(what))]
        tasks = [ray.remote(num_cpus=1, scheduling_strategy=one)(pod).remote() for one in places]
    else:
        tasks = [ray.remote(num_cpus=0, resources={what: 1})(pod).remote()]
    print(json.dumps(ray.get(tasks)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
