"""An actor that is busy: `held.py SECONDS`; prints 'busy', and fails if it does not go on."""

import os
import sys
import time

import ray


class Counter:
    """State that lives in an actor."""

    def __init__(self) -> None:
        self.count = 0

    def increment(self, seconds: float) -> tuple[int, str]:
        """The next number, and the pod that counts."""
        time.sleep(seconds)
        self.count += 1
        return self.count, os.environ["POD_NAME"]


def main(seconds: str) -> None:
    """Run the job."""
    ray.init()
    actor = ray.remote(num_cpus=1)(Counter).remote()
    _, pod = ray.get(actor.increment.remote(0))
    answer = actor.increment.remote(float(seconds))
    print("busy", flush=True)
    assert ray.get(answer) == (2, pod)


if __name__ == "__main__":
    main(*sys.argv[1:])
