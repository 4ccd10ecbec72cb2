"""What watches a cluster, in the tests' one: kube-state-metrics and the Prometheus operator.

Programs and manifests come from their Go modules when they are needed: nothing of them is kept
here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from harness import cluster as clusters
from harness import gobuild, images, manifest
from harness.cluster import Cluster
from harness.console import step, together
from harness.engine import import_programs
from harness.images import Image
from harness.process import CommandError

# By module: the images that its manifests name, without tag, and what is in each of them.
_IMAGES = {
    "kube-state-metrics": {
        "registry.k8s.io/kube-state-metrics/kube-state-metrics": "kube-state-metrics",
    },
    "prometheus-operator": {
        "quay.io/prometheus-operator/prometheus-operator": "operator",
        "quay.io/prometheus-operator/prometheus-config-reloader": "prometheus-config-reloader",
    },
}
STATE_METRICS = "kube-state-metrics.kube-system.svc:8080"


def build(*modules: str) -> None:
    """Make the images of `modules`, or of all of them, unless they are there; takes minutes."""
    together(*gobuild.lanes(*(modules or _IMAGES)))
    for module in modules or _IMAGES:
        for repository in _IMAGES[module]:
            _image(module, repository)


def ensure_state_metrics(cluster: Cluster) -> None:
    """Have kube-state-metrics running in `cluster`, which is the harness's own."""
    _ensure(
        cluster, "kube-state-metrics",
        lambda source: cluster.kubectl("kustomize", str(source / "examples" / "standard")),
    )  # fmt: skip


def ensure_operator(cluster: Cluster) -> None:
    """Have the Prometheus operator running in `cluster`, which is the harness's own."""
    _ensure(cluster, "prometheus-operator", lambda source: (source / "bundle.yaml").read_text())


def has_operator(cluster: Cluster) -> bool:
    """Whether `cluster` knows PodMonitors."""
    try:
        cluster.kubectl("get", "crd", "podmonitors.monitoring.coreos.com")
    except CommandError as error:
        if "NotFound" not in error.output:
            raise
        return False
    return True


def _ensure(cluster: Cluster, module: str, manifests: Callable[[Path], str]) -> None:
    """Build, load and apply; what is there stays for whoever comes next."""
    with clusters.exclusive():
        build(module)
        with step(f"Install {module} in {cluster.name}"):
            for repository in _IMAGES[module]:
                images.load(str(cluster.node), _image(module, repository))
            documents = list(_asking_for_nothing(manifests(gobuild.source(module))))
            cluster.kubectl(
                "apply", "--server-side", "--force-conflicts", "-f", "-",
                stdin=yaml.safe_dump_all(documents),
            )  # fmt: skip
            for document in documents:
                if document["kind"] == "Deployment":
                    meta = document["metadata"]
                    cluster.kubectl(
                        "rollout", "status", f"deployment/{meta['name']}",
                        f"--namespace={meta['namespace']}", "--timeout=180s",
                    )  # fmt: skip


def _asking_for_nothing(manifests: str) -> Iterator[dict[str, Any]]:
    """The documents, whose pods take nothing of what the scenarios share."""
    for document in manifest.load_all(manifests):
        if document["kind"] == "Deployment":
            for container in document["spec"]["template"]["spec"]["containers"]:
                container.pop("resources", None)
                for probe in ("livenessProbe", "readinessProbe"):
                    container.get(probe, {}).pop("initialDelaySeconds", None)
        yield document


def _image(module: str, repository: str) -> Image:
    name, program = repository.rpartition("/")[2], _IMAGES[module][repository]
    tag = f"{images.PREFIX}/{name}:{gobuild.key(module)}"
    if not images.exists(tag):
        path = f"/bin/{program}"
        entrypoint = f'ENTRYPOINT ["{path}"]'
        import_programs(
            tag, {path: gobuild.build(module) / program}, entrypoint, "ENV PATH=/bin", "USER 65534"
        )
    return Image(tag, f"{repository}:{gobuild.version(module)}")
