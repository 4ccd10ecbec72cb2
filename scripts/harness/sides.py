"""The sides of a comparison: releases of ours, clusters of KubeRay's, and what is seen of them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client, config

from harness import helm, kuberay, ray_api
from harness.cluster import Cluster
from harness.errors import UserError
from harness.pods import is_ready
from harness.process import CommandError, run
from harness.ray_api import Dashboard

Samples = dict[str, list[float]]
_Item = TypeVar("_Item")

POLL_SECONDS = 0.25
TIMEOUT_SECONDS = 300
DASHBOARD_PORT = 8265
_GCS_PORT = 6380  # the chart's own
_CALM_SECONDS = 60
_CALM = 0.7  # share of the machine's CPU time that is idle between two rounds
# The chart's own values but for the CPU requests, for which a small node has no room, and the
# token, which KubeRay's clusters do not ask for.
_VALUES: dict[str, Any] = {
    "auth": {"token": {"enabled": False}},
    "head": {"resources": {"requests": {"cpu": "100m"}}},
}
# On requests so small a starting Ray would make the autoscaler add workers, so there is none.
FIXED = _VALUES | {
    "worker": {
        "resources": {"requests": {"cpu": "250m"}},
        "autoscaling": {"enabled": False},
        "replicas": 1,
    },
}
# With an autoscaler that has its cost, but no choice.
SCALED = _VALUES | {
    "worker": {
        "resources": {"requests": {"cpu": "250m"}},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 1},
    },
}


@dataclass(frozen=True)
class Side:
    """A Ray cluster under test, called `name`; `head` and `worker` select its pods."""

    name: str
    head: str
    worker: str
    gcs_port: int
    is_ours: bool


def ours(name: str) -> Side:
    """The release `name` of the chart."""
    instance = f"app.kubernetes.io/instance={name},app.kubernetes.io/component"
    return Side(name, f"{instance}=head", f"{instance}=worker", _GCS_PORT, is_ours=True)


def theirs(name: str) -> Side:
    """The RayCluster `name`."""
    head, worker = kuberay.head_selector(name), kuberay.worker_selector(name)
    return Side(name, head, worker, kuberay.GCS_PORT, is_ours=False)


OURS, KUBERAY = ours("ray"), theirs("kuberay")


@contextmanager
def installed(
    cluster: Cluster, namespace: str, side: Side, values: dict[str, Any]
) -> Iterator[float]:
    """Have `side` in `namespace`, whose end is its own; yields when it was asked for.

    That is in seconds since the epoch. KubeRay's operator has to be at work, and its autoscaler is
    on where `values` have one.
    """
    if side.is_ours:
        began = time.time()
        helm.install(cluster.kubeconfig, side.name, values, namespace=namespace)
        yield began
        return
    release = helm.template(values, namespace=namespace)
    equal = kuberay.ray_cluster(side.name, release, kuberay.autoscaler(release))
    began = time.time()
    with kuberay.installed(cluster, namespace, equal):
        yield began


def turn(sides: Sequence[_Item], number: int) -> Iterator[_Item]:
    """The sides in the order of round `number`: none always follows another's unrest."""
    return iter(sides) if number % 2 else reversed(sides)


def add(samples: Samples, one: dict[str, float]) -> None:
    """Put what one round has measured to what earlier ones have."""
    for case, value in one.items():
        samples.setdefault(case, []).append(value)


def stages(names: Sequence[str], start: float, ends: dict[str, float]) -> dict[str, float]:
    """Seconds that each stage took, and all of them in `total`, if they ended at `ends`."""
    took, before = {}, start
    for name in names:
        # A stage that was over before the one ahead of it could be seen took no time of its own.
        took[name] = round(max(0.0, ends[name] - before), 2)
        before = max(before, ends[name])
    return {**took, "total": round(ends[names[-1]] - start, 2)}


class Look:
    """What can be seen of the sides in a namespace from outside."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.core = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
        self.cluster, self.namespace = cluster, namespace

    def pods(self, selector: str) -> list[Any]:
        """The pods that `selector` names, those on their way out included."""
        found: list[Any] = self.core.list_namespaced_pod(
            self.namespace, label_selector=selector
        ).items
        return found

    def wait_until_whole(self, side: Side) -> Any:
        """Wait until there is one head, which is ready and has its worker; return its pod."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            pods = self.pods(side.head)
            if len(pods) == 1 and is_ready(pods[0]) and self._has_worker(pods[0]):
                return pods[0]
            time.sleep(1)
        seen = self.cluster.kubectl("get", "pods", f"--namespace={self.namespace}", "-o=wide")
        raise UserError(f"{side.name} was not whole after {TIMEOUT_SECONDS} s.\n{seen}")

    def _has_worker(self, head: Any) -> bool:
        try:
            with self.dashboard(head) as dashboard:
                return workers(dashboard) == 1
        except (OSError, CommandError):
            return False

    @contextmanager
    def dashboard(self, head: Any) -> Iterator[Dashboard]:
        """The dashboard of this pod, for a Service may still lead to another."""
        with ray_api.forwarded(self.cluster, self.namespace, f"pod/{head.metadata.name}") as url:
            yield Dashboard(url)

    def wait_for_port(self, head: Any, port: int) -> float:
        """When, in seconds since the epoch, something listened on a port of the head's pod.

        Asked on the node, where it costs next to nothing. Raises CommandError if the pod is gone.
        """
        script = (
            'for _ in $(seq 600); do if (exec 3<>"/dev/tcp/$0/$1") 2>/dev/null; '
            "then exec date +%s.%N; fi; sleep 0.1; done; exit 1"
        )
        command = ["docker", "exec", str(self.cluster.node), "timeout", "60", "bash", "-c", script]
        return float(run([*command, head.status.pod_ip, str(port)]))


def workers(dashboard: Dashboard) -> int:
    """The number of ALIVE workers in Ray's node table."""
    return sum(not node["is_head_node"] for node in ray_api.alive_nodes(dashboard))


def check(cluster: Cluster) -> None:
    """Raise UserError for a cluster whose node is out of reach."""
    if cluster.node is None:
        raise UserError("This is measured in a kind cluster of the harness's own.")


def wait_for_calm_machine() -> None:
    """Wait until the machine has little to do; a while that is over is long enough, too."""
    deadline = time.monotonic() + _CALM_SECONDS
    idle, total = _cpu_times()
    while time.monotonic() < deadline:
        time.sleep(2)
        before, (idle, total) = (idle, total), _cpu_times()
        if idle - before[0] >= _CALM * (total - before[1]):
            return


def _cpu_times() -> tuple[int, int]:
    """Ticks of all CPUs since the start of the machine: idle, and all of them."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
