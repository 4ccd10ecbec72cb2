"""The Prometheus operator in the tests' cluster, and the Prometheus that it starts.

Debian's Prometheus cannot ask Kubernetes who is there, so this one is built from its module.
"""

import re
from collections.abc import Iterator
from typing import Any

from harness import addons, gobuild, manifest
from harness import cluster as clusters
from harness.cluster import Cluster
from harness.console import together
from harness.images import Image

_OPERATOR, _PROMETHEUS = "prometheus-operator", "prometheus"
_PROGRAMS = {
    "operator": "quay.io/prometheus-operator/prometheus-operator",
    "prometheus-config-reloader": "quay.io/prometheus-operator/prometheus-config-reloader",
}


def build() -> list[Image]:
    """Make the images unless they are there; the first time takes minutes."""
    together(*gobuild.lanes(_OPERATOR, _PROMETHEUS))
    version = gobuild.version(_OPERATOR)
    return [
        _image(_PROMETHEUS, "prometheus", prometheus_reference()),
        *(_image(_OPERATOR, name, f"{known}:{version}") for name, known in _PROGRAMS.items()),
    ]


def ensure(cluster: Cluster) -> None:
    """Have it running in `cluster`, which is the harness's own; it stays for whoever comes next."""
    with clusters.exclusive():
        addons.install(cluster, "the Prometheus operator", build(), _manifests())


def is_there(cluster: Cluster) -> bool:
    """Whether `cluster` knows PodMonitors."""
    return addons.knows(cluster, "podmonitors.monitoring.coreos.com")


def prometheus_reference() -> str:
    """What a Prometheus object of the tests calls its image."""
    return f"quay.io/prometheus/prometheus:{prometheus_version()}"


def prometheus_version() -> str:
    """The release of Prometheus that is pinned: its module calls v3.14.0 v0.314.0."""
    pinned = re.fullmatch(r"v0\.(\d)(\d\d)\.(\d+)", gobuild.version(_PROMETHEUS))
    assert pinned is not None
    return "v" + ".".join(str(int(part)) for part in pinned.groups())


def _image(module: str, program: str, reference: str) -> Image:
    path = f"/bin/{program}"
    changes = (f'ENTRYPOINT ["{path}"]', "USER 65534")
    return addons.image(module, program, path, reference, *changes)


def _manifests() -> Iterator[dict[str, Any]]:
    """The operator's own manifests; it asks for nothing of what the scenarios share."""
    bundle = gobuild.source(_OPERATOR) / "bundle.yaml"
    for document in manifest.load_all(bundle.read_text()):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            del container["resources"]
        yield document
