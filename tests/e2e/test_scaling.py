"""Worker groups follow what their workers really use: out under load, and back in after it."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from harness import ray_api
from harness.cluster import Cluster

from .release import (
    JOBS,
    SCALE_TIMEOUT_SECONDS,
    START_SECONDS,
    Release,
    last_json,
    small,
    wait_until,
)

LOAD = JOBS / "load.py"
WHERE = JOBS / "where.py"
PLACEMENT = JOBS / "placement.py"
FILL = JOBS / "fill.py"
# Beside the 290 MB of an idle Ray this is more than 80 % of 1Gi for one worker, and less for two.
LOAD_MEBIBYTES = "700"
# How often an autoscaler of the tests' own cluster looks, and how many looks show that it has
# nothing to do.
LOOK_SECONDS = 5
LOOKS = 6


def scaling(cpu_request: str) -> dict[str, Any]:
    """Values of one group of one or two workers, with the chart's own targets.

    Only the wait before scale-in is shorter than the chart's, which is five minutes.
    """
    values = small(autoscaling={"behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}}})
    values["worker"]["resources"] = {"requests": {"cpu": cpu_request, "memory": "1Gi"}}
    return values


@pytest.fixture
def calm(install: Callable[..., Release], metrics: None) -> Callable[[dict[str, Any]], Release]:
    """Install a release and wait until its autoscaler sees all metrics below their targets."""

    def _calm(values: dict[str, Any]) -> Release:
        release = install(values)
        release.wait_for_workers()
        release.wait_for_calm()
        assert release.rescales() == []
        return release

    return _calm


@pytest.mark.parametrize(
    ("load", "idle", "cpu_request", "scale_out_window"),
    [
        pytest.param(
            ("memory", LOAD_MEBIBYTES),
            "cpu",
            "500m",
            START_SECONDS,
            id="memory",
            marks=[
                pytest.mark.scenario("scale-out.memory"),
                pytest.mark.needs(cpu=1100, memory=3 * 1024),
            ],
        ),
        pytest.param(
            ("cpu",),
            "memory",
            "400m",
            0,
            id="cpu",
            marks=[
                pytest.mark.scenario("scale-out.cpu"),
                pytest.mark.needs(cpu=900, memory=3 * 1024, alone=True),
            ],
        ),
    ],
)
def test_group_grows_when_a_resource_passes_its_target(
    calm: Callable[..., Release],
    load: tuple[str, ...],
    idle: str,
    cpu_request: str,
    scale_out_window: int,
) -> None:
    """A worker with a load is joined by one that takes the next task; the other metric is low."""
    values = scaling(cpu_request)
    values["worker"]["autoscaling"]["behavior"]["scaleUp"] = {
        "stabilizationWindowSeconds": scale_out_window
    }
    release = calm(values)
    (loaded,) = release.pod_names("worker")

    with release.dashboard() as dashboard:
        ray_api.submit(dashboard, LOAD, *load)
        account = release.wait_for_rescale(1)
        seen = release.utilization()
        assert f"New size: 2; reason: {load[0]} resource utilization" in account
        assert seen[idle] < release.targets()[idle], f"{idle} was not idle: {seen}"

        release.wait_for_workers()
        (added,) = release.pod_names("worker") - {loaded}
        # The actor that makes the load has the only CPU of the first worker.
        assert last_json(ray_api.run_job(dashboard, WHERE)) == added


@pytest.mark.scenario("scale-in.after-load")
@pytest.mark.needs(cpu=700, memory=3 * 1024)
def test_group_shrinks_when_its_load_is_over(calm: Callable[..., Release]) -> None:
    """The second worker leaves Ray's node table and Kubernetes, and the cluster works on."""
    release = calm(scaling(cpu_request="300m"))
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, LOAD, "memory", LOAD_MEBIBYTES)
        release.wait_for_rescale(1)
        release.wait_for_workers()
        assert len(release.joined()) == 2

        ray_api.stop(dashboard, job)
        account = release.wait_for_rescale(2)
        assert "New size: 1; reason: All metrics below target" in account
        left = wait_until(
            "one worker in Ray's node table, the one pod that is left",
            lambda: (release.joined(), release.pod_names("worker")),
            lambda seen: seen[0] == seen[1] and len(seen[0]) == 1,
            timeout=SCALE_TIMEOUT_SECONDS,
        )
        assert {last_json(ray_api.run_job(dashboard, WHERE))} == left[1]


