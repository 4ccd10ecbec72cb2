"""Uses a whole CPU of one worker until the job is stopped: `burn_cpu.py`.

Prints the time at which it began, in seconds since the epoch. Ends by itself after half an hour.
"""

import time

import ray


class Burner:
    """An actor that takes a whole CPU."""

    def begin(self) -> float:
        """Say that it is about to begin, and when."""
        return time.time()

    def burn(self, seconds: float) -> None:
        """Compute, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass


if __name__ == "__main__":
    ray.init()
    burner = ray.remote(num_cpus=1)(Burner).remote()
    print(ray.get(burner.begin.remote()), flush=True)
    ray.get(burner.burn.remote(1800))
