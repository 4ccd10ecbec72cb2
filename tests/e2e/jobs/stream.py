"""Keeps tasks on their way that may not be retried, until the file of the name given is there.

Says 'ready' when the first one is done; prints JSON at the end: how many were `done` by each pod,
and the errors of those that were `lost`.
"""

import json
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import ray

AT_ONCE = 4


@ray.remote(num_cpus=1, max_retries=0)
def work() -> str:
    """Three seconds of work, and the pod of it."""
    time.sleep(3)
    return socket.gethostname()


def main(stop: Path) -> None:
    """Run the job."""
    ray.init()
    done: Counter[str] = Counter()
    lost = []
    running = [work.remote() for _ in range(AT_ONCE)]
    while running:
        (first,), running = ray.wait(running)
        try:
            done[ray.get(first)] += 1
        except ray.exceptions.RayError as error:
            lost.append(str(error))
        if done.total() == 1:
            print("ready", flush=True)
        if not stop.exists():
            running.append(work.remote())
    print(json.dumps({"done": done, "lost": lost}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