@pytest.mark.scenario("scale-in.object-store")
@pytest.mark.needs(cpu=200, memory=5 * 1024)
def test_group_shrinks_though_its_object_stores_were_full(
    install: Callable[..., Release], metrics: None
) -> None:
    """The chart's own worker memory has room for what a once-filled store never gives back."""
    release = install(small(
        resources={"requests": {"cpu": "50m", "memory": "2Gi"}},
        autoscaling={
            "minReplicas": 2,
            "targetCPUUtilizationPercentage": 0,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    ))  # fmt: skip
    release.wait_for_rescale(1)  # from the one worker that a Deployment begins with
    release.wait_for_workers()
    with release.dashboard() as dashboard:
        filled = last_json(ray_api.run_job(dashboard, FILL))
    assert filled.keys() == release.pod_names("worker")
    for worker, size in filled.items():
        assert size > 400 * 2**20
        assert kept_in_store(release, worker) >= size, "the objects are gone: so is the store"
    # An idle worker without a store uses less.
    wait_until(
        "the stores in the metrics", release.utilization,
        lambda seen: seen.get("memory", 0) > 100 * min(filled.values()) / 2**31,
        timeout=SCALE_TIMEOUT_SECONDS,
    )  # fmt: skip
    release.cluster.kubectl("patch", "hpa", f"--namespace={release.namespace}", "--patch",
                            '{"spec":{"minReplicas":1}}', release.worker_name())  # fmt: skip
    account = release.wait_for_rescale(2)
    assert "New size: 1; reason: All metrics below target" in account


def kept_in_store(release: Release, worker: str) -> int:
    """The bytes that lie in a worker's /dev/shm."""
    used = release.cluster.kubectl("exec", f"--namespace={release.namespace}", worker, "--",
                                   "df", "--output=used", "--block-size=1", "/dev/shm")  # fmt: skip  # noqa: S108
    return int(used.split()[-1])


@pytest.mark.scenario("scale.two-groups")
@pytest.mark.needs(cpu=1100, memory=5 * 1024)
def test_groups_scale_by_themselves(install: Callable[..., Release], metrics: None) -> None:
    """A load on one group makes it grow, and the other one stays as it is."""
    values = scaling(cpu_request="250m")
    # A start takes CPU, on a slow machine more than the target: only the load itself is to count.
    values["worker"]["autoscaling"]["targetCPUUtilizationPercentage"] = 0
    values["workerGroups"] = {"default": {}, "busy": {"rayResources": {"busy": 1}}}
    release = install(values)
    release.wait_for_workers()
    for group in ("default", "busy"):
        release.wait_for_calm(group)
    with release.dashboard() as dashboard:
        ray_api.submit(dashboard, LOAD, "memory", LOAD_MEBIBYTES, "busy")
        assert "New size: 2; reason: memory" in release.wait_for_rescale(1, "busy")
        release.wait_for_workers()
    assert len([name for name in release.joined() if "-busy-" in name]) == 2
    assert release.rescales("default") == []


@pytest.mark.needs(cpu=200, memory=3 * 1024)
def test_ray_places_tasks_by_what_is_declared(install: Callable[..., Release]) -> None:
    """Memory in use keeps no task away, and memory that tasks and actors declare does."""
    values = small(autoscaling={"enabled": False}, replicas=2, resources={
        "requests": {"cpu": "50m", "memory": "1Gi"}, "limits": {"memory": "2Gi"},
    })  # fmt: skip
    release = install(values)
    release.wait_for_workers()
    workers = release.pod_names("worker")
    # Half of the 1.5Gi that a worker offers to Ray, and a bit: there is no room for two.
    silent = last_json(release.run_job(PLACEMENT, "800", "silent"))
    assert set(silent["tasks"]) == workers
    declared = last_json(release.run_job(PLACEMENT, "800", "declared"))
    assert set(declared["tasks"]) == workers - {declared["actor"]}


@pytest.mark.scenario("scale.metrics-server-outage")
@pytest.mark.needs(cpu=300, memory=3 * 1024, alone=True)
def test_nothing_scales_in_while_metrics_are_missing(
    own_cluster: Cluster, install: Callable[..., Release], metrics: None
) -> None:
    """What nobody measures is not taken for idle; the autoscaler goes on when metrics are back."""
    values = scaling(cpu_request="100m")
    values["worker"]["autoscaling"] |= {"minReplicas": 2, "targetCPUUtilizationPercentage": 0}
    release = install(values)
    release.wait_for_rescale(1)  # from the one worker that a Deployment begins with
    release.wait_for_workers()
    release.wait_for_calm()

    def metrics_servers(number: int) -> None:
        own_cluster.kubectl("scale", "--namespace=kube-system", f"--replicas={number}",
                            "deployment/metrics-server")  # fmt: skip

    metrics_servers(0)
    try:
        wait_until(
            "no metrics", lambda: active(release), lambda seen: seen == "FailedGetResourceMetric",
            timeout=SCALE_TIMEOUT_SECONDS,
        )  # fmt: skip
        own_cluster.kubectl("patch", "hpa", f"--namespace={release.namespace}", "--patch",
                            '{"spec":{"minReplicas":1}}', release.worker_name())  # fmt: skip
        deadline = time.monotonic() + LOOKS * LOOK_SECONDS
        while time.monotonic() < deadline:
            assert release.autoscaler().status.desired_replicas == 2
            time.sleep(1)
        assert len(release.rescales()) == 1
        assert len(release.pod_names("worker")) == 2
    finally:
        metrics_servers(1)
    account = release.wait_for_rescale(2)
    assert "New size: 1; reason: All metrics below target" in account


def active(release: Release) -> str:
    """The reason why the group's autoscaler works, or does not."""
    conditions = release.autoscaler().status.conditions
    return next(str(c.reason) for c in conditions if c.type == "ScalingActive")
