"""KEDA in the tests' cluster: its own operator and manifests.

The admission webhook is part of it, since it refuses what KEDA would take and then not act on.
"""

from collections.abc import Iterator
from typing import Any

from harness import addons, gobuild, manifest
from harness import cluster as clusters
from harness.cluster import Cluster
from harness.console import together
from harness.images import Image

_MODULE = "keda"
_REPOSITORY = "ghcr.io/kedacore"
# The image and the path in it that the manifests know each program by.
_PROGRAMS = {
    "operator": ("keda", "/keda"),
    "adapter": ("keda-metrics-apiserver", "/keda-adapter"),
    "webhooks": ("keda-admission-webhooks", "/keda-admission-webhooks"),
}
_EXTERNAL_METRICS = "apiservice/v1beta1.external.metrics.k8s.io"


def build() -> list[Image]:
    """Make KEDA's images unless they are there; the first time takes minutes."""
    together(*gobuild.lanes(_MODULE))
    return [
        addons.image(_MODULE, program, path, _reference(name), "USER 1000")
        for program, (name, path) in _PROGRAMS.items()
    ]


def ensure(cluster: Cluster) -> None:
    """Have KEDA running in `cluster`, which is the harness's own.

    It stays for whoever comes next, and may be asked for by several processes at a time.
    """
    with clusters.exclusive():
        addons.install(cluster, "KEDA", build(), _manifests(cluster))
        cluster.kubectl("wait", "--for=condition=Available", _EXTERNAL_METRICS, "--timeout=60s")


def is_there(cluster: Cluster) -> bool:
    """Whether `cluster` knows ScaledObjects."""
    return addons.knows(cluster, "scaledobjects.keda.sh")


def _reference(name: str) -> str:
    return f"{_REPOSITORY}/{name}:{gobuild.version(_MODULE)}"


def _manifests(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """KEDA's own manifests, with our images, and nothing that only makes a test wait."""
    default = gobuild.source(_MODULE) / "config" / "default"
    for document in manifest.load_all(cluster.kubectl("kustomize", str(default))):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            name = container["image"].rpartition("/")[2].partition(":")[0]
            container |= {"image": _reference(name), "imagePullPolicy": "IfNotPresent"}
            # It asks for nothing: what the scenarios share was measured before it came.
            del container["resources"]
            container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 2}
            if name == _PROGRAMS["webhooks"][0]:
                # A release brings Deployment and ScaledObject at once: its cache may lag behind.
                container["args"].append("--cache-miss-to-direct-client=true")
        yield document
