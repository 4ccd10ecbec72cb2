"""KWOK: nodes that only exist in the API, and pods on them that are ready at once.

The program and the files that say what becomes of a pod come from its Go module when they are
needed: nothing of them is kept here. It runs as a child of this process, but in the network of the
cluster's node, where the metrics server can ask it what its pods use.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import gobuild
from harness.cluster import Cluster
from harness.console import step, together
from harness.paths import LOGS

LABEL = "kwok.x-k8s.io/node"  # KWOK's own mark: an annotation; here the nodes' label and taint, too
NODES = "kwok-"  # their names begin so
PODS_PER_NODE = 200  # a node's range of addresses has room for 254
# Values of a release whose pods go there and nowhere else.
PLACE: dict[str, Any] = {
    "nodeSelector": {LABEL: "fake"},
    "tolerations": [{"key": LABEL, "operator": "Exists"}],
}

_MODULE = "kwok"
_FILES = (
    "stage/node/fast/node-initialize",
    "stage/pod/fast/pod-ready",
    "stage/pod/fast/pod-delete",
    "metrics/resource/metrics-resource",
)
_PORT = 10247  # on the node, where the kubelet and kube-proxy have the next ones


def build() -> None:
    """Make the program unless it is there; the first time takes minutes."""
    together(*gobuild.lanes(_MODULE))


def version() -> str:
    """KWOK's version, for example 'v0.8.0'."""
    return gobuild.version(_MODULE)


@contextmanager
def nodes(cluster: Cluster, count: int, usage: dict[str, str]) -> Iterator[None]:
    """Have `count` nodes of KWOK's in `cluster`, on which each pod says that it uses `usage`.

    That is quantities by resource. What KWOK says is in `.testbed/log/kwok.log`.
    """
    selected = f"--selector={LABEL}=fake"
    made = [_node(number, cluster.address) for number in range(count)]
    listed = {"apiVersion": "v1", "kind": "List", "items": made}
    with _running(cluster, usage):
        try:
            with step(f"Make {count} nodes of KWOK {version()}"):
                cluster.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
                cluster.kubectl("wait", "node", selected, "--for=condition=Ready", "--timeout=120s")
            yield
        finally:
            cluster.kubectl("delete", "node", selected, "--wait=false")


@contextmanager
def _running(cluster: Cluster, usage: dict[str, str]) -> Iterator[None]:
    build()
    folder = gobuild.source(_MODULE) / "kustomize"
    LOGS.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile("w", suffix=".yaml") as used,
        (LOGS / "kwok.log").open("w") as output,
    ):
        json.dump(_used(usage), used)
        used.flush()
        command = [
            "nsenter", f"--net=/proc/{cluster.process}/ns/net",
            str(gobuild.build(_MODULE) / "kwok"),
            f"--kubeconfig={cluster.kubeconfig}", "--master=https://127.0.0.1:6443",
            f"--node-ip={cluster.address}", f"--node-port={_PORT}",
            "--node-lease-duration-seconds=40",  # or Kubernetes calls the nodes lost
            f"--manage-nodes-with-annotation-selector={LABEL}=fake",
            *(f"--config={folder / file}.yaml" for file in _FILES), f"--config={used.name}",
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process:
            try:
                yield
            finally:
                process.terminate()


def _used(usage: dict[str, str]) -> dict[str, Any]:
    values = {resource: {"value": quantity} for resource, quantity in usage.items()}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterResourceUsage",
        "metadata": {"name": "every-pod"},
        "spec": {"usages": [{"usage": values}]},
    }


def _node(number: int, address: str) -> dict[str, Any]:
    name = f"{NODES}{number}"
    room = {"cpu": "1000", "memory": "10Ti", "pods": str(PODS_PER_NODE)}
    metrics = {"metrics.k8s.io/resource-metrics-path": f"/metrics/nodes/{name}/metrics/resource"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {LABEL: "fake"} | metrics,
            "labels": {LABEL: "fake"},
        },
        "spec": {"taints": [{"key": LABEL, "value": "fake", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": room,
            "capacity": room,
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
        },
    }
