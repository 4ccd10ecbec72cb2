"""How long a group takes to grow when its memory passes the target, stage by stage.

A stage ends when what it is about can first be seen from outside, looked at every quarter second:

- metrics: the metrics server says that the worker uses more than the target
- autoscaler: the Deployment is asked for one more worker
- scheduling: the new pod has a node
- start: its container runs
- join: it is ALIVE in Ray's node table
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kubernetes import client, config
from kubernetes.utils.quantity import parse_quantity

from harness import cluster as clusters
from harness import helm, ray_api, up
from harness.cluster import Cluster
from harness.console import out
from harness.errors import UserError
from harness.paths import PACKAGE

STAGES = ("metrics", "autoscaler", "scheduling", "start", "join")
# The metrics server measures every 15 s, an autoscaler looks every 15 s, and this is what we want
# a worker to take.
GOAL_SECONDS = 15 + 15 + 8

_JOB = PACKAGE / "jobs" / "hold_memory.py"
_POLL_SECONDS = 0.25
_TIMEOUT_SECONDS = 420
_GROUP = "ray-ray-cluster-worker-default"
_MEMORY = 2 * 2**30  # bytes that a worker requests, the chart's own
_TARGET = 0.8  # as well
# MiB. With an idle Ray it is more than the target and its tolerance for one worker, less for two,
# and less than the 95 % at which Ray kills what holds it.
_LOAD = 1560
# The chart's own values but for the CPU requests, for which a small node has no room, and the five
# minutes before a scale-in, which nobody wants to wait for between two rounds.
_VALUES = {
    "head": {"resources": {"requests": {"cpu": "100m"}}},
    "worker": {
        "resources": {"requests": {"cpu": "250m"}},
        "autoscaling": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
    },
}


def measure(cluster: Cluster, rounds: int) -> list[dict[str, float]]:
    """Seconds by stage, and in `total`, of each round, in an installation of its own."""
    with _installed(cluster) as namespace:
        measured = []
        for number in range(1, rounds + 1):
            service = up.head_service(cluster, namespace)
            with ray_api.dashboard(cluster, namespace, service) as dashboard:
                look = _Look(cluster, namespace, dashboard)
                _wait_for_one_calm_worker(look)
                measured.append(_round(look))
            out.print(f"round {number} of {rounds}: {measured[-1]}", highlight=False)
        return measured


@contextmanager
def _installed(cluster: Cluster) -> Iterator[str]:
    """A namespace with a release in it whose first worker has joined."""
    with clusters.namespace(cluster, "bench") as namespace:
        helm.install(cluster.kubeconfig, "ray", _VALUES, namespace=namespace)
        up.wait_for_workers(cluster, namespace)
        yield namespace


class _Look:
    """What can be seen of the group from outside."""

    def __init__(self, cluster: Cluster, namespace: str, dashboard: ray_api.Dashboard) -> None:
        api = config.new_client_from_config(str(cluster.kubeconfig))
        self.core, self.apps = client.CoreV1Api(api), client.AppsV1Api(api)
        self.custom = client.CustomObjectsApi(api)
        self.namespace, self.dashboard = namespace, dashboard

    def replicas(self) -> int:
        """The number of workers that the Deployment is asked for."""
        return int(self.apps.read_namespaced_deployment(_GROUP, self.namespace).spec.replicas)

    def workers(self) -> dict[str, Any]:
        """The workers' pods by name, those that leave included."""
        selector = "app.kubernetes.io/component=worker"
        pods = self.core.list_namespaced_pod(self.namespace, label_selector=selector).items
        return {pod.metadata.name: pod for pod in pods}

    def used(self, pod: str) -> float:
        """The share of the request that a worker uses, as the metrics server says; 0 if unknown."""
        with suppress(client.ApiException):
            sample = self.custom.get_namespaced_custom_object(
                "metrics.k8s.io", "v1beta1", self.namespace, "pods", pod
            )
            return sum(
                float(parse_quantity(container["usage"]["memory"])) / _MEMORY
                for container in sample["containers"]
            )
        return 0.0

    def alive(self) -> set[str]:
        """The names of the nodes in Ray's node table."""
        return {node["node_name"] for node in ray_api.alive_nodes(self.dashboard)}


def _wait_for_one_calm_worker(look: _Look) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        workers = list(look.workers())
        if len(workers) == 1 == look.replicas() and 0 < look.used(workers[0]) < _TARGET / 2:
            return
        time.sleep(1)
    raise UserError(f"The group did not come back to one calm worker in {_TIMEOUT_SECONDS} s.")


def _round(look: _Look) -> dict[str, float]:
    """One time from a load to a second worker; the load is taken away again."""
    (loaded,) = look.workers()
    job = ray_api.submit(look.dashboard, _JOB, str(_LOAD))
    try:
        ends = _watch(look, loaded, job)
    finally:
        ray_api.stop(look.dashboard, job)
    stages, before = {}, ends.pop("load")
    total = ends[STAGES[-1]] - before
    for stage in STAGES:
        # A stage that was over before the one ahead of it could be seen took no time of its own.
        stages[stage] = round(max(0.0, ends[stage] - before), 2)
        before = max(before, ends[stage])
    return {**stages, "total": round(total, 2)}


def _watch(look: _Look, loaded: str, job: str) -> dict[str, float]:
    """When each stage was over, in seconds since the epoch; `load` is when the memory was there."""
    ends: dict[str, float] = {}
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while "join" not in ends:
        if time.monotonic() > deadline:
            raise UserError(f"No second worker joined in {_TIMEOUT_SECONDS} s; seen: {ends}")
        for stage in _seen(look, loaded, job, ends):
            ends.setdefault(stage, time.time())
        time.sleep(_POLL_SECONDS)
    return ends


def _seen(look: _Look, loaded: str, job: str, ends: dict[str, float]) -> Iterator[str]:
    """The stages that are over now, of those that were not yet."""
    if "load" not in ends:
        if lines := ray_api.logs(look.dashboard, job).splitlines():
            with suppress(ValueError):  # Ray's own lines are more than a number
                ends["load"] = float(lines[-1])
        return
    if "metrics" not in ends and look.used(loaded) > _TARGET:
        yield "metrics"
    if "autoscaler" not in ends:
        if look.replicas() < 2:
            return
        yield "autoscaler"
    added = [pod for name, pod in look.workers().items() if name != loaded]
    if not added:
        return
    (pod,) = added
    if pod.spec.node_name:
        yield "scheduling"
    if any(s.state.running for s in pod.status.container_statuses or []):
        yield "start"
    if pod.metadata.name in look.alive():
        # Whoever acts on a sample sees it first: it need not have been seen here.
        yield from STAGES
