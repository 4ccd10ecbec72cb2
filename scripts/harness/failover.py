"""How long a cluster takes no work when its head dies, stage by stage, on our side and KubeRay's.

It is what somebody sees who submits a job again and again until one gets through: from the kill to
the end of that job's first task, on a worker. Stages end when, looked at every quarter second:

- container: the container of the new head runs
- gcs: its GCS listens
- dashboard: the dashboard answers, and every worker is ALIVE in the node table
- driver: the driver of a job that was submitted then is connected to Ray
- task: its task is done
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from kubernetes import client, config

from harness import cluster as clusters
from harness import kills, kuberay, ray_api, redis, sides
from harness.cluster import Cluster
from harness.console import out, step
from harness.errors import UserError
from harness.paths import PACKAGE
from harness.process import CommandError
from harness.sides import DASHBOARD_PORT, POLL_SECONDS, TIMEOUT_SECONDS, Look, Samples, Side

STAGES = ("container", "gcs", "dashboard", "driver", "task")

# What we want of the medians: our part of KubeRay's time or, where it has nothing like it, seconds.
# A first run had 0.52 and 1.00, and 22 s and 15 s.
GOALS: dict[str, Any] = {
    "failover": {"ratio": 0.75},
    "failover_container": {"ratio": 1.1},
    "failover_rocksdb": 25,
    "failover_rocksdb_container": 20,
}
HEADLESS = "failover_headless"  # has no goal: it is there to be worse

_JOB = PACKAGE / "jobs" / "first_task.py"
_ROCKSDB = {"gcsFaultTolerance": {"mode": "rocksdb"}}

_REDIS, _ROCKS, _KUBERAY = sides.ours("redis"), sides.ours("rocksdb"), sides.KUBERAY
_HEADLESS = sides.ours("headless")

Kill = Callable[[Cluster, Any], None]
# By result: how the head dies, and whose: ours, then KubeRay's if it can do the same. A container
# comes before a pod: a new pod has no restarts, for which Kubernetes would make the next one wait.
CASES: dict[str, tuple[Kill, tuple[Side, ...]]] = {
    "failover_container": (kills.container, (_REDIS, _KUBERAY)),
    "failover_rocksdb_container": (kills.container, (_ROCKS,)),
    "failover": (kills.delete, (_REDIS, _KUBERAY)),
    "failover_rocksdb": (kills.delete, (_ROCKS,)),
    HEADLESS: (kills.delete, (_HEADLESS,)),
}


def measure(cluster: Cluster, rounds: int) -> dict[str, tuple[Samples, Samples | None]]:
    """Seconds by stage, and in `total`, of each round: by case, ours and KubeRay's."""
    sides.check(cluster)
    seen: dict[str, dict[Side, Samples]] = {
        case: {side: {} for side in taking_part} for case, (_, taking_part) in CASES.items()
    }
    with _installed(cluster) as namespace:
        look = Look(cluster, namespace)
        for number in range(1, rounds + 1):
            for case, (kill, taking_part) in CASES.items():
                for side in sides.turn(taking_part, number):
                    one = _round(look, side, kill)
                    sides.add(seen[case][side], one)
                    what = f"round {number} of {rounds}, {case}, {side.name}"
                    out.print(f"{what}: {one}", highlight=False)
    return {
        case: (seen[case][who[0]], seen[case].get(_KUBERAY)) for case, (_, who) in CASES.items()
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
        on_redis = sides.FIXED | redis.fault_tolerance()
        installed = {
            _REDIS: on_redis,
            _HEADLESS: on_redis,
            _ROCKS: sides.FIXED | _ROCKSDB,
            _KUBERAY: on_redis,
        }
        for side, values in installed.items():
            stack.enter_context(sides.installed(cluster, namespace, side, values))
        look = Look(cluster, namespace)
        with step("Wait until every side is whole"):
            look.wait_until_whole(_HEADLESS)
            _make_headless(cluster, namespace)
            for side in installed:
                look.wait_until_whole(side)
        yield namespace


def _make_headless(cluster: Cluster, namespace: str) -> None:
    """Give the Service by which its workers find the head no address of its own."""
    within = f"--namespace={namespace}"
    found = cluster.kubectl(
        "get", within, f"service/{_HEADLESS.name}-ray-cluster-gcs", "--output=json"
    )
    service = json.loads(found)
    service["spec"] |= {"clusterIP": "None"}
    del service["spec"]["clusterIPs"]
    cluster.kubectl("replace", within, "--force", "--filename=-", stdin=json.dumps(service))
    cluster.kubectl("delete", within, "pod", f"--selector={_HEADLESS.worker}")


def _round(look: Look, side: Side, kill: Kill) -> dict[str, float]:
    """One kill, and the seconds that each stage took."""
    head = look.wait_until_whole(side)
    sides.wait_for_calm_machine()
    kill(look.cluster, head)
    start = time.time()
    ends: dict[str, float] = {}
    while "task" not in ends:
        if time.time() > start + TIMEOUT_SECONDS:
            raise UserError(
                f"{side.name} did no work for {TIMEOUT_SECONDS} s; seen until then: {ends}"
            )
        try:
            _watch(look, side, head, ends)
        except (OSError, CommandError, ray_api.JobError, client.ApiException):
            time.sleep(POLL_SECONDS)  # that head is none yet, or no more
    return sides.stages(STAGES, start, ends)


def _watch(look: Look, side: Side, old: Any, ends: dict[str, float]) -> None:
    """Add to `ends` when each stage was over, in seconds since the epoch."""
    head = _next_head(look, side, old)
    ends.setdefault("container", time.time())
    ends.setdefault("gcs", look.wait_for_port(head, side.gcs_port))
    look.wait_for_port(head, DASHBOARD_PORT)  # cheaper than one port-forward after another
    with look.dashboard(head) as dashboard:
        while sides.workers(dashboard) < 1:
            time.sleep(POLL_SECONDS)
        ends.setdefault("dashboard", time.time())
        log = ray_api.run_job(dashboard, _JOB, timeout=TIMEOUT_SECONDS)
        ends["driver"], ends["task"] = ray_api.last_json(log)


def _next_head(look: Look, side: Side, old: Any) -> Any:
    """The head's pod as soon as another container than that of `old` runs in one."""
    before = {status.container_id for status in old.status.container_statuses}
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for pod in look.pods(side.head):
            statuses = pod.status.container_statuses or []
            running = {s.container_id for s in statuses if s.state.running}
            if not pod.metadata.deletion_timestamp and running and not running & before:
                return pod
        time.sleep(POLL_SECONDS)
    raise UserError(f"{side.name} has no new head after {TIMEOUT_SECONDS} s.")


def headless_remark(result: dict[str, Any]) -> str:
    """What is different here, and what it shows."""
    median = {stage: statistics.median(s) for stage, s in result["ours"]["samples"].items()}
    return (
        "As the deletion of the head's pod on Redis, but the Service by which workers find the GCS "
        "is made headless before, so that its name leads to the address of the pod, which is "
        f"another one afterwards: a task is done after {median['total']:.1f} s. The chart gives "
        "this Service an address of its own, which is the faster of the two."
    )


def remark(result: dict[str, Any]) -> str:
    """What the stages are, and where the time goes."""
    median = {stage: statistics.median(s) for stage, s in result["ours"]["samples"].items()}
    job = median["driver"] + median["task"]
    sides = ""
    if result["kuberay"]:
        sides = (
            "All sides have the same image, resources and machine, ours and KubeRay's the same "
            "Redis, and they take turns. "
        )
    return (
        "From the moment at which the head dies to the end of the first task, on a worker, of a "
        "job that is submitted as soon as a dashboard takes it. "
        f"{sides}`container` lasts until a new head's container runs, `gcs` until its GCS listens, "
        "`dashboard` until the node table can be read, `driver` until the job's driver is "
        "connected to Ray, and `task` until its task is done. Where the time goes: Kubernetes has "
        f"a new container after {median['container']:.1f} s (it looks after containers once a "
        f"second), {median['gcs']:.1f} s later the GCS listens (of a deleted pod the old head "
        f"leaves meanwhile), Ray's dashboard takes {median['dashboard']:.1f} s more, and "
        f"{job:.1f} s are the job's own: two Pythons that import Ray, and a worker process. The "
        "last two are Ray's, whoever starts it: the floor. What a user can change: more CPU for "
        "the head, of which a start takes as much as there is, and drivers that run on workers, "
        "which go on meanwhile."
    )
