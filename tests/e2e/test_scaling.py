"""Worker groups follow what their workers really use: out under load, and back in after it."""

from collections.abc import Callable
from typing import Any

import pytest

from harness import ray_api

from .release import JOBS, SCALE_TIMEOUT_SECONDS, Release, small, wait_until

LOAD = JOBS / "load.py"
WHERE = JOBS / "where.py"
# Beside the 290 MB of an idle Ray this is more than 80 % of 1Gi for one worker, and less for two.
LOAD_MEBIBYTES = "700"


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
    ("load", "idle", "cpu_request"),
    [
        pytest.param(
            ("memory", LOAD_MEBIBYTES),
            "cpu",
            "500m",  # the chart's own: what the load's start takes of it is far from the target
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
            id="cpu",
            marks=[
                pytest.mark.scenario("scale-out.cpu"),
                pytest.mark.needs(cpu=900, memory=3 * 1024, alone=True),
            ],
        ),
    ],
)
def test_group_grows_when_a_resource_passes_its_target(
    calm: Callable[..., Release], load: tuple[str, ...], idle: str, cpu_request: str
) -> None:
    """A worker with a load is joined by one that takes the next task; the other metric is low."""
    release = calm(scaling(cpu_request))
    (loaded,) = release.pod_names("worker")

    with release.dashboard() as url:
        ray_api.submit(url, LOAD, *load)
        account = release.wait_for_rescale(1)
        seen = release.utilization()
        assert f"New size: 2; reason: {load[0]} resource utilization" in account
        assert seen[idle] < release.targets()[idle], f"{idle} was not idle: {seen}"

        release.wait_for_workers()
        (added,) = release.pod_names("worker") - {loaded}
        # The actor that makes the load has the only CPU of the first worker.
        assert ray_api.run_job(url, WHERE).split()[-1] == added


@pytest.mark.scenario("scale-in.after-load")
@pytest.mark.needs(cpu=700, memory=3 * 1024)
def test_group_shrinks_when_its_load_is_over(calm: Callable[..., Release]) -> None:
    """The second worker leaves Ray's node table and Kubernetes, and the cluster works on."""
    release = calm(scaling(cpu_request="300m"))
    with release.dashboard() as url:
        job = ray_api.submit(url, LOAD, "memory", LOAD_MEBIBYTES)
        release.wait_for_rescale(1)
        release.wait_for_workers()
        assert len(release.joined()) == 2

        ray_api.stop(url, job)
        account = release.wait_for_rescale(2)
        assert "New size: 1; reason: All metrics below target" in account
        left = wait_until(
            "one worker in Ray's node table, the one pod that is left",
            lambda: (release.joined(), release.pod_names("worker")),
            lambda seen: seen[0] == seen[1] and len(seen[0]) == 1,
            timeout=SCALE_TIMEOUT_SECONDS,
        )
        assert {ray_api.run_job(url, WHERE).split()[-1]} == left[1]
