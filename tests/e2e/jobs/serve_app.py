"""Deploys a Ray Serve application of two replicas that answers with its pod's name, and leaves."""

import asyncio
import os

from ray import serve


class Where:
    """Takes a moment for each request, so that some are always under way."""

    async def __call__(self) -> str:
        """The name of the pod that answers."""
        await asyncio.sleep(0.1)
        return os.environ["POD_NAME"]


if __name__ == "__main__":
    # Half a CPU each: when a worker goes, the other has room for its replica.
    replicas = serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.5})(Where)
    serve.run(replicas.bind())
