"""Random kills under load: `./scripts/test chaos --seed 7 --kills 20`.

Not collected with the scenarios, since it takes long and no two runs are the same. Before each kill
a job begins on a worker, whose tasks may be tried again; after it the cluster becomes whole by
itself, and has all that Ray promises to keep: the job ends as if nothing had happened unless its
own driver was hit, a detached actor has its state unless its own worker was, and no job is
forgotten.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client

from harness import kills, ray_api, redis
from harness.cluster import Cluster
from harness.pods import is_ready

from .release import JOBS, Release, last_json, small, wait_for_log, wait_until
from .test_fault_tolerance import delete_pod, head, kill_container, kill_gcs, status

WORKERS = 2
TASKS = 24
# A container that is killed again and again waits longer each time before it starts, up to 300 s.
WHOLE_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Killed:
    """What was killed, the worker if it was one, and whether the head goes with it."""

    what: str
    worker: str | None = None
    head: bool = True


Kill = Callable[[Release, random.Random], Killed]


def of_head(what: str, kill: Callable[[Release], None]) -> Kill:
    """A kill that the head does not survive."""

    def _kill(release: Release, _: random.Random) -> Killed:
        kill(release)
        return Killed(what)

    return _kill


def of_worker(what: str, kill: Callable[[Cluster, Any], None]) -> Kill:
    """A kill of one of the workers."""

    def _kill(release: Release, chance: random.Random) -> Killed:
        pods = sorted(release.pods("worker"), key=lambda pod: str(pod.metadata.name))
        pod = chance.choice(pods)
        kill(release.cluster, pod)
        return Killed(f"{what} {pod.metadata.name}", pod.metadata.name, head=False)

    return _kill


def kill_raylet(cluster: Cluster, pod: Any) -> None:
    """Kill the raylet alone, as if it had crashed."""
    kills.process(cluster, pod, "raylet")


def redis_pod(release: Release) -> Any:
    """The pod of the Redis."""
    return client.CoreV1Api(release.api).read_namespaced_pod("redis-0", release.namespace)


KILLS: list[Kill] = [
    of_head("the head's container", kill_container),
    of_head("the head's pod", delete_pod),
    of_head("the GCS", kill_gcs),
    of_head("the head's raylet", lambda release: kill_raylet(release.cluster, head(release))),
    of_head("the Redis", lambda release: kills.container(release.cluster, redis_pod(release))),
    of_worker("the raylet of", kill_raylet),
    of_worker("the container of", kills.container),
    of_worker("the pod", kills.delete),
]


def drawn(chance: random.Random) -> Iterator[Kill]:
    """Kills in a random order, in which each kind comes as often as the others."""
    while True:
        yield from chance.sample(KILLS, len(KILLS))


def containers(release: Release, component: str) -> set[str]:
    """The ids of the containers of a component's pods that are there to stay."""
    return {
        str(status.container_id)
        for pod in release.pods(component)
        for status in pod.status.container_statuses or []
    }


def lacks(release: Release) -> list[str]:
    """What keeps the cluster from being whole."""
    found = []
    for component, wanted in (("head", 1), ("worker", WORKERS)):
        pods = release.pods(component)
        ready = [p.metadata.name for p in pods if is_ready(p)]
        if len(ready) != wanted or len(pods) != wanted:
            found.append(f"{len(pods)} {component} pods, ready: {ready}")
        found += [f"{name} is on its way out" for name in release.leaving(component)]
    if not is_ready(redis_pod(release)):
        found.append("the Redis is not ready")
    if not found:
        names = release.pod_names("head") | release.pod_names("worker")
        try:
            with release.dashboard() as dashboard:
                nodes = sorted(node["node_name"] for node in ray_api.alive_nodes(dashboard))
        except OSError as error:
            return [str(error)]
        if nodes != sorted(names):
            found.append(f"ALIVE nodes {nodes} in the pods {sorted(names)}")
    return found


def wait_until_whole(release: Release) -> None:
    """Wait until every pod is ready, none leaves, and each is one ALIVE node."""
    wait_until(
        "a whole cluster",
        lambda: lacks(release),
        lambda found: not found,
        timeout=WHOLE_TIMEOUT_SECONDS,
    )


def kept(release: Release, note: int) -> dict[str, Any]:
    """What the detached actor has, after one more note."""
    log = release.run_job(JOBS / "keeper.py", str(note))
    answer: dict[str, Any] = last_json(log)
    return answer


def begin_batch(release: Release) -> tuple[str, str]:
    """Start the load with its driver on a worker; its job, and the driver's pod."""
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "batch.py", str(TASKS), num_cpus=1)
        wait_for_log(dashboard, job, "ready")
        words = ray_api.logs(dashboard, job).split()
    return job, words[words.index("ready") + 1]


def end_batch(release: Release, job: str, *, driver_hit: bool) -> None:
    """Wait for the end of the load, which is its success unless its driver was hit."""
    with release.dashboard() as dashboard:
        ended = ray_api.ended(dashboard, job, timeout=WHOLE_TIMEOUT_SECONDS)
        if driver_hit:  # and its log has gone with it
            assert ended["status"] in ("FAILED", "SUCCEEDED"), ended
            return
        log = ray_api.logs(dashboard, job)
    assert ended["status"] == "SUCCEEDED", f"{ended['message']}\n{log}"
    assert last_json(log) == sum(range(TASKS)), "a task is missing"


@pytest.mark.scenario("chaos.kills")
@pytest.mark.needs(cpu=300, memory=3 * 1024)
@pytest.mark.usefixtures("own_cluster")
def test_cluster_survives_random_kills(
    install: Callable[..., Release],
    testbed: Cluster,
    namespace: str,
    api: client.ApiClient,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    seed, times = pytestconfig.getoption("seed"), pytestconfig.getoption("kills")
    print(f"\nchaos: seed {seed}, {times} kills", flush=True)
    record_property("seed", seed)
    chance = random.Random(seed)  # noqa: S311
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    worker = {"autoscaling": {"enabled": False}, "replicas": WORKERS, "numCpus": 2}
    release = install(small(**worker, rayResources={"worker": 1}) | redis.fault_tolerance())
    wait_until_whole(release)
    has = kept(release, 0)
    jobs = []

    for number, kill in zip(range(1, times + 1), drawn(chance), strict=False):
        job, driver = begin_batch(release)
        jobs.append(job)
        before = {component: containers(release, component) for component in ("head", "worker")}
        began = time.monotonic()
        killed = kill(release, chance)
        hit = "head" if killed.head else "worker"
        wait_until(
            f"other containers after the kill of {killed.what}",
            lambda hit=hit: containers(release, hit),  # type: ignore[misc]
            lambda seen, hit=hit, before=before: seen != before[hit],  # type: ignore[misc]
            timeout=WHOLE_TIMEOUT_SECONDS,
        )
        wait_until_whole(release)
        line = f"{number}. {killed.what}: whole after {time.monotonic() - began:.1f} s"
        print(f"chaos: {line}", flush=True)
        record_property("kill", line)

        end_batch(release, job, driver_hit=killed.worker == driver)
        had, has = has, kept(release, number)
        if killed.worker == had["pod"]:
            assert has["life"] != had["life"], f"the actor outlived its worker: {had}, {has}"
            assert has["notes"] == [number]
        else:
            assert has == had | {"notes": [*had["notes"], number]}, "the actor has lost its state"

    wait_until_whole(release)
    with release.dashboard() as dashboard:
        known = {job: status(dashboard, job) for job in jobs}
    assert set(known.values()) <= {"SUCCEEDED", "FAILED"}, known
