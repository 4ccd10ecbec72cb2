"""A detached actor that counts: `counter.py start` makes it count to 3, `counter.py ask` asks.

`counter.py finish` tells it that others may finish. Prints the count as JSON, or "gone" if there is
no such actor.
"""

import json
import sys

import ray


class Counter:
    """State that lives in an actor."""

    def __init__(self) -> None:
        self.count = 0
        self.finished = False

    def increment(self) -> int:
        """The next number."""
        self.count += 1
        return self.count

    def value(self) -> int:
        """The number that it has come to."""
        return self.count

    def finish(self) -> None:
        """Let others finish."""
        self.finished = True

    def is_finished(self) -> bool:
        """Whether they may."""
        return self.finished


def main(command: str) -> None:
    """Run the job."""
    ray.init(namespace="counter")
    if command == "start":
        # On a worker: what runs on the head goes with it anyway.
        detached = ray.remote(name="counter", lifetime="detached", num_cpus=1)
        counter = detached(Counter).remote()
        print(ray.get([counter.increment.remote() for _ in range(3)])[-1])
        return
    try:
        counter = ray.get_actor("counter")
        if command == "finish":
            ray.get(counter.finish.remote())
        print(ray.get(counter.value.remote()))
    except ValueError:  # Ray's answer for a name that nobody has
        print(json.dumps("gone"))


if __name__ == "__main__":
    main(sys.argv[1])
