"""What becomes of a worker's tasks when it has to go, and how long it stays, ours and KubeRay's.

Each round takes the only worker of a side away four times: busy with tasks of several lengths, none
of which may be tried again, and idle; deleted, which is how a scale-in ends, and evicted, which is
how the drain of a Kubernetes node begins.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client

from harness import cluster as clusters
from harness import kills, kuberay, ray_api, sides
from harness.cluster import Cluster
from harness.console import out, step
from harness.errors import UserError
from harness.paths import PACKAGE
from harness.sides import POLL_SECONDS, TIMEOUT_SECONDS, Look, Samples, Side

# Seconds that tasks take. Kubernetes kills a pod that says nothing else after 30 s.
LENGTHS = (5, 15, 40, 60)
WAYS: dict[str, Callable[[Cluster, Any], None]] = {"deleted": kills.delete, "evicted": kills.evict}

_JOB = PACKAGE / "jobs" / "lengths.py"


@dataclass
class Outcome:
    """Seconds until the pod was gone by case, and the lengths of the tasks that were lost."""

    samples: Samples = field(default_factory=dict)
    lost: list[float] = field(default_factory=list)


def measure(cluster: Cluster, rounds: int) -> tuple[int, Outcome, Outcome]:
    """The number of tasks on either side, and what became of them: ours and KubeRay's."""
    sides.check(cluster)
    both = (sides.OURS, sides.KUBERAY)
    outcomes = {side: Outcome() for side in both}
    worker = sides.SCALED["worker"] | {"numCpus": len(LENGTHS)}
    with (
        kuberay.operator(cluster),
        clusters.namespace(cluster, "scale-in") as namespace,
        sides.installed(cluster, namespace, both[0], sides.SCALED | {"worker": worker}),
        sides.installed(cluster, namespace, both[1], sides.SCALED | {"worker": worker}),
    ):
        look = Look(cluster, namespace)
        for number in range(1, rounds + 1):
            for way, take in WAYS.items():
                for side in sides.turn(both, number):
                    one, lost = _round(look, side, way, take)
                    sides.add(outcomes[side].samples, one)
                    outcomes[side].lost += lost
                    what = f"round {number} of {rounds}, {side.name}"
                    out.print(f"{what}: {one}, lost: {lost}", highlight=False)
    return rounds * len(WAYS) * len(LENGTHS), outcomes[both[0]], outcomes[both[1]]


def _round(
    look: Look, side: Side, way: str, take: Callable[[Cluster, Any], None]
) -> tuple[dict[str, float], list[float]]:
    """Seconds that a busy and an idle worker took to go, and the lengths of lost tasks."""
    head = look.wait_until_whole(side)
    with look.dashboard(head) as dashboard:
        job = ray_api.submit(dashboard, _JOB, *map(str, LENGTHS))
        _wait_until_busy(dashboard, side)
        busy = _take(look, side, take)
        lost = ray_api.last_json(ray_api.wait(dashboard, job, timeout=TIMEOUT_SECONDS))
    look.wait_until_whole(side)
    sides.wait_for_calm_machine()
    idle = _take(look, side, take)
    return {f"busy, {way}": busy, f"idle, {way}": idle}, lost


def _wait_until_busy(dashboard: ray_api.Dashboard, side: Side) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        running = ray_api.running_tasks(dashboard)
        if len(running) == len(LENGTHS):
            return
        time.sleep(POLL_SECONDS)
    raise UserError(f"{side.name} runs {len(running)} of {len(LENGTHS)} tasks.")


def _take(look: Look, side: Side, take: Callable[[Cluster, Any], None]) -> float:
    """Take the worker away; the seconds until its pod was gone."""
    (pod,) = (pod for pod in look.pods(side.worker) if not pod.metadata.deletion_timestamp)
    began = time.time()
    take(look.cluster, pod)
    with step(f"Wait until {pod.metadata.name} is gone"):
        while _is_there(look, pod):
            if time.time() > began + TIMEOUT_SECONDS:
                raise UserError(f"{pod.metadata.name} is still there after {TIMEOUT_SECONDS} s.")
            time.sleep(POLL_SECONDS)
    return round(time.time() - began, 2)


def _is_there(look: Look, pod: Any) -> bool:
    try:
        found = look.core.read_namespaced_pod(pod.metadata.name, look.namespace)
    except client.ApiException as error:
        if error.status != 404:
            raise
        return False
    return bool(found.metadata.uid == pod.metadata.uid)


def remark(result: dict[str, Any]) -> str:
    """What was lost, and why."""
    ours, theirs = result["ours"]["lost"], result["kuberay"]["lost"]
    lengths = ", ".join(map(str, LENGTHS))
    return (
        f"Of {result['tasks']} tasks that may not be tried again ({lengths} s long in equal parts) "
        f"ours lost {ours}, KubeRay {theirs}. The figures are seconds until a worker's pod is gone "
        "that is busy with one task of each length, or idle, from its deletion, which is what ends "
        "a scale-in by an autoscaler or by hand, or from its eviction, which is how the drain of a "
        "node begins. A busy worker that leaves sooner is no better: it takes its tasks along. "
        "KubeRay's own autoscaler only takes workers away that are idle, so its scale-in loses no "
        "task; whoever else takes a pod away does it as here. Where the time goes: a busy worker "
        "of ours stays until the longest of its tasks is done, for as long as "
        "`worker.drain.timeoutSeconds` (240 s) allows, and an idle one leaves as soon as Ray has "
        "ended its processes. A pod of KubeRay's has Kubernetes' own 30 s. What a user can change: "
        "`worker.drain.timeoutSeconds`, and on KubeRay's side the pod template's "
        "`terminationGracePeriodSeconds` with a hook that drains. The floor is the longest task."
    )
