"""How long a group takes to grow from one worker to two, stage by stage, ours and KubeRay's.

Because a worker uses more than the target of memory, or of CPU, and because a task waits for a CPU.
A stage ends when what it is about can first be seen from outside, looked at every quarter second:

- metrics, on use: the metrics server says that the worker uses more than the target
- autoscaler: the group is asked for one more worker
- scheduling: the new pod has a node
- start: its container runs
- join: it is ALIVE in Ray's node table
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.utils.quantity import parse_quantity

from harness import cluster as clusters
from harness import helm, kuberay, ray_api, sides
from harness.cluster import Cluster
from harness.console import out, step
from harness.errors import UserError
from harness.paths import PACKAGE
from harness.pods import runs_ray
from harness.sides import Samples, Side

Values = dict[str, Any]

_PERIOD_SECONDS = 15  # with which the metrics server measures, and an autoscaler looks
# Both, and what we want a worker to take.
USE_GOAL_SECONDS = 2 * _PERIOD_SECONDS + 8
# What we want of the medians on demand: our part of KubeRay's time.
DEMAND_GOAL_RATIO = 0.6

_TIMEOUT_SECONDS = 420
# How long nothing happens until we say that nothing will: as often as long as our slowest round.
_PATIENCE = 3


@dataclass(frozen=True)
class _Load:
    """A job that makes a group grow; it prints when the group has reason to."""

    job: Path
    arguments: tuple[str, ...]
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Use(_Load):
    """A job that uses more than `target` (bytes, CPUs) of a `resource` of Kubernetes.

    No other resource has a target, by the values `autoscaling`.
    """

    resource: str
    target: float
    autoscaling: Values


_JOBS = PACKAGE / "jobs"
_AFTER_METRICS = ("autoscaler", "scheduling", "start", "join")
# The targets are the chart's own shares of what a worker requests. MiB: with an idle Ray it is
# more than the target and its tolerance for one worker, less for two, and less than the 95 % at
# which Ray kills what holds it.
MEMORY = Use(
    _JOBS / "hold_memory.py",
    ("1560",),
    ("metrics", *_AFTER_METRICS),
    "memory",
    0.8 * 2 * 2**30,
    {"targetCPUUtilizationPercentage": 0},
)
CPU = Use(
    _JOBS / "burn_cpu.py",
    (),
    ("metrics", *_AFTER_METRICS),
    "cpu",
    0.6 * 0.25,
    {"targetMemoryUtilizationPercentage": 0},
)
# Tasks of one CPU: one more than a worker has.
_ASK = _Load(_JOBS / "ask_cpus.py", ("2",), _AFTER_METRICS)


def _values(**autoscaling: Any) -> Values:
    """Those of every comparison, with the chart's own limits of the autoscaler.

    But without five minutes before a scale-in, for which nobody wants to wait between two rounds.
    """
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    worker = sides.SCALED["worker"] | {"autoscaling": {"behavior": behavior, **autoscaling}}
    return sides.SCALED | {"worker": worker}


# The time before a scale-in as for ours, and smaller requests than by default.
_KUBERAYS_AUTOSCALER: dict[str, Any] = {
    "idleTimeoutSeconds": 5,
    "resources": {
        "requests": {"cpu": "50m", "memory": "512Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    },
}


def on_use(cluster: Cluster, rounds: int, load: Use) -> tuple[Samples, float]:
    """Seconds by stage, and in `total`, of each of our rounds, and how long KubeRay did nothing.

    Raises UserError if KubeRay's autoscaler did something.
    """
    samples: Samples = {}
    with _installed(cluster, _values(**load.autoscaling)) as (ours, theirs):
        for number in range(1, rounds + 1):
            _wait_for_any_moment(ours, load)
            _add(samples, _round(ours, load), f"on {load.resource}, round {number} of {rounds}")
        seconds = round(_PATIENCE * max(samples["total"]))
        theirs.wait_until_calm()
        _see_nothing(theirs, load, seconds)
    said = f"on {load.resource}, {theirs.side.name}: nothing in {seconds} s"
    out.print(said, highlight=False)
    return samples, seconds


def on_demand(cluster: Cluster, rounds: int) -> tuple[Samples, Samples]:
    """Seconds by stage, and in `total`, of each round: ours and KubeRay's."""
    # On a request as small as this a starting Ray alone would add a worker for its CPU use.
    values = _values(targetCPUUtilizationPercentage=0, demand={"enabled": True, "quietSeconds": 5})
    samples: tuple[Samples, Samples] = {}, {}
    with _installed(cluster, values) as looks:
        for number in range(1, rounds + 1):
            for look, own in sides.turn(list(zip(looks, samples, strict=True)), number):
                for each in looks:
                    each.wait_until_calm()
                what = f"on demand, round {number} of {rounds}, {look.side.name}"
                _add(own, _round(look, _ASK), what)
    return samples


