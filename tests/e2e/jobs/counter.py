"""A detached actor that counts: `counter.py start` makes it count to 3, `counter.py ask` asks.

Prints the count, or 'gone' if there is no such actor.
"""

import sys

import ray


class Counter:
    """State that lives in an actor."""

    def __init__(self) -> None:
        self.count = 0

    def increment(self) -> int:
        """The next number."""
        self.count += 1
        return self.count


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
        print(ray.get(ray.get_actor("counter").increment.remote()) - 1)
    except ValueError:  # Ray's answer for a name that nobody has
        print("gone")


if __name__ == "__main__":
    main(sys.argv[1])
