"""kube-state-metrics in the tests' cluster: what Kubernetes' objects say, as metrics."""

from collections.abc import Iterator
from typing import Any

from harness import addons, gobuild, manifest
from harness import cluster as clusters
from harness.cluster import Cluster
from harness.console import together
from harness.images import Image

ADDRESS = "kube-state-metrics.kube-system.svc:8080"  # as its manifests have it
_MODULE = "kube-state-metrics"
_REPOSITORY = "registry.k8s.io/kube-state-metrics/kube-state-metrics"


def build() -> Image:
    """Make the image unless it is there; the first time takes minutes."""
    together(*gobuild.lanes(_MODULE))
    path = f"/bin/{_MODULE}"
    reference = f"{_REPOSITORY}:{gobuild.version(_MODULE)}"
    return addons.image(_MODULE, _MODULE, path, reference, f'ENTRYPOINT ["{path}"]', "USER 65534")


def ensure(cluster: Cluster) -> None:
    """Have it running in `cluster`, which is the harness's own; it stays for whoever comes next."""
    with clusters.exclusive():
        addons.install(cluster, _MODULE, [build()], _manifests(cluster))


def _manifests(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Its own manifests, without what only makes a test wait."""
    standard = gobuild.source(_MODULE) / "examples" / "standard"
    for document in manifest.load_all(cluster.kubectl("kustomize", str(standard))):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 2}
        yield document
