"""Loads one worker until the job is stopped: `load.py memory MEBIBYTES [RESOURCE]`, `load.py cpu`.

The worker is one that offers RESOURCE, if that is given. Prints the name of the worker's pod once
the load is on. Ends by itself after ten minutes.
"""

import os
import sys
import time

import ray

LIMIT_SECONDS = 600


class Load:
    """An actor that keeps one worker busy."""

    def pod(self) -> str:
        """The name of the pod that carries the load."""
        return os.environ["POD_NAME"]

    def hold(self, mebibytes: int) -> str:
        """Hold memory that is really there: every page is written to."""
        self.held = bytearray(os.urandom(2**20)) * mebibytes
        return self.pod()

    def burn(self) -> None:
        """Use one CPU."""
        end = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < end:
            pass


def main(kind: str, mebibytes: str = "0", resource: str | None = None) -> None:
    """Run the job."""
    ray.init()
    resources = {resource: 1} if resource else {}
    load = ray.remote(num_cpus=1, resources=resources)(Load).remote()
    if kind == "memory":
        print(ray.get(load.hold.remote(int(mebibytes))), flush=True)
        time.sleep(LIMIT_SECONDS)
    else:
        print(ray.get(load.pod.remote()), flush=True)
        ray.get(load.burn.remote())


if __name__ == "__main__":
    main(*sys.argv[1:])
