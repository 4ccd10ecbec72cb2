"""A release under test, and the small values that let several share one node."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pyhelm3
from kubernetes import client
from kubernetes.utils.quantity import parse_quantity

from harness import ray_api, up
from harness.cluster import OURS, Cluster
from harness.ray_api import Dashboard
from harness.ray_api import last_json as last_json

from .budget import Share

T = TypeVar("T")

JOBS = Path(__file__).parent / "jobs"
READY_TIMEOUT_SECONDS = 480
# A metrics server measures every 15 s and an autoscaler looks every 15 s (here every 5 s), each
# perhaps twice before it acts; then a pod starts, or drains.
SCALE_TIMEOUT_SECONDS = 480
# What the start of a load takes of the CPU, on a slow machine more than a target, is over by then,
# and has left the metrics.
START_SECONDS = 45
# Pods may take 300 s, but what is idle does not wait for the end of that.
LEAVE_TIMEOUT_SECONDS = 240


def small(**worker: Any) -> dict[str, Any]:
    """Values for a release that shares two CPUs with others; `worker` adds to its worker values.

    Requests are small, so numCpus is explicit; a drain never lasts long, since nothing that these
    releases run at their end is worth waiting for.
    """
    return {
        "head": {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
        "worker": {
            "numCpus": 1,
            "resources": {"requests": {"cpu": "50m", "memory": "1Gi"}},
            "drain": {"timeoutSeconds": 5},
            **worker,
        },
    }


def requested(objects: list[dict[str, Any]]) -> Share:
    """What the pods of rendered `objects` request at most: each group at its upper limit."""
    upper = {"HorizontalPodAutoscaler": "maxReplicas", "ScaledObject": "maxReplicaCount"}
    limits = {
        obj["spec"]["scaleTargetRef"]["name"]: obj["spec"][upper[obj["kind"]]]
        for obj in objects
        if obj["kind"] in upper
    }
    total = _sum(
        (
            container["resources"]["requests"],
            limits.get(obj["metadata"]["name"], obj["spec"].get("replicas", 1)),
        )
        for obj in objects
        if obj["kind"] == "Deployment"
        for container in obj["spec"]["template"]["spec"]["containers"]
    )
    return _share(total)


def free(api: client.ApiClient) -> Share:
    """What the cluster's nodes have left beside all pods but those of the tests themselves."""
    core = client.CoreV1Api(api)
    own = {
        namespace.metadata.name
        for namespace in core.list_namespace().items
        if OURS.items() <= (namespace.metadata.labels or {}).items()
    }
    pods = core.list_pod_for_all_namespaces(field_selector="status.phase!=Succeeded").items
    there = _sum(
        (node.status.allocatable, 1)
        for node in core.list_node().items
        if not node.spec.unschedulable
    )
    used = _sum(
        (container.resources.requests or {}, 1)
        for pod in pods
        if pod.spec.node_name and pod.metadata.namespace not in own
        for container in pod.spec.containers
    )
    return _share({resource: there[resource] - used[resource] for resource in there})


def _sum(requests: Iterable[tuple[dict[str, str], int]]) -> dict[str, Decimal]:
    """CPUs and bytes of (quantities, how often) together."""
    total = {"cpu": Decimal(0), "memory": Decimal(0)}
    for quantities, times in requests:
        for resource in total:
            total[resource] += times * parse_quantity(quantities.get(resource, "0"))
    return total


def _share(total: dict[str, Decimal]) -> Share:
    return Share(cpu=int(total["cpu"] * 1000), memory=int(total["memory"] / 2**20))


def wait_until(
    what: str, look: Callable[[], T], holds: Callable[[T], object], *, timeout: float
) -> T:
    """Look until what is seen `holds`, and return it; AssertionError says what was seen instead.

    `what` completes "waited for …"; `timeout` is in seconds.
    """
    deadline = time.monotonic() + timeout
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}, but saw: {seen}"
        time.sleep(0.5)
    return seen


def wait_for_log(
    dashboard: Dashboard, job: str, text: str, *, timeout: float = READY_TIMEOUT_SECONDS
) -> None:
    """Wait until `job` has printed `text`; `timeout` is in seconds."""
    wait_until(
        f"{text!r} in the log of {job}",
        lambda: ray_api.logs(dashboard, job),
        lambda log: text in log,
        timeout=timeout,
    )


