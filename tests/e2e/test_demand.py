"""Worker groups follow what Ray is asked for, beside what their workers use."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kubernetes import client

from harness import ray_api
from harness.process import CommandError

from .release import (
    JOBS,
    SCALE_TIMEOUT_SECONDS,
    Release,
    last_json,
    small,
    wait_for_log,
    wait_until,
)
from .test_drain import wait_for_tasks

ASKS = JOBS / "asks.py"
HOLD = JOBS / "hold.py"
SAW_TOOTH = JOBS / "saw_tooth.py"
SAW_SECONDS = 15 * 60
GO = "open('/tmp/go', 'w')"  # which tasks of HOLD wait for
QUIET_SECONDS = 10
RESIDENT = 40 * 2**20  # bytes that the sidecar may hold


def demanding(**groups: Any) -> dict[str, Any]:
    """Values of groups that follow demand, and soon forget it."""
    demand = {"enabled": True, "quietSeconds": QUIET_SECONDS}
    # Of a CPU request as small as theirs an idle Ray takes too much for its group to come back.
    autoscaling = {"maxReplicas": 3, "targetCPUUtilizationPercentage": 0, "demand": demand}
    return small(autoscaling=autoscaling) | {"workerGroups": groups}


def events(release: Release, reason: str) -> list[str]:
    """What the sidecar has told under this reason."""
    core = client.CoreV1Api(release.api)
    found = core.list_namespaced_event(release.namespace, field_selector=f"reason={reason}")
    return [event.message for event in found.items]


def run_in(release: Release, pod: str, program: str, container: str = "ray-worker") -> str:
    """Run the Python text `program` in a pod of the release, and return what it prints."""
    where = (f"--namespace={release.namespace}", pod, f"--container={container}")
    return release.cluster.kubectl("exec", *where, "--", "python", "-c", program)


def resident(release: Release, head: str) -> int:
    """Bytes of memory that the sidecar of the head's pod holds."""
    status = run_in(release, head, "print(open('/proc/1/status').read())", container="demand")
    (kibibytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) * 1024


def workers(release: Release, number: int, group: str = "default") -> set[str]:
    """The group's pods once there are `number` of them."""
    return wait_until(
        f"{number} workers of {group}",
        lambda: {name for name in release.pod_names("worker") if f"-worker-{group}-" in name},
        lambda names: len(names) == number,
        timeout=SCALE_TIMEOUT_SECONDS,
    )


def floor(release: Release, expected: int) -> None:
    """Wait until the default group's autoscaler has this floor."""
    wait_until(
        f"a floor of {expected} workers",
        lambda: release.autoscaler().spec.min_replicas,
        lambda seen: seen == expected,
        timeout=SCALE_TIMEOUT_SECONDS,
    )


@pytest.mark.scenario("demand.tasks")
@pytest.mark.scenario("demand.sidecar-killed")
@pytest.mark.scenario("demand.infeasible")
@pytest.mark.needs(cpu=300, memory=5 * 1024)
def test_waiting_tasks_get_workers_also_from_a_sidecar_that_was_killed(
    install: Callable[..., Release],
) -> None:
    """The tasks use nothing: no autoscaler would see them. What never fits is named."""
    release = install(demanding(default={}))
    (head,) = release.pod_names("head")

    with release.dashboard() as dashboard:
        first = ray_api.submit(dashboard, HOLD, "2", "0")
        workers(release, 2)
        floor(release, 2)
        assert events(release, "ScaledOutOnDemand")[0].startswith("From 1 to 2 workers: ")

        with suppress(CommandError):  # what kills the container's first process goes with it
            run_in(release, head, "import os; os.kill(1, 15)", container="demand")
        second = ray_api.submit(dashboard, HOLD, "1", "0")
        there = workers(release, 3)
        floor(release, 3)

        impossible = ray_api.submit(dashboard, ASKS, "unicorn")
        wait_until(
            "a word about the unicorn",
            lambda: events(release, "ImpossibleDemand"),
            lambda seen: any(message.endswith(": unicorn: 1") for message in seen),
            timeout=SCALE_TIMEOUT_SECONDS,
        )
        ray_api.stop(dashboard, impossible)
        for pod in there:
            release.wait_for_workers()
            run_in(release, pod, GO)
        ran_on = [pod for job in (first, second) for pod in last_json(ray_api.wait(dashboard, job))]
    assert there <= set(ran_on)
    floor(release, 1)
    assert resident(release, head) < RESIDENT


