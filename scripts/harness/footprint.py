"""What idle tenants cost the cluster beside their own Ray pods, ours and KubeRay's.

Some real, idle tenants of each side are there one after the other, and the same time without any
before them: what a tenant costs is the difference, divided by their number. What a side has for all
tenants together, KubeRay's operator, is counted once.
"""

import json
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from harness import api_server, etcd, kuberay, sides
from harness import cluster as clusters
from harness.cluster import Cluster
from harness.console import out, step
from harness.errors import UserError
from harness.sides import TIMEOUT_SECONDS, Look, Samples, Side

TENANTS = 2  # of KubeRay's, whose autoscalers request half a CPU each, a small node holds no third
_SETTLE_SECONDS = 90  # after a start: status updates, events, the first metrics
_WINDOW_SECONDS = 180
_MANY = 100
_REVISIONS = 10  # of a release that Helm keeps unless told otherwise
_RELEASE = "of it Helm's release, bytes"
_MIB = 2**20


def measure(cluster: Cluster, rounds: int) -> tuple[Samples, Samples]:
    """What a tenant, and what a side for all of them, costs in each round: ours and KubeRay's."""
    sides.check(cluster)
    clusters.wait_for_metrics(cluster)
    seen: dict[Side, Samples] = {sides.OURS: {}, sides.KUBERAY: {}}
    for number in range(1, rounds + 1):
        idle = _requests(cluster, "no tenants")
        for side in sides.turn(tuple(seen), number):
            one = _round(cluster, side, idle)
            sides.add(seen[side], one)
            out.print(f"round {number} of {rounds}, {side.name}: {one}", highlight=False)
    return seen[sides.OURS], seen[sides.KUBERAY]


def _round(cluster: Cluster, side: Side, idle: dict[str, float]) -> dict[str, float]:
    with ExitStack() as stack:
        operator = None
        shared = {"operator's memory, MiB": 0.0, "CRDs in etcd, bytes": 0.0}
        if not side.is_ours:
            operator = stack.enter_context(kuberay.operator(cluster))
        names = [stack.enter_context(_tenant(cluster, side)) for _ in range(TENANTS)]
        with step(f"Let {TENANTS} tenants of {side.name} settle"):
            time.sleep(_SETTLE_SECONDS)
        asked = _requests(cluster, f"{TENANTS} idle tenants of {side.name}")
        keys = etcd.sizes(cluster)
        if operator:
            shared = {
                "operator's memory, MiB": _resident(operator) / _MIB,
                "CRDs in etcd, bytes": float(sum(_definitions(keys))),
            }
        each = [_tenants_own(cluster, side, keys, name) for name in names]
    tenant = {case: statistics.mean(one[case] for one in each) for case in each[0]}
    per_minute = {case: max(0.0, (asked[case] - idle[case]) / TENANTS) for case in asked}
    return {case: round(value, 2) for case, value in {**tenant, **per_minute, **shared}.items()}


@contextmanager
def _tenant(cluster: Cluster, side: Side) -> Iterator[str]:
    """A namespace with an idle cluster of `side`, whose worker has joined."""
    with (
        clusters.namespace(cluster, "footprint") as namespace,
        sides.installed(cluster, namespace, side, sides.SCALED),
    ):
        Look(cluster, namespace).wait_until_whole(side)
        yield namespace


def _requests(cluster: Cluster, what: str) -> dict[str, float]:
    """Requests per minute that the API server answers; nobody else may use the cluster."""
    with step(f"Count the API server's requests with {what}"):
        before, began = api_server.requests(cluster), time.monotonic()
        time.sleep(_WINDOW_SECONDS)
        asked = api_server.requests(cluster) - before
        minutes = (time.monotonic() - began) / 60
    return {
        "reads per minute": asked.reads.total() / minutes,
        "writes per minute": asked.writes.total() / minutes,
    }


def _tenants_own(
    cluster: Cluster, side: Side, keys: dict[str, int], namespace: str
) -> dict[str, float]:
    own = dict(etcd.of_namespace(keys, namespace))
    look = Look(cluster, namespace)
    pods = [*look.pods(side.head), *look.pods(side.worker)]
    beside = sum(len(pod.spec.containers) - 1 for pod in pods)
    return {
        "pods": len(pods),
        "containers beside Ray's": beside,
        "their memory, MiB": _beside(cluster, namespace) / _MIB if beside else 0.0,
        "objects": len(own),
        "etcd, bytes": sum(own.values()),
        _RELEASE: sum(size for key, size in own.items() if "/sh.helm.release." in key),
    }


def _beside(cluster: Cluster, namespace: str) -> float:
    """Bytes that containers other than Ray's use in a namespace, as the metrics server says."""
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        pods = json.loads(cluster.kubectl("get", f"--raw={path}"))["items"]
        used = [
            float(parse_quantity(container["usage"]["memory"]))
            for pod in pods
            for container in pod["containers"]
            if not container["name"].startswith("ray-")
        ]
        if used:
            return sum(used)
        time.sleep(1)
    raise UserError(f"The metrics server knows no pod of {namespace}.")


def _resident(process: int) -> int:
    """Bytes of memory that a process of this machine holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _definitions(keys: dict[str, int]) -> Iterator[int]:
    return (
        size
        for key, size in keys.items()
        if "/customresourcedefinitions/" in key and key.endswith(".ray.io")
    )


def remark(result: dict[str, Any]) -> str:
    """What the rows are, and what many tenants would take."""
    ours, theirs = (
        {case: statistics.median(values) for case, values in result[side]["samples"].items()}
        for side in ("ours", "kuberay")
    )

    def many(side: dict[str, float]) -> float:
        return side["operator's memory, MiB"] + _MANY * side["their memory, MiB"]

    return (
        f"Mean of {TENANTS} idle tenants with a head, a worker and an autoscaler each. `pods` are "
        "Ray's on either side, and `containers beside Ray's` what they hold for the control plane: "
        "KubeRay's autoscaler; ours has one, of less than 40 MB, where `autoscaling.demand` is on. "
        "`objects` and `etcd` are what etcd keeps for the namespace, events aside, `Helm's "
        "release` included, which a RayCluster that was applied by hand does not have. Requests "
        "are those that the API server answers, watches and proxied connections aside, above what "
        f"it answered without tenants, over {_WINDOW_SECONDS} s: kubelet's and controllers' "
        "included. The operator's memory and its CRDs are there once, whatever the number of "
        "tenants; it runs outside the cluster here, so that it is not among the pods. "
        f"Extrapolated, not measured: for {_MANY} tenants the control plane would hold "
        f"{many(ours):,.0f} MiB (ours) and {many(theirs):,.0f} MiB (KubeRay, without what its "
        f"operator grows by), and Helm's releases, of each of which it keeps {_REVISIONS} "
        f"revisions, would come to {_MANY * _REVISIONS * ours[_RELEASE] / _MIB:,.0f} MiB of etcd's "
        "2 GiB. Where ours goes: Helm stores the whole chart with each revision, and pods carry "
        "the lines of Python that run Ray, as their Deployment and its ReplicaSets do. What a user "
        "can change: `--history-max` of Helm and `revisionHistoryLimit` of head and workers; what "
        "is switched off is not stored. The floor is a Deployment, a ReplicaSet and a pod for each "
        "node."
    )
