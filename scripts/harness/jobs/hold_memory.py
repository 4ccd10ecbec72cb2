"""Holds memory on one worker until the job is stopped: `hold_memory.py MEBIBYTES`.

Prints the time at which all of it was there, in seconds since the epoch. Ends by itself after half
an hour.
"""

import os
import sys
import time

import ray


class Holder:
    """An actor that takes a whole CPU."""

    def hold(self, mebibytes: int) -> float:
        """Write to every page, and say when that was done."""
        self.held = bytearray(os.urandom(2**20)) * mebibytes
        return time.time()


if __name__ == "__main__":
    ray.init()
    holder = ray.remote(num_cpus=1)(Holder).remote()
    print(ray.get(holder.hold.remote(int(sys.argv[1]))), flush=True)
    time.sleep(1800)
