"""What a driver on a worker keeps while the head is away; prints it as JSON at the end.

It goes on until a job calls `counter.py finish`: until then one task runs, and one object waits.
"""

import json
import time
from typing import Any

import ray

SIZE = 1_000_000  # too large to travel inside a message: it lies in the worker's object store


@ray.remote(num_cpus=0, resources={"worker": 0.001}, max_retries=0)
def wait_for_finish(counter: Any) -> str:
    """Ask the counter, which knows no GCS, until it is told to finish."""
    while not ray.get(counter.is_finished.remote()):
        time.sleep(0.2)
    return "finished"


class New:
    """An actor that needs a GCS to come into the world."""

    def hello(self) -> str:
        """A sign of life."""
        return "started"


def main() -> None:
    """Run the job."""
    ray.init(namespace="counter")
    counter = ray.get_actor("counter")
    stored = ray.put(bytes(SIZE))
    running = wait_for_finish.remote(counter)
    print("ready", flush=True)
    new = ray.remote(num_cpus=0, resources={"worker": 0.001})(New)
    outcome = {
        "task": ray.get(running),
        "object": "kept" if len(ray.get(stored)) == SIZE else "damaged",
        "new actor": ray.get(new.remote().hello.remote()),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
