"""kube-state-metrics in the tests' cluster: what Kubernetes' objects say, as metrics.

Program and manifests come from its Go module when they are needed: nothing of them is kept here.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from harness import cluster as clusters
from harness import gobuild, images, manifest
from harness.cluster import Cluster
from harness.console import step, together
from harness.engine import import_programs
from harness.images import Image

ADDRESS = "kube-state-metrics.kube-system.svc:8080"  # as its manifests have it
_MODULE = "kube-state-metrics"
_REPOSITORY = "registry.k8s.io/kube-state-metrics/kube-state-metrics"


def build() -> Image:
    """Make the image unless it is there; the first time takes minutes."""
    together(*gobuild.lanes(_MODULE))
    tag = f"{images.PREFIX}/{_MODULE}:{gobuild.key(_MODULE)}"
    if not images.exists(tag):
        path = f"/bin/{_MODULE}"
        program = gobuild.build(_MODULE) / _MODULE
        import_programs(tag, {path: program}, f'ENTRYPOINT ["{path}"]', "USER 65534")
    return Image(tag, f"{_REPOSITORY}:{gobuild.version(_MODULE)}")


def ensure(cluster: Cluster) -> None:
    """Have it running in `cluster`, which is the harness's own; it stays for whoever comes next."""
    with clusters.exclusive():
        image = build()
        with step(f"Install {_MODULE} in {cluster.name}"):
            images.load(str(cluster.node), image)
            cluster.kubectl(
                "apply", "--server-side", "--force-conflicts", "-f", "-",
                stdin=yaml.safe_dump_all(_manifests(cluster)),
            )  # fmt: skip
            cluster.kubectl(
                "rollout", "status", f"deployment/{_MODULE}", "--namespace=kube-system",
                "--timeout=180s",
            )  # fmt: skip


def _manifests(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Its own manifests, without what only makes a test wait."""
    standard = gobuild.source(_MODULE) / "examples" / "standard"
    for document in manifest.load_all(cluster.kubectl("kustomize", str(standard))):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 2}
        yield document
