"""The oldest supported Ray: it joins as the newest does, and its workers drain by a hook."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from harness import ray_api
from harness.cluster import Cluster
from harness.paths import PACKAGE

from .release import JOBS, READY_TIMEOUT_SECONDS, Release, last_json, small, wait_until

WORD_COUNT = PACKAGE / "jobs" / "word_count.py"
TASKS = 8


def old(ray: str, **worker: Any) -> dict[str, Any]:
    """Values of a release of this Ray, without an autoscaler."""
    return small(autoscaling={"enabled": False}, **worker) | {"image": {"tag": ray}}


@pytest.mark.scenario("join.old-ray")
def test_old_ray_joins_and_works(
    old_ray: str, install: Callable[..., Release], testbed: Cluster, namespace: str
) -> None:
    """Two groups are ready and share a job; an old session of the head goes from its claim."""
    values = old(old_ray, rayLabels={"market": "spot"})
    values["workerGroups"] = {"default": {}, "other": {}}
    values["head"]["persistence"] = {"enabled": True, "size": "1Gi", "keepSessions": 1}
    release = install(values)
    release.wait_for_workers()

    result = last_json(release.run_job(WORD_COUNT))
    assert result["equal"], f"the workers counted other words: {result}"
    assert set(result["tasks_per_node"]) == release.pod_names("worker")
    (first,) = sessions(testbed, release)

    for _ in range(2):
        (head,) = release.pod_names("head")
        testbed.kubectl("delete", "pod", head, f"--namespace={namespace}")
        release.wait_for_workers()
    assert first not in sessions(testbed, release)


@pytest.mark.scenario("drain.old-ray")
def test_worker_of_an_old_ray_finishes_its_tasks(
    old_ray: str, install: Callable[..., Release], testbed: Cluster, namespace: str
) -> None:
    """A deleted worker gets no new tasks, finishes those it has, and leaves right after them."""
    release = install(old(old_ray, numCpus=2 * TASKS, drain={"timeoutSeconds": 240}))
    release.wait_for_workers()
    (leaving,) = release.pod_names("worker")

    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "hold.py", str(TASKS), str(2**20))
        wait_until(
            "all tasks to run",
            lambda: matching(testbed, release, leaving, "/tmp/held-*"),  # noqa: S108
            lambda running: len(running) == TASKS,
            timeout=READY_TIMEOUT_SECONDS,
        )
        testbed.kubectl("scale", f"--namespace={namespace}", "--replicas=2",
                        f"deployment/{release.worker_name()}")  # fmt: skip
        release.wait_for_workers()
        testbed.kubectl("delete", "pod", leaving, f"--namespace={namespace}", "--wait=false")
        log = ray_api.run_job(dashboard, JOBS / "where_else.py", str(4 * TASKS))
        testbed.kubectl("exec", f"--namespace={namespace}", leaving, "--", "touch", "/tmp/go")  # noqa: S108
        ended = last_json(ray_api.wait(dashboard, job))

    assert ended == TASKS * [leaving]
    assert leaving not in last_json(log)
    wait_until(
        "the drained worker to be gone",
        lambda: phase(release, leaving),
        lambda seen: seen is None,
        timeout=30,
    )


def sessions(testbed: Cluster, release: Release) -> set[str]:
    """The sessions of Ray on the head's claim."""
    (head,) = release.pod_names("head")
    return matching(testbed, release, head, "/tmp/ray/session_2*")  # noqa: S108


def matching(testbed: Cluster, release: Release, pod: str, pattern: str) -> set[str]:
    """The paths in the pod's Ray container that match a shell's `pattern`."""
    command = ("sh", "-c", f"ls -d {pattern} 2>/dev/null || true")
    return set(
        testbed.kubectl("exec", f"--namespace={release.namespace}", pod, "--", *command).split()
    )


def phase(release: Release, pod: str) -> str | None:
    """The phase of a pod; None if there is no such pod."""
    try:
        return str(
            client.CoreV1Api(release.api).read_namespaced_pod(pod, release.namespace).status.phase
        )
    except client.ApiException as error:
        if error.status != 404:
            raise
        return None