@dataclass(frozen=True)
class Release:
    """An installed release of the chart."""

    name: str
    namespace: str
    cluster: Cluster
    api: client.ApiClient
    helm: pyhelm3.Client

    def uninstall(self) -> None:
        """Uninstall it, if that is not done already."""
        asyncio.run(self.helm.uninstall_release(self.name, namespace=self.namespace))

    @property
    def head_service(self) -> str:
        """The name of the head's Service."""
        return up.head_service(self.cluster, self.namespace, self.name)

    @property
    def token(self) -> str | None:
        """The token of the release, as its users read it; None if it asks for none."""
        return ray_api.token_of(self.cluster, self.namespace, self.head_service)

    def worker_name(self, group: str = "default") -> str:
        """The name of a group's Deployment, autoscaler and disruption budget."""
        return f"{self.name}-ray-cluster-worker-{group}"

    def wait_for_head(self) -> None:
        """Wait until the head is ready, whatever workers do."""
        self.cluster.kubectl(
            "rollout", "status", f"--namespace={self.namespace}",
            f"--timeout={READY_TIMEOUT_SECONDS}s", f"deployment/{self.name}-ray-cluster-head",
        )  # fmt: skip

    def wait_for_workers(self) -> list[dict[str, Any]]:
        """The rows of Ray's node table once every worker has joined."""
        return up.wait_for_workers(
            self.cluster, self.namespace, self.name, timeout=READY_TIMEOUT_SECONDS
        )

    def joined(self) -> set[str]:
        """The names of the workers that are alive in Ray's node table."""
        with self.dashboard() as dashboard:
            nodes = ray_api.alive_nodes(dashboard)
            return {n["node_name"] for n in nodes if not n["is_head_node"]}

    def dashboard(self) -> AbstractContextManager[Dashboard]:
        """Ray's HTTP interface, for as long as this head lives."""
        return ray_api.dashboard(self.cluster, self.namespace, self.head_service)

    def run_job(self, script: Path, *arguments: str) -> str:
        """The log of `script`, run through the Jobs API."""
        with self.dashboard() as dashboard:
            return ray_api.run_job(dashboard, script, *arguments)

    def pods(self, component: str) -> list[Any]:
        """The release's pods of the component 'head' or 'worker' that are not on their way out."""
        return [pod for pod in self._pods(component) if not pod.metadata.deletion_timestamp]

    def pod_names(self, component: str) -> set[str]:
        """The names of these pods."""
        return {pod.metadata.name for pod in self.pods(component)}

    def leaving(self, component: str) -> set[str]:
        """The names of the component's pods that are on their way out."""
        return {pod.metadata.name for pod in self._pods(component)} - self.pod_names(component)

    def autoscaler(self, group: str = "default") -> Any:
        """The HorizontalPodAutoscaler of a group, the chart's or KEDA's."""
        autoscaling = client.AutoscalingV2Api(self.api)
        found = autoscaling.list_namespaced_horizontal_pod_autoscaler(self.namespace).items
        name = self.worker_name(group)
        return next(hpa for hpa in found if hpa.spec.scale_target_ref.name == name)

    def wait_until_gone(self, *components: str) -> None:
        """Wait until no pod of these components is on its way out."""
        wait_until(
            "nobody on the way out",
            lambda: [self.leaving(component) for component in components],
            lambda names: not any(names),
            timeout=LEAVE_TIMEOUT_SECONDS,
        )

    def utilization(self, group: str = "default") -> dict[str, int]:
        """What the autoscaler of a group saw last, in percent of the requests."""
        hpa = self.autoscaler(group)
        seen = hpa.status.current_metrics if hpa.status else None
        return {
            metric.resource.name: metric.resource.current.average_utilization
            for metric in seen or []
            if metric.resource and metric.resource.current.average_utilization is not None
        }

    def targets(self, group: str = "default") -> dict[str, int]:
        """What the autoscaler of a group aims at, in percent of the requests."""
        metrics = self.autoscaler(group).spec.metrics
        return {m.resource.name: m.resource.target.average_utilization for m in metrics}

    def rescales(self, group: str = "default") -> list[str]:
        """The accounts of a group's autoscaler of what it did and why, the oldest first."""
        name = self.autoscaler(group).metadata.name
        events = client.CoreV1Api(self.api).list_namespaced_event(
            self.namespace, field_selector=f"reason=SuccessfulRescale,involvedObject.name={name}"
        )
        return [event.message for event in sorted(events.items, key=_first_seen)]

    def wait_for_calm(self, group: str = "default") -> None:
        """Wait until a group's autoscaler sees each of its metrics, and all below their targets."""
        targets = self.targets(group)
        wait_until(
            f"each metric below its target, {targets}",
            lambda: self.utilization(group),
            lambda seen: (
                seen.keys() == targets.keys() and all(seen[name] < targets[name] for name in seen)
            ),
            timeout=SCALE_TIMEOUT_SECONDS,
        )

    def wait_for_rescale(self, number: int, group: str = "default") -> str:
        """The autoscaler's account of the `number`-th time that it changed the group."""
        accounts = wait_until(
            f"rescaling number {number} of {group}",
            lambda: self.rescales(group),
            lambda seen: len(seen) >= number,
            timeout=SCALE_TIMEOUT_SECONDS,
        )
        return accounts[number - 1]

    def _pods(self, component: str) -> list[Any]:
        found: list[Any] = (
            client.CoreV1Api(self.api)
            .list_namespaced_pod(self.namespace, label_selector=self._labels(component))
            .items
        )
        return found

    def _labels(self, component: str) -> str:
        return f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"


def _first_seen(event: Any) -> Any:
    return event.first_timestamp or event.event_time
