"""What a scenario needs in the tests' cluster beside the chart: programs of other projects.

Programs and manifests come from their Go modules when they are needed: nothing of them is kept
here. What was installed stays for whoever comes next.
"""

from collections.abc import Iterable
from typing import Any

import yaml

from harness import gobuild, images
from harness.cluster import Cluster
from harness.console import step
from harness.engine import import_programs
from harness.images import Image
from harness.process import CommandError


def image(module: str, program: str, path: str, reference: str, *changes: str) -> Image:
    """Make the image `reference` with a program of `module` as `path`, unless it is there.

    `changes` are further instructions of a Dockerfile.
    """
    repository = reference.rpartition(":")[0]
    tag = f"{images.PREFIX}/{repository.rpartition('/')[2]}:{gobuild.key(module)}"
    if not images.exists(tag):
        import_programs(tag, {path: gobuild.build(module) / program}, *changes)
    return Image(tag, reference)


def install(
    cluster: Cluster, title: str, made: list[Image], documents: Iterable[dict[str, Any]]
) -> None:
    """Load the images into `cluster`, which is the harness's own, apply `documents`, and wait."""
    with step(f"Install {title} in {cluster.name}"):
        for one in made:
            images.load(str(cluster.node), one)
        # A namespace has to be there before what is in it.
        ordered = sorted(documents, key=lambda document: document["kind"] != "Namespace")
        cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-",
            stdin=yaml.safe_dump_all(ordered),
        )  # fmt: skip
        for document in ordered:
            if document["kind"] == "Deployment":
                meta = document["metadata"]
                cluster.kubectl(
                    "rollout", "status", f"deployment/{meta['name']}",
                    f"--namespace={meta['namespace']}", "--timeout=180s",
                )  # fmt: skip


def knows(cluster: Cluster, resource: str) -> bool:
    """Whether `cluster` has the custom resource, by its full name ('scaledobjects.keda.sh')."""
    try:
        cluster.kubectl("get", "crd", resource)
    except CommandError as error:
        if "NotFound" not in error.output:
            raise
        return False
    return True