@pytest.mark.slow
@pytest.mark.scenario("demand.deletion-cost")
@pytest.mark.needs(cpu=300, memory=5 * 1024 + 128)
def test_scale_in_takes_the_idle_worker_though_the_busy_one_is_younger(
    install: Callable[..., Release], metrics: None
) -> None:
    """Kubernetes takes the one that was ready last, unless it costs more."""
    values = demanding(default={})
    values["worker"]["autoscaling"] |= {
        "maxReplicas": 2,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
    }
    values["worker"]["autoscaling"]["demand"]["podDeletionCost"] = True
    # The processes of two tasks and two idle Rays have to fit into one worker: the chart's own is.
    del values["worker"]["resources"]["requests"]["memory"]
    release = install(values)
    (older,) = workers(release, 1)
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, HOLD, "2", "0")
        (younger,) = workers(release, 2) - {older}
        release.wait_for_workers()
        wait_for_tasks(dashboard, workers=2)
        run_in(release, older, GO)
        assert workers(release, 1) == {younger}
        run_in(release, younger, GO)
        assert set(last_json(ray_api.wait(dashboard, job))) == {older, younger}


@pytest.mark.slow
@pytest.mark.scenario("demand.saw-tooth")
@pytest.mark.needs(cpu=300, memory=5 * 1024)
def test_saw_tooth_has_hardly_a_worker_come_or_go_for_nothing(
    install: Callable[..., Release], metrics: None
) -> None:
    """Nothing but the floor holds workers through a short valley; in a long one they go.

    A step is needless if the next one takes it back within the quiet time: it should have waited,
    or there was no call for it.
    """
    quiet_seconds = 90  # a short valley is 70 s for the third worker, with the slope on either side
    values = demanding(default={})
    at_once = {"type": "Percent", "value": 100, "periodSeconds": 15}
    values["worker"]["autoscaling"] |= {
        "demand": {"enabled": True, "quietSeconds": quiet_seconds},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [at_once]}},
    }
    release = install(values)
    release.wait_for_workers()
    apps = client.AppsV1Api(release.api)
    steps = [(0, 1)]  # seconds, and the number of workers from then on
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, SAW_TOOTH, str(SAW_SECONDS))
        began = time.monotonic()

        def look() -> str:
            scale = apps.read_namespaced_deployment_scale(release.worker_name(), release.namespace)
            if (size := scale.spec.replicas) != steps[-1][1]:
                steps.append((round(time.monotonic() - began), size))
            return str(ray_api.call(dashboard, f"/api/jobs/{job}")["status"])

        wait_until(
            "the end of the load", look, lambda s: s in ray_api.ENDED, timeout=SAW_SECONDS + 120
        )
    needless = [
        (back, size)
        for (_, before), (there, between), (back, size) in zip(
            steps, steps[1:], steps[2:], strict=False
        )
        if (between - before) * (size - between) < 0 and back - there < quiet_seconds
    ]
    print(f"needless: {needless} of {steps}")
    assert {size for _, size in steps} == {1, 2, 3}, steps
    assert len(needless) <= 1, f"{needless} of {steps}"


@pytest.mark.slow
@pytest.mark.scenario("demand.zero")
@pytest.mark.scenario("demand.two-shapes")
@pytest.mark.scenario("demand.placement-group")
@pytest.mark.needs(cpu=400, memory=6 * 1024)
def test_each_demand_gets_the_group_that_it_fits_one_of_them_from_zero(
    install: Callable[..., Release],
) -> None:
    rare = {"rayResources": {"tool": 1}, "autoscaling": {"minReplicas": 0, "maxReplicas": 1}}
    release = install(demanding(default={}, rare=rare), wait=False)  # not for those that go
    workers(release, 0, "rare")
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, ASKS, "tool")
        wait_for_log(dashboard, job, "-worker-rare-", timeout=SCALE_TIMEOUT_SECONDS)
        assert len(workers(release, 1)) == 1

        spread = last_json(ray_api.run_job(dashboard, ASKS, "3"))
    assert len(set(spread)) == len(spread) == 3
    workers(release, 0, "rare")
    assert events(release, "ScaledToZero")
