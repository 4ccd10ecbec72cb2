"""Gives a detached actor one thing to keep, and prints as JSON what it has.

`keeper.py N` adds the number N. The actor is made where there is none yet, on a worker, and starts
again elsewhere, with nothing, when that worker dies.
"""

import json
import os
import secrets
import sys
from typing import Any

import ray


class Keeper:
    """State that lives in an actor, and nowhere else."""

    def __init__(self) -> None:
        self.life = secrets.token_hex(4)
        self.notes: list[int] = []

    def add(self, note: int) -> dict[str, Any]:
        """Keep `note`; what the actor has, which life of it this is, and where."""
        self.notes.append(note)
        return {"life": self.life, "pod": os.environ["POD_NAME"], "notes": self.notes}


def main(note: int) -> None:
    """Run the job."""
    ray.init(namespace="chaos")
    options = {"name": "keeper", "lifetime": "detached", "get_if_exists": True}
    limits = {"num_cpus": 0, "resources": {"worker": 0.001}, "max_restarts": -1}
    keeper = ray.remote(**limits)(Keeper).options(**options).remote()
    print(json.dumps(ray.get(keeper.add.remote(note))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
