"""KEDA in the tests' cluster: its own operator and manifests, from its Go module.

Both come from the module when they are needed: nothing of them is kept here. The admission webhook
is part of it, since it refuses what KEDA would take and then not act on.
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
from harness.process import CommandError

NAMESPACE = "keda"  # as its manifests have it, some of which are about the whole cluster

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
    return [_image(program, *known) for program, known in _PROGRAMS.items()]


def ensure(cluster: Cluster) -> None:
    """Have KEDA running in `cluster`, which is the harness's own.

    It stays for whoever comes next, and may be asked for by several processes at a time.
    """
    with clusters.exclusive():
        made = build()
        with step(f"Install KEDA in {cluster.name}"):
            for image in made:
                images.load(str(cluster.node), image)
            # A namespace has to be there before what is in it.
            documents = sorted(_manifests(cluster), key=lambda made: made["kind"] != "Namespace")
            cluster.kubectl(
                "apply", "--server-side", "--force-conflicts", "-f", "-",
                stdin=yaml.safe_dump_all(documents),
            )  # fmt: skip
            cluster.kubectl(
                "rollout", "status", "deployment", f"--namespace={NAMESPACE}", "--timeout=180s"
            )
            cluster.kubectl("wait", "--for=condition=Available", _EXTERNAL_METRICS, "--timeout=60s")


def is_there(cluster: Cluster) -> bool:
    """Whether `cluster` knows ScaledObjects."""
    try:
        cluster.kubectl("get", "crd", "scaledobjects.keda.sh")
    except CommandError as error:
        if "NotFound" not in error.output:
            raise
        return False
    return True


def _image(program: str, name: str, path: str) -> Image:
    tag = f"{images.PREFIX}/{name}:{gobuild.key(_MODULE)}"
    if not images.exists(tag):
        import_programs(tag, {path: gobuild.build(_MODULE) / program}, "USER 1000")
    return Image(tag, _reference(name))


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
        yield document
