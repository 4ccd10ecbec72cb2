"""A worker that has to go finishes what it runs, however it is sent away, and then goes at once."""

import time
import urllib.error
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

import pytest
from kubernetes import client

from harness import ray_api
from harness.ray_api import Dashboard

from .release import (
    JOBS,
    LEAVE_TIMEOUT_SECONDS,
    READY_TIMEOUT_SECONDS,
    Release,
    last_json,
    small,
    wait_for_log,
    wait_until,
)

SLEEPERS = JOBS / "sleepers.py"
TASKS = 50  # in four scenarios
CPUS = 5  # of each worker
# An autoscaler with a target that is never reached follows its lower limit.
UNREACHABLE = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Ti"}},
}


def pair(**worker: Any) -> dict[str, Any]:
    """Values of two workers that offer `CPUS` CPUs each, with the chart's own drain time."""
    defaults = {"autoscaling": {"enabled": False}, "replicas": 2, "drain": {"timeoutSeconds": 240}}
    return small(**{"numCpus": CPUS, **defaults, **worker})


def scale_in(release: Release) -> None:
    """Let the autoscaler do it, by its lower limit."""
    release.cluster.kubectl("patch", "hpa", f"--namespace={release.namespace}", "--patch",
                            '{"spec":{"minReplicas":1}}', release.worker_name())  # fmt: skip


def evict(release: Release) -> None:
    """Evict one worker; the disruption budget refuses the other one meanwhile."""
    core = client.CoreV1Api(release.api)
    first, second = sorted(release.pod_names("worker"))

    def _evict(name: str) -> None:
        body = client.V1Eviction(metadata=client.V1ObjectMeta(name=name))
        core.create_namespaced_pod_eviction(name, release.namespace, body)

    _evict(first)
    with pytest.raises(client.ApiException, match="disruption budget") as refused:
        _evict(second)
    assert refused.value.status == 429


def delete(release: Release) -> None:
    """Delete one worker's pod."""
    name = min(release.pod_names("worker"))
    client.CoreV1Api(release.api).delete_namespaced_pod(name, release.namespace)


def roll(release: Release) -> None:
    """Change the pods, so that the Deployment replaces both workers one by one."""
    release.cluster.kubectl("rollout", "restart", f"--namespace={release.namespace}",
                            f"deployment/{release.worker_name()}")  # fmt: skip


@pytest.mark.parametrize(
    ("send_away", "number"),
    [
        pytest.param(evict, 1, id="evict", marks=pytest.mark.scenario("drain.evict")),
        pytest.param(delete, 1, id="delete", marks=pytest.mark.slow),
        pytest.param(roll, 2, id="rolling", marks=pytest.mark.scenario("drain.rolling")),
    ],
)
@pytest.mark.needs(cpu=500, memory=4 * 1024)
def test_no_task_is_lost(
    install: Callable[..., Release], send_away: Callable[[Release], None], number: int
) -> None:
    """All of 50 tasks that may not be retried succeed; workers leave long before their time."""
    lose_no_task(install(pair()), send_away, number)


@pytest.mark.scenario("drain.hpa")
@pytest.mark.needs(cpu=500, memory=4 * 1024)
def test_no_task_is_lost_by_scale_in(install: Callable[..., Release], metrics: None) -> None:
    """The same where the autoscaler sends a worker away."""
    autoscaling = {
        "minReplicas": 2,
        "metrics": [UNREACHABLE],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    lose_no_task(install(pair(autoscaling=autoscaling)), scale_in, 1)


def lose_no_task(release: Release, send_away: Callable[[Release], None], number: int) -> None:
    """Send away a `number` of workers that run tasks; all tasks succeed, and the workers leave."""
    before = release.pod_names("worker")
    release.wait_for_workers()
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, SLEEPERS, str(TASKS), "12")
        wait_for_tasks(dashboard, 2)
        send_away(release)
        wait_until(
            f"{number} of the workers on their way out",
            lambda: before - release.pod_names("worker"),
            lambda gone: len(gone) == number,
            timeout=READY_TIMEOUT_SECONDS,
        )
        result = last_json(ray_api.wait(dashboard, job, timeout=600))
    assert result["lost"] == []
    assert len(result["done"]) == TASKS
    # Both worked, so whoever had to leave had something to finish.
    assert before <= set(result["done"])
    release.wait_until_gone("worker")


def wait_for_tasks(dashboard: Dashboard, workers: int, number: int = 0) -> None:
    """Wait until so many workers run a task, and so many tasks run together."""
    wait_until(
        f"{number} tasks on {workers} workers",
        lambda: [task["node_id"] for task in ray_api.running_tasks(dashboard)],
        lambda nodes: len(set(nodes)) == workers and len(nodes) >= number,
        timeout=READY_TIMEOUT_SECONDS,
    )


def test_worker_that_drains_gets_no_new_task(install: Callable[..., Release]) -> None:
    """While it finishes one, all others run elsewhere."""
    release = install(pair())
    release.wait_for_workers()
    with release.dashboard() as dashboard:
        # As many as one worker has room for and one more.
        ray_api.submit(dashboard, SLEEPERS, str(CPUS + 1), "40")
        wait_for_tasks(dashboard, 2, CPUS + 1)
        delete(release)
        (leaving,) = wait_until(
            "a worker on its way out",
            lambda: release.leaving("worker"),
            bool,
            timeout=READY_TIMEOUT_SECONDS,
        )
        result = last_json(ray_api.run_job(dashboard, SLEEPERS, "20", "0"))
        assert release.leaving("worker") == {leaving}, "it did not have anything to finish"
    assert result["lost"] == []
    assert leaving not in result["done"]


