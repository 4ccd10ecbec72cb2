"""Where tasks land beside a worker whose memory is in use: `placement.py MEBIBYTES KIND`.

An actor holds so much memory, and says so to Ray if KIND is `declared`, but not if it is `silent`;
then 20 tasks that declare as much, or nothing, are spread over what Ray takes for free. Prints
JSON: the actor's pod and those of the tasks.
"""

import json
import os
import sys
import time

import ray


def pod() -> str:
    """The name of the pod this runs in, after long enough that one process cannot do all."""
    time.sleep(0.5)
    return os.environ["POD_NAME"]


class Holder:
    """An actor that holds memory."""

    def hold(self, mebibytes: int) -> str:
        """Write to every page; the name of the pod."""
        self.held = bytearray(os.urandom(2**20)) * mebibytes
        return pod()


def main(mebibytes: str, kind: str) -> None:
    """Run the job."""
    ray.init()
    size = int(mebibytes) * 2**20
    memory = size if kind == "declared" else 0
    holder = ray.remote(num_cpus=0.1, memory=memory)(Holder).remote()
    held = ray.get(holder.hold.remote(int(mebibytes)))
    task = ray.remote(num_cpus=0.1, memory=memory, scheduling_strategy="SPREAD")(pod)
    print(json.dumps({"actor": held, "tasks": ray.get([task.remote() for _ in range(20)])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
