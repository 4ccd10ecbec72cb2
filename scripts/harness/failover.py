"""How long a cluster takes no work when its head dies, stage by stage, on our side and KubeRay's.

It is what somebody sees who submits a job again and again until one gets through: from the kill to
the end of that job's first task, on a worker. Stages end when, looked at every quarter second:

- container: the container of the new head runs
- gcs: its GCS listens
- dashboard: the dashboard answers, and every worker is ALIVE in the node table
- driver: the driver of a job that was submitted then is connected to Ray
- task: its task is done
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config

from harness import cluster as clusters
from harness import helm, kills, kuberay, ray_api, redis
from harness.cluster import Cluster
from harness.console import out, step
from harness.errors import UserError
from harness.paths import PACKAGE
from harness.process import CommandError, run
from harness.ray_api import Dashboard

STAGES = ("container", "gcs", "dashboard", "driver", "task")
Samples = dict[str, list[float]]

# What we want of the medians; set before the first whole run, and to be held against that.
GOAL_SECONDS = {
    "failover": 20,
    "failover_container": 20,
    "failover_rocksdb": 20,
    "failover_rocksdb_container": 20,
}

_JOB = PACKAGE / "jobs" / "first_task.py"
_POLL_SECONDS = 0.25
_TIMEOUT_SECONDS = 300
_CALM_SECONDS = 60
_CALM = 0.7  # share of the machine's CPU time that is idle between two rounds
_GCS_PORT = 6380  # the chart's own
_DASHBOARD_PORT = 8265
# The chart's own values but for the CPU requests, for which a small node has no room three times,
# the autoscaler, which a starting Ray would make add workers on so small requests, and the token,
# which KubeRay's clusters do not ask for.
_VALUES: dict[str, Any] = {
    "auth": {"token": {"enabled": False}},
    "head": {"resources": {"requests": {"cpu": "100m"}}},
    "worker": {
        "resources": {"requests": {"cpu": "250m"}},
        "autoscaling": {"enabled": False},
        "replicas": 1,
    },
}
_ROCKSDB = {"gcsFaultTolerance": {"mode": "rocksdb"}}


@dataclass(frozen=True)
class Side:
    """A Ray cluster under test. `head` selects its head's pod."""

    name: str
    head: str
    gcs_port: int


_REDIS = Side(
    "redis", "app.kubernetes.io/instance=redis,app.kubernetes.io/component=head", _GCS_PORT
)
_ROCKS = Side(
    "rocksdb", "app.kubernetes.io/instance=rocksdb,app.kubernetes.io/component=head", _GCS_PORT
)
_KUBERAY = Side("kuberay", kuberay.head_selector("kuberay"), kuberay.GCS_PORT)

Kill = Callable[[Cluster, Any], None]
# By result: how the head dies, and whose: ours, then KubeRay's if it can do the same. A container
# comes before a pod: a new pod has no restarts, for which Kubernetes would make the next one wait.
CASES: dict[str, tuple[Kill, tuple[Side, ...]]] = {
    "failover_container": (kills.container, (_REDIS, _KUBERAY)),
    "failover_rocksdb_container": (kills.container, (_ROCKS,)),
    "failover": (kills.delete, (_REDIS, _KUBERAY)),
    "failover_rocksdb": (kills.delete, (_ROCKS,)),
}


def measure(cluster: Cluster, rounds: int) -> dict[str, tuple[Samples, Samples | None]]:
    """Seconds by stage, and in `total`, of each round: by case, ours and KubeRay's."""
    if cluster.node is None:
        raise UserError("Failover is measured in a kind cluster of the harness's own.")
    seen: dict[str, dict[Side, Samples]] = {
        case: {side: {} for side in sides} for case, (_, sides) in CASES.items()
    }
    with _installed(cluster) as namespace:
        look = _Look(cluster, namespace)
        for number in range(1, rounds + 1):
            for case, (kill, sides) in CASES.items():
                # Who goes first changes, so that neither always follows the other's unrest.
                for side in sides if number % 2 else reversed(sides):
                    one = _round(look, side, kill)
                    for stage, seconds in one.items():
                        seen[case][side].setdefault(stage, []).append(seconds)
                    what = f"round {number} of {rounds}, {case}, {side.name}"
                    out.print(f"{what}: {one}", highlight=False)
    return {
        case: (seen[case][sides[0]], seen[case].get(_KUBERAY)) for case, (_, sides) in CASES.items()
    }