@pytest.mark.slow
@pytest.mark.needs(cpu=300, memory=4 * 1024)
def test_worker_that_ends_as_it_begins_does_not_stay(install: Callable[..., Release]) -> None:
    """Whatever its container is at when it is told: the drain time would keep it for minutes."""
    release = install(pair(replicas=None))
    release.wait_for_workers()
    for number in range(24):
        scale(release, 0)
        time.sleep(1)
        scale(release, 1)
        time.sleep(0.3 + number % 12 / 10)  # until shortly after a container begins
    scale(release, 0)
    wait_until(
        "nobody on the way out",
        lambda: release.leaving("worker"),
        lambda names: not names,
        timeout=60,
    )


def scale(release: Release, number: int) -> None:
    """Set the number of workers."""
    release.cluster.kubectl("scale", f"--namespace={release.namespace}", f"--replicas={number}",
                            f"deployment/{release.worker_name()}")  # fmt: skip


@pytest.mark.needs(cpu=500, memory=4 * 1024)
def test_uninstalled_release_finishes_what_it_runs(
    install: Callable[..., Release],
) -> None:
    """Tasks that run finish, their job ends, and the head goes last."""
    release = install(pair(numCpus=2))
    release.wait_for_workers()
    with release.dashboard() as dashboard:
        # Few and long, so that all run together on a slow machine too.
        job = ray_api.submit(dashboard, SLEEPERS, "4", "45")
        wait_for_tasks(dashboard, 2, 4)
        release.uninstall()
        log = last_words(dashboard, job)
    result = last_json(log)
    assert result["lost"] == []
    assert len(result["done"]) == 4
    release.wait_until_gone("head", "worker")


def last_words(dashboard: Dashboard, job: str) -> str:
    """The log of `job`, looked at until there is nobody to ask."""
    log, deadline = "", time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            log = ray_api.logs(dashboard, job)
        except (urllib.error.URLError, HTTPException, ConnectionError):
            return log
        time.sleep(0.2)
    raise AssertionError(f"the head is still there after {READY_TIMEOUT_SECONDS} s; {log}")


@pytest.mark.scenario("drain.actor")
def test_actor_and_driver_on_a_leaving_worker_finish(install: Callable[..., Release]) -> None:
    """Within the drain time an actor finishes its call, and so does a job's driver on the worker.

    The log of such a driver goes with its worker; that it succeeded is known.
    """
    release = install(
        small(numCpus=5, autoscaling={"enabled": False}, drain={"timeoutSeconds": 240})
    )
    release.wait_for_workers()
    with release.dashboard() as dashboard:
        actor = ray_api.submit(dashboard, JOBS / "held.py", "30")
        driver = ray_api.submit(dashboard, JOBS / "held.py", "30", num_cpus=1)
        for job in (actor, driver):
            wait_for_log(dashboard, job, "busy\n")
        delete(release)
        for job in (actor, driver):
            assert ray_api.ended(dashboard, job)["status"] == "SUCCEEDED"
    release.wait_until_gone("worker")


@pytest.mark.slow
@pytest.mark.needs(cpu=500, memory=4 * 1024)
def test_worker_stays_for_an_object_that_only_it_has(install: Callable[..., Release]) -> None:
    """An idle worker leaves at once, and one with such an object when nobody refers to it."""
    release = install(pair())
    release.wait_for_workers()
    workers = release.pod_names("worker")
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "only_copy.py")
        wait_for_log(dashboard, job, "made in ")
        (made,) = (name for name in workers if name in ray_api.logs(dashboard, job))
        for name in workers:
            client.CoreV1Api(release.api).delete_namespaced_pod(name, release.namespace)
        wait_until(
            f"{made} as the only one on its way out", lambda: release.leaving("worker"),
            lambda names: names == {made}, timeout=LEAVE_TIMEOUT_SECONDS,
        )  # fmt: skip
        tell(release)
        assert "intact" in ray_api.wait(dashboard, job).splitlines()
    release.wait_until_gone("worker")


@pytest.mark.needs(cpu=200, memory=4 * 1024)
def test_fates_of_what_is_not_done_in_time(install: Callable[..., Release]) -> None:
    """Beyond the drain time: what Ray may do again is done elsewhere, and the rest is lost."""
    release = install(
        small(numCpus=5, autoscaling={"enabled": False}, drain={"timeoutSeconds": 15})
    )
    release.wait_for_workers()
    (worker,) = release.pod_names("worker")
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "fates.py", "45")
        wait_for_log(dashboard, job, "ready\n")
        wait_for_tasks(dashboard, 1, 2)  # what does not run yet is free to run elsewhere
        delete(release)
        release.wait_until_gone("worker")
        tell(release)
        fates = last_json(ray_api.wait(dashboard, job))
        (replacement,) = release.pod_names("worker")
    # Whichever Ray notices first.
    assert fates.pop("task without retries") in {"WorkerCrashedError", "NodeDiedError"}
    assert fates == {
        "task": replacement,
        "object": replacement,
        "object that the driver has read": worker,
        "object put by a task": "OwnerDiedError",
        "object put by the driver": 2**20,
        "actor": "ActorDiedError",
        "actor with restarts": 1,
        "detached actor": "ActorDiedError",
        "detached actor with restarts": 1,
    }


def tell(release: Release) -> None:
    """Tell a driver on the head that it may go on."""
    (head,) = release.pod_names("head")
    release.cluster.kubectl("exec", f"--namespace={release.namespace}", head, "--",
                            "touch", "/tmp/go")  # fmt: skip  # noqa: S108