@contextmanager
def alone(cluster: Cluster) -> Iterator["_Look"]:
    """A release of ours by itself, in a namespace of its own, that scales on memory."""
    with clusters.namespace(cluster, "bench") as namespace:
        helm.install(cluster.kubeconfig, sides.OURS.name, _values(), namespace=namespace)
        with _look_at(cluster, namespace, _GROUPS[0]) as look:
            yield look


def reaction(look: "_Look", timeout: float) -> float:
    """Seconds from too much memory to the moment at which one more worker is asked for.

    Raises UserError after `timeout` seconds.
    """
    _wait_for_any_moment(look, MEMORY)
    took = _round(look, MEMORY, timeout)
    return round(took["metrics"] + took["autoscaler"], 2)


def _wait_for_any_moment(look: "_Look", load: Use) -> None:
    """Wait until the group is calm, and then until some moment of the periods of Kubernetes.

    That it is calm shows just after one of them has begun, and what follows would always last long.
    """
    look.wait_until_calm(load)
    time.sleep(random.uniform(0, _PERIOD_SECONDS))  # noqa: S311


def _add(samples: Samples, one: dict[str, float], what: str) -> None:
    sides.add(samples, one)
    out.print(f"{what}: {one}", highlight=False)


@dataclass(frozen=True)
class _Group:
    """A side, and the object that says how many workers it is to have."""

    side: Side
    where: tuple[str, str, str, str]  # API group, version, plural and name
    replicas: Callable[[Any], int]


_GROUPS = (
    _Group(
        sides.OURS,
        ("apps", "v1", "deployments", "ray-ray-cluster-worker-default"),
        lambda deployment: int(deployment["spec"]["replicas"]),
    ),
    _Group(
        sides.KUBERAY,
        ("ray.io", "v1", "rayclusters", "kuberay"),
        lambda cluster: int(cluster["spec"]["workerGroupSpecs"][0]["replicas"]),
    ),
)


@contextmanager
def _installed(cluster: Cluster, values: Values) -> Iterator[tuple["_Look", "_Look"]]:
    """Our release with `values`, and KubeRay's cluster equal to it, in a namespace of their own."""
    with ExitStack() as stack:
        stack.enter_context(kuberay.operator(cluster))
        namespace = stack.enter_context(clusters.namespace(cluster, "bench"))
        helm.install(cluster.kubeconfig, sides.OURS.name, values, namespace=namespace)
        release = helm.template(values, namespace=namespace)
        autoscaler = kuberay.autoscaler(release)
        assert autoscaler is not None
        equal = kuberay.ray_cluster(sides.KUBERAY.name, release, autoscaler | _KUBERAYS_AUTOSCALER)
        stack.enter_context(kuberay.installed(cluster, namespace, equal))
        ours, theirs = (
            stack.enter_context(_look_at(cluster, namespace, group)) for group in _GROUPS
        )
        yield ours, theirs


