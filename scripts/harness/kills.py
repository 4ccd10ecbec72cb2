"""Ends parts of a Ray cluster as they end in real life; `pod` is a pod as the API gives it."""

import json
from typing import Any

from harness.cluster import Cluster
from harness.process import run


def container(cluster: Cluster, pod: Any) -> None:
    """Kill the pod's first container from outside, as the kernel does when memory runs out.

    Only in a cluster of the harness's own, whose node is a container here.
    """
    identity = _first(pod).container_id.removeprefix("containerd://")
    ctr = ["docker", "exec", str(cluster.node), "ctr", "--namespace=k8s.io"]
    run([*ctr, "tasks", "kill", "--signal=SIGKILL", identity])


def process(cluster: Cluster, pod: Any, program: str, signal: str = "KILL") -> None:
    """Send `signal` to one program in the pod's first container, as if it had crashed."""
    cluster.kubectl(
        "exec", f"--namespace={pod.metadata.namespace}", pod.metadata.name,
        f"--container={_first(pod).name}", "--", "pkill", f"-{signal}", "-x", program,
    )  # fmt: skip


def delete(cluster: Cluster, pod: Any) -> None:
    """Delete the pod, and do not wait for its end."""
    cluster.kubectl(
        "delete", f"--namespace={pod.metadata.namespace}", f"pod/{pod.metadata.name}",
        "--wait=false",
    )  # fmt: skip


def evict(cluster: Cluster, pod: Any) -> None:
    """Evict the pod as the drain of a Kubernetes node does, and do not wait for its end.

    Raises CommandError if a disruption budget forbids it.
    """
    meta = pod.metadata
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta.name, "namespace": meta.namespace},
    }
    path = f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}/eviction"
    cluster.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))


def _first(pod: Any) -> Any:
    name = pod.spec.containers[0].name
    return next(status for status in pod.status.container_statuses if status.name == name)
