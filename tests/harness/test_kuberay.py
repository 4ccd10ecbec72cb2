"""The RayCluster that benchmarks compare a release with."""

from typing import Any

from harness import kuberay, redis
from harness.helm import template

WORKERS = {"worker": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}}


def made(values: dict[str, Any], autoscaler: dict[str, Any] | None = None) -> dict[str, Any]:
    """The spec of the RayCluster equal to a release with `values`."""
    spec: dict[str, Any] = kuberay.ray_cluster("theirs", template(values), autoscaler)["spec"]
    return spec


def containers(values: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The Ray containers of head and workers: ours, and theirs."""
    deployments = [obj for obj in template(values) if obj["kind"] == "Deployment"]
    ours = [obj["spec"]["template"]["spec"]["containers"][0] for obj in deployments]
    spec = made(values)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return ours, [group["template"]["spec"]["containers"][0] for group in groups]


def test_image_resources_and_restrictions_are_equal() -> None:
    ours, theirs = containers({})
    for field in ("image", "name", "resources", "securityContext"):
        assert [c[field] for c in theirs] == [c[field] for c in ours], field


def test_head_runs_no_tasks_on_either_side() -> None:
    assert made({})["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_workers_are_as_many_as_ours() -> None:
    (group,) = made(WORKERS)["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 5)


def test_autoscaler_is_on_where_it_is_asked_for() -> None:
    assert made({})["enableInTreeAutoscaling"] is False
    spec = made(WORKERS, {"version": "v2"})
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"] == {"version": "v2"}
    assert spec["workerGroupSpecs"][0]["template"]["spec"]["restartPolicy"] == "Never"


def test_its_autoscaler_is_restricted_as_our_head_is() -> None:
    release = template({})
    options = kuberay.autoscaler(release)
    assert options is not None
    ours, _ = containers({})
    assert options["securityContext"] == ours[0]["securityContext"]


def test_nothing_scales_where_ours_does_not() -> None:
    release = template({"worker": {"autoscaling": {"enabled": False}}})
    assert kuberay.autoscaler(release) is None


def test_redis_is_ours() -> None:
    reference = {"name": "redis", "key": "redis-password"}
    assert made(redis.fault_tolerance())["gcsFaultToleranceOptions"] == {
        "redisAddress": "redis:6379",
        "redisPassword": {"valueFrom": {"secretKeyRef": reference}},
    }
    assert "gcsFaultToleranceOptions" not in made({})
