"""KWOK: nodes that only exist in the API, and pods on them that are ready at once.

The program and the files that say what becomes of a pod come from its Go module when they are
needed: nothing of them is kept here. It runs outside the cluster, as a child of this process.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import gobuild
from harness.cluster import Cluster
from harness.console import step, together
from harness.paths import LOGS

LABEL = "kwok.x-k8s.io/node"  # KWOK's own mark: an annotation; here the nodes' label and taint, too
PODS_PER_NODE = 200  # a node's range of addresses has room for 254
# Values of a release whose pods go there and nowhere else.
PLACE: dict[str, Any] = {
    "nodeSelector": {LABEL: "fake"},
    "tolerations": [{"key": LABEL, "operator": "Exists"}],
}

_MODULE = "kwok"
_STAGES = ("node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-delete")


def build() -> None:
    """Make the program unless it is there; the first time takes minutes."""
    together(*gobuild.lanes(_MODULE))


def version() -> str:
    """KWOK's version, for example 'v0.8.0'."""
    return gobuild.version(_MODULE)


@contextmanager
def nodes(cluster: Cluster, count: int) -> Iterator[None]:
    """Have `count` nodes of KWOK's in `cluster`. What it says is in `.testbed/log/kwok.log`."""
    build()
    folder = gobuild.source(_MODULE) / "kustomize" / "stage"
    command = [str(gobuild.build(_MODULE) / "kwok"), f"--kubeconfig={cluster.kubeconfig}"]
    command += [f"--config={folder / stage}.yaml" for stage in _STAGES]
    command += [f"--manage-nodes-with-annotation-selector={LABEL}=fake"]
    LOGS.mkdir(parents=True, exist_ok=True)
    made = [_node(number) for number in range(count)]
    with (
        (LOGS / "kwok.log").open("w") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            with step(f"Make {count} nodes of KWOK {version()}"):
                listed = {"apiVersion": "v1", "kind": "List", "items": made}
                cluster.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
                selected = f"--selector={LABEL}=fake"
                cluster.kubectl("wait", "node", selected, "--for=condition=Ready", "--timeout=120s")
            yield
        finally:
            cluster.kubectl("delete", "node", f"--selector={LABEL}=fake", "--wait=false")
            process.terminate()


def _node(number: int) -> dict[str, Any]:
    room = {"cpu": "1000", "memory": "10Ti", "pods": str(PODS_PER_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"kwok-{number}",
            "annotations": {LABEL: "fake"},
            "labels": {LABEL: "fake"},
        },
        "spec": {"taints": [{"key": LABEL, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }
