"""How long it takes from an install to the first task that a worker has done, ours and KubeRay's.

The clock starts when Helm, or `kubectl apply`, does; KubeRay's operator runs already. Milestones,
looked at every quarter second, are in seconds since then, and may overtake each other:

- scheduled: head and worker have a node
- container: the head's Ray container runs
- gcs: its GCS listens
- dashboard: the dashboard takes a job, which is submitted at once
- ready: Kubernetes calls the head ready
- worker: the worker is ALIVE in Ray's node table
- driver: the job's driver is connected to Ray
- task: its task is done, on the worker
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kubernetes import client

from harness import cluster as clusters
from harness import kuberay, ray_api, sides
from harness.cluster import Cluster
from harness.console import out
from harness.errors import UserError
from harness.paths import PACKAGE
from harness.pods import is_ready, runs_ray
from harness.process import CommandError
from harness.sides import DASHBOARD_PORT, POLL_SECONDS, TIMEOUT_SECONDS, Look, Samples, Side

MILESTONES = (
    "scheduled", "container", "gcs", "dashboard", "ready", "worker", "driver", "task"
)  # fmt: skip
GOAL = {"task": {"ratio": 0.6}}

_JOB = PACKAGE / "jobs" / "first_task.py"


def measure(cluster: Cluster, rounds: int) -> tuple[Samples, Samples]:
    """Seconds until each milestone, of each round: ours and KubeRay's."""
    sides.check(cluster)
    both = (sides.OURS, sides.KUBERAY)
    seen: dict[Side, Samples] = {side: {} for side in both}
    with kuberay.operator(cluster):
        # The first round only fills the file cache.
        for number in range(rounds + 1):
            for side in sides.turn(both, number):
                one = _round(cluster, side)
                if number:
                    sides.add(seen[side], one)
                out.print(f"round {number} of {rounds}, {side.name}: {one}", highlight=False)
    return seen[sides.OURS], seen[sides.KUBERAY]


def _round(cluster: Cluster, side: Side) -> dict[str, float]:
    with clusters.namespace(cluster, "start") as namespace:
        sides.wait_for_calm_machine()
        with ThreadPoolExecutor() as pool:
            # From before the install on: pods are there before Helm has ended.
            watched = pool.submit(_watch, Look(cluster, namespace), side)
            with sides.installed(cluster, namespace, side, sides.SCALED) as began:
                ends = watched.result()
    return {name: round(ends[name] - began, 2) for name in MILESTONES}


def _watch(look: Look, side: Side) -> dict[str, float]:
    """When each milestone was reached, in seconds since the epoch."""
    ends: dict[str, float] = {}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with ThreadPoolExecutor() as pool:
        # Kubernetes and Ray are looked at side by side: who waits for one misses the other.
        work = pool.submit(_follow_ray, look, side, ends, deadline)
        while not {"scheduled", "container", "ready"} <= ends.keys():
            if work.done():
                work.result()
            if time.monotonic() > deadline:
                raise UserError(f"{side.name} is not ready; seen until now: {ends}")
            _look_at_pods(look, side, ends)
            time.sleep(POLL_SECONDS)
        work.result()
    return ends


def _look_at_pods(look: Look, side: Side, ends: dict[str, float]) -> None:
    heads, workers = look.pods(side.head), look.pods(side.worker)
    now = time.time()
    if heads and workers and all(pod.spec.node_name for pod in (*heads, *workers)):
        ends.setdefault("scheduled", now)
    if any(runs_ray(pod) for pod in heads):
        ends.setdefault("container", now)
    if any(is_ready(pod) for pod in heads):
        ends.setdefault("ready", now)


def _follow_ray(look: Look, side: Side, ends: dict[str, float], deadline: float) -> None:
    while "task" not in ends:
        if time.monotonic() > deadline:
            raise UserError(f"{side.name} did no work; seen until now: {ends}")
        try:
            _run_first_task(look, side, ends)
        except (OSError, CommandError, ray_api.JobError, client.ApiException):
            time.sleep(POLL_SECONDS)  # it is not there yet


def _run_first_task(look: Look, side: Side, ends: dict[str, float]) -> None:
    head: Any = next((pod for pod in look.pods(side.head) if pod.status.pod_ip), None)
    if head is None:
        time.sleep(POLL_SECONDS)
        return
    ends.setdefault("gcs", look.wait_for_port(head, side.gcs_port))
    look.wait_for_port(head, DASHBOARD_PORT)  # cheaper than one port-forward after another
    with look.dashboard(head) as dashboard:
        job = ray_api.submit(dashboard, _JOB)
        ends.setdefault("dashboard", time.time())
        while sides.workers(dashboard) < 1:
            time.sleep(POLL_SECONDS)
        ends.setdefault("worker", time.time())
        log = ray_api.wait(dashboard, job, timeout=TIMEOUT_SECONDS)
        ends["driver"], ends["task"] = ray_api.last_json(log)


def remark(result: dict[str, Any]) -> str:
    """What the milestones are, and where the time goes."""
    median, theirs = (
        {name: statistics.median(samples) for name, samples in result[side]["samples"].items()}
        for side in ("ours", "kuberay")
    )
    return (
        "From `helm install` (ours), or `kubectl apply` of a RayCluster (KubeRay), to the end of "
        "the first task, on a worker, of a job that is submitted as soon as the dashboard takes "
        "it. Same image, resources and machine, an autoscaler on both sides, one side at a time, "
        "taking turns; the images are on the node. KubeRay's operator is up already, and runs "
        "outside the cluster here, where nothing limits its CPU. The figures count from the start: "
        "`scheduled` when head and worker have a node, `container` when the head's container runs, "
        "`gcs` when its GCS listens, `dashboard` when a job is taken, `ready` when Kubernetes "
        "calls the head ready, `worker` when the worker is ALIVE, `driver` when the job's driver "
        "is connected, `task` when its task is done. Where the time goes: our pods have a node "
        f"after {median['scheduled']:.1f} s; from the container to the GCS Python loads Ray "
        f"({median['gcs'] - median['container']:.1f} s); the dashboard takes "
        f"{median['dashboard'] - median['gcs']:.1f} s more, and the job itself "
        f"{median['task'] - median['dashboard']:.1f} s. Our worker starts beside the head and is "
        f"there {median['worker'] - median['gcs']:.1f} s after the GCS, KubeRay's "
        f"{theirs['worker'] - theirs['gcs']:.1f} s after its own: its init container asks every "
        "few seconds whether the GCS is up, and only then the worker starts. What is left is Ray's "
        "own chain: a worker's `ray start` waits for the head's raylet before it starts its own, "
        "each raylet waits for its two agents, and the job for the dashboard. Ray starts the "
        "head's raylet only when the dashboard answers; ours starts beside it, so that what is "
        "waited for in the end is the job. What a user can change: more CPU for the head, since "
        "all of this is CPU time, and an image that the nodes have already."
    )