@contextmanager
def _look_at(cluster: Cluster, namespace: str, group: _Group) -> Iterator["_Look"]:
    """What can be seen of `group` as soon as its head is ready."""
    where = [f"--namespace={namespace}", "pod", f"--selector={group.side.head}"]
    with step(f"Wait for the head: {group.side.name}"):
        cluster.kubectl(
            "wait", *where, f"--timeout={_TIMEOUT_SECONDS}s",
            "--for=create", "--for=condition=Ready",  # an operator makes the pod: at first is none
        )  # fmt: skip
    pod = cluster.kubectl("get", *where, "--output=name").strip()
    with ray_api.forwarded(cluster, namespace, pod) as url:
        yield _Look(cluster, namespace, group, ray_api.Dashboard(url))


class _Look:
    """What can be seen of a group from outside."""

    def __init__(
        self, cluster: Cluster, namespace: str, group: _Group, dashboard: ray_api.Dashboard
    ) -> None:
        api = config.new_client_from_config(str(cluster.kubeconfig))
        self.core, self.custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self.namespace, self.group, self.dashboard = namespace, group, dashboard

    @property
    def side(self) -> Side:
        """Whose group it is."""
        return self.group.side

    def replicas(self) -> int:
        """The number of workers that the group is asked for."""
        group, version, plural, name = self.group.where
        found = self.custom.get_namespaced_custom_object(
            group, version, self.namespace, plural, name
        )
        return self.group.replicas(found)

    def workers(self) -> dict[str, Any]:
        """The workers' pods by name, those that leave included."""
        pods = self.core.list_namespaced_pod(self.namespace, label_selector=self.side.worker).items
        return {pod.metadata.name: pod for pod in pods}

    def used(self, pod: str, load: Use) -> float:
        """What a worker uses, as a share of the target; 0 if the metrics server is silent."""
        with suppress(client.ApiException):
            sample = self.custom.get_namespaced_custom_object(
                "metrics.k8s.io", "v1beta1", self.namespace, "pods", pod
            )
            usages = (container["usage"][load.resource] for container in sample["containers"])
            return float(sum(map(parse_quantity, usages))) / load.target
        return 0.0

    def alive(self) -> set[str]:
        """The addresses of the nodes in Ray's node table."""
        return {node["node_ip"] for node in ray_api.alive_nodes(self.dashboard)}

    def wait_until_calm(self, load: Use | None = None) -> None:
        """Wait until one worker is there, has joined, and uses less than half the load's target."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError):  # a dashboard that has just begun
                if self._is_calm(load):
                    return
            time.sleep(1)
        raise UserError(
            f"{self.side.name}: the group did not come back to one calm worker in "
            f"{_TIMEOUT_SECONDS} s."
        )

    def _is_calm(self, load: Use | None) -> bool:
        workers, alive = self.workers(), self.alive()
        if not len(workers) == 1 == self.replicas():
            return False
        ((name, pod),) = workers.items()
        joined = pod.status.pod_ip in alive and len(alive) == 2  # the head is the other
        return joined and (load is None or 0 < self.used(name, load) < 1 / 2)


def _round(look: _Look, load: _Load, timeout: float = _TIMEOUT_SECONDS) -> dict[str, float]:
    """One time from a load to a second worker; the load is taken away again."""
    (loaded,) = look.workers()
    job = ray_api.submit(look.dashboard, load.job, *load.arguments)
    try:
        ends = _watch(look, load, loaded, job, timeout)
    finally:
        ray_api.stop(look.dashboard, job)
    return sides.stages(load.stages, ends.pop("load"), ends)


def _watch(look: _Look, load: _Load, loaded: str, job: str, timeout: float) -> dict[str, float]:
    """When each stage was over, in seconds since the epoch; `load` is when there was reason."""
    ends: dict[str, float] = {}
    deadline = time.monotonic() + timeout
    while "join" not in ends:
        if time.monotonic() > deadline:
            raise UserError(f"No second worker joined in {timeout:.0f} s; seen: {ends}")
        for stage in _seen(look, load, loaded, job, ends):
            ends.setdefault(stage, time.time())
        time.sleep(sides.POLL_SECONDS)
    return ends


def _seen(look: _Look, load: _Load, loaded: str, job: str, ends: dict[str, float]) -> Iterator[str]:
    """The stages that are over now, of those that were not yet."""
    if "load" not in ends:
        if (began := _began(look, job)) is None:
            return
        ends["load"] = began
    if isinstance(load, Use) and "metrics" not in ends and look.used(loaded, load) > 1:
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
    if runs_ray(pod):
        yield "start"
    if pod.status.pod_ip in look.alive():
        # Whoever acts on a sample sees it first: it need not have been seen here.
        yield from load.stages


def _began(look: _Look, job: str) -> float | None:
    """When the group had reason to grow, in seconds since the epoch; None if it has not yet."""
    with suppress(ray_api.JobError):  # it has printed nothing yet
        return float(ray_api.last_json(ray_api.logs(look.dashboard, job)))
    return None


def _see_nothing(look: _Look, load: _Load, seconds: float) -> None:
    """Watch a loaded group for so long; UserError if it grows."""
    job = ray_api.submit(look.dashboard, load.job, *load.arguments)
    try:
        while (began := _began(look, job)) is None:
            time.sleep(sides.POLL_SECONDS)
        while (passed := time.time() - began) < seconds:
            if look.replicas() > 1:
                raise UserError(f"{look.side.name} added a worker after {passed:.0f} s.")
            time.sleep(1)
    finally:
        ray_api.stop(look.dashboard, job)


def use_remark(result: dict[str, Any]) -> str:
    """What the stages are, and what of them is ours."""
    samples = result["ours"]["samples"]
    waiting = [sum(pair) for pair in zip(samples["metrics"], samples["autoscaler"], strict=True)]
    return (
        "From the moment at which a worker begins to use more than the target, be it memory that "
        "it holds or a CPU that it is busy with, to the moment at which a second one is ALIVE in "
        "Ray's node table, in a cluster with Kubernetes' own periods. `metrics` lasts until the "
        "metrics server tells of it, which asks every 15 s for figures that are some seconds old, "
        "and CPU use is the mean since the figure before; `autoscaler` lasts until the Deployment "
        "is asked for one more worker: the autoscaler looks every 15 s. As both periods are equal, "
        "the time between the two is much the same in all rounds of a run, and another one in the "
        f"next run. These two took {statistics.median(waiting):.1f} s (median), and up to 30 s "
        "of that is how Kubernetes is set up. The rest is the new pod's: `scheduling`, `start` of "
        "its container, and `join`, Ray's own start."
    ) + (
        f" KubeRay does not react, which is no fault of it: it scales on what tasks ask for. Its "
        f"worker used the same for {watched} s, thrice our slowest run, and stayed alone."
        if (watched := result.get("watched"))
        else ""
    )


def demand_remark(result: dict[str, Any]) -> str:
    """What the stages are, and where the time goes."""
    ours, theirs = (
        {stage: statistics.median(s) for stage, s in result[side]["samples"].items()}
        for side in ("ours", "kuberay")
    )
    return (
        "From the moment at which a job has submitted one task more than its cluster has CPUs to "
        "the moment at which a second worker is ALIVE in Ray's node table; the tasks use nothing. "
        "Ours scales by `autoscaling.demand`, KubeRay by its autoscaler; both have the same "
        "image, resources and machine, and take turns. `autoscaler` lasts until the group is asked "
        "for one more worker, `scheduling` until its pod has a node, `start` until its container "
        "runs, and `join` is Ray's own start. Where the time goes: the GCS asks its nodes once a "
        "second what waits, our sidecar asks the GCS twice a second and acts on what it has seen "
        f"twice, {ours['autoscaler']:.1f} s in all; KubeRay's autoscaler looks every five seconds, "
        f"{theirs['autoscaler']:.1f} s. Its pods have an init container that loads Ray once more "
        "to ask for the GCS, which is in their `start`: "
        f"{theirs['start']:.1f} s to our {ours['start']:.1f} s. The goal is "
        f"{DEMAND_GOAL_RATIO} of KubeRay's median."
    )