@contextmanager
def _installed(cluster: Cluster) -> Iterator[str]:
    """A namespace with a Redis, and with all sides, whose workers have joined."""
    api = config.new_client_from_config(str(cluster.kubeconfig))
    with ExitStack() as stack:
        stack.enter_context(kuberay.operator(cluster))
        namespace = stack.enter_context(clusters.namespace(cluster, "bench"))
        redis.add_password(api, namespace)
        redis.start(cluster, namespace)
        on_redis = _VALUES | redis.fault_tolerance()
        for name, values in (("redis", on_redis), ("rocksdb", _VALUES | _ROCKSDB)):
            helm.install(cluster.kubeconfig, name, values, namespace=namespace)
        equal = kuberay.ray_cluster("kuberay", helm.template(on_redis, namespace=namespace))
        stack.enter_context(kuberay.installed(cluster, namespace, equal))
        look = _Look(cluster, namespace)
        with step("Wait until every side is whole"):
            for side in (_REDIS, _ROCKS, _KUBERAY):
                look.wait_until_whole(side)
        yield namespace


class _Look:
    """What can be seen of a side from outside."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.core = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
        self.cluster, self.namespace = cluster, namespace

    def heads(self, side: Side) -> list[Any]:
        """The pods of the side's head, one that is on its way out included."""
        found: list[Any] = self.core.list_namespaced_pod(
            self.namespace, label_selector=side.head
        ).items
        return found

    def wait_until_whole(self, side: Side) -> Any:
        """Wait until there is one head, which is ready and has its worker; return its pod."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            pods = self.heads(side)
            if len(pods) == 1 and _is_ready(pods[0]) and self._has_worker(pods[0]):
                return pods[0]
            time.sleep(1)
        seen = self.cluster.kubectl("get", "pods", f"--namespace={self.namespace}", "-o=wide")
        raise UserError(f"{side.name} was not whole after {_TIMEOUT_SECONDS} s.\n{seen}")

    def _has_worker(self, head: Any) -> bool:
        try:
            with self.dashboard(head) as dashboard:
                return _workers(dashboard) == 1
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


def _workers(dashboard: Dashboard) -> int:
    return sum(not node["is_head_node"] for node in ray_api.alive_nodes(dashboard))


def _is_ready(pod: Any) -> bool:
    conditions = {c.type: c.status for c in pod.status.conditions or []}
    return conditions.get("Ready") == "True" and not pod.metadata.deletion_timestamp


def _wait_for_calm_machine() -> None:
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


def _round(look: _Look, side: Side, kill: Kill) -> dict[str, float]:
    """One kill, and the seconds that each stage took."""
    head = look.wait_until_whole(side)
    _wait_for_calm_machine()
    kill(look.cluster, head)
    start = before = time.time()
    ends: dict[str, float] = {}
    while "task" not in ends:
        if time.time() > start + _TIMEOUT_SECONDS:
            raise UserError(
                f"{side.name} did no work for {_TIMEOUT_SECONDS} s; seen until then: {ends}"
            )
        try:
            _watch(look, side, head, ends)
        except (OSError, CommandError, ray_api.JobError, client.ApiException):
            time.sleep(_POLL_SECONDS)  # that head is none yet, or no more
    stages = {}
    for stage in STAGES:
        # A stage that was over before the one ahead of it could be seen took no time of its own.
        stages[stage] = round(max(0.0, ends[stage] - before), 2)
        before = max(before, ends[stage])
    return {**stages, "total": round(ends["task"] - start, 2)}


def _watch(look: _Look, side: Side, old: Any, ends: dict[str, float]) -> None:
    """Add to `ends` when each stage was over, in seconds since the epoch."""
    head = _next_head(look, side, old)
    ends.setdefault("container", time.time())
    ends.setdefault("gcs", look.wait_for_port(head, side.gcs_port))
    look.wait_for_port(head, _DASHBOARD_PORT)  # cheaper than one port-forward after another
    with look.dashboard(head) as dashboard:
        while _workers(dashboard) < 1:
            time.sleep(_POLL_SECONDS)
        ends.setdefault("dashboard", time.time())
        words = ray_api.run_job(dashboard, _JOB, timeout=_TIMEOUT_SECONDS).splitlines()[-1].split()
        ends["driver"], ends["task"] = map(float, words)


def _next_head(look: _Look, side: Side, old: Any) -> Any:
    """The head's pod as soon as another container than that of `old` runs in one."""
    before = {status.container_id for status in old.status.container_statuses}
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for pod in look.heads(side):
            statuses = pod.status.container_statuses or []
            running = {s.container_id for s in statuses if s.state.running}
            if not pod.metadata.deletion_timestamp and running and not running & before:
                return pod
        time.sleep(_POLL_SECONDS)
    raise UserError(f"{side.name} has no new head after {_TIMEOUT_SECONDS} s.")
