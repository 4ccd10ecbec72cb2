"""Worker groups scale on what they use, and one owner alone sets their number."""

import pytest

from harness.helm import template

from .objects import Object, of_component, worker


def autoscaler(worker_values: Object) -> Object:
    """The default group's autoscaler with these values in `worker`."""
    return worker(template({"worker": worker_values}), kind="HorizontalPodAutoscaler")


def targets(hpa: Object) -> dict[str, int]:
    """Target utilisation per resource, whatever kind of metric it is."""
    sources = (
        metric.get("resource", metric.get("containerResource")) for metric in hpa["spec"]["metrics"]
    )
    return {source["name"]: source["target"]["averageUtilization"] for source in sources}


def test_group_scales_on_cpu_and_memory_by_default(defaults: list[Object]) -> None:
    hpa = worker(defaults, kind="HorizontalPodAutoscaler")
    assert targets(hpa) == {"cpu": 60, "memory": 80}
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (1, 2)


def test_autoscaler_targets_the_groups_deployment(defaults: list[Object]) -> None:
    hpa = worker(defaults, kind="HorizontalPodAutoscaler")
    assert hpa["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": worker(defaults)["metadata"]["name"],
    }


def test_deployment_says_no_replicas_beside_an_autoscaler(defaults: list[Object]) -> None:
    assert "replicas" not in worker(defaults)["spec"]


def test_replicas_count_while_autoscaling_is_off() -> None:
    objects = template({"worker": {"autoscaling": {"enabled": False}, "replicas": 3}})
    assert worker(objects)["spec"]["replicas"] == 3
    assert not of_component(objects, "HorizontalPodAutoscaler", "worker")


def test_nobody_sets_the_number_while_autoscaling_is_off_and_no_number_is_given() -> None:
    objects = template({"worker": {"autoscaling": {"enabled": False}}})
    assert "replicas" not in worker(objects)["spec"]
    assert not of_component(objects, "HorizontalPodAutoscaler", "worker")


def test_number_that_is_written_is_marked_so() -> None:
    """An upgrade that stops to write it finds the mark, and keeps the live number."""
    objects = template({"worker": {"autoscaling": {"enabled": False}, "replicas": 3}})
    assert worker(objects)["metadata"]["annotations"] == {"ray-cluster/replicas": "written"}
    assert "annotations" not in worker(template())["metadata"]


@pytest.mark.parametrize("off", [0, None])
def test_target_of_zero_or_null_is_off(off: int | None) -> None:
    hpa = autoscaler({"autoscaling": {"targetCPUUtilizationPercentage": off}})
    assert targets(hpa) == {"memory": 80}


@pytest.mark.parametrize("off", [0, None])
def test_one_group_can_switch_a_target_off(off: int | None) -> None:
    group = {"autoscaling": {"targetMemoryUtilizationPercentage": off}}
    objects = template({"workerGroups": {"default": group}})
    assert targets(worker(objects, kind="HorizontalPodAutoscaler")) == {"cpu": 60}


def test_metrics_replace_the_targets() -> None:
    target = {"type": "AverageValue", "averageValue": 1}
    metric = {"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}
    assert autoscaler({"autoscaling": {"metrics": [metric]}})["spec"]["metrics"] == [metric]


@pytest.mark.parametrize(
    "beside",
    [
        {"sidecars": [{"name": "logs", "image": "i"}]},
        {"initContainers": [{"name": "logs", "image": "i", "restartPolicy": "Always"}]},
    ],
)
def test_only_the_ray_container_counts_beside_a_sidecar(beside: Object) -> None:
    hpa = autoscaler(beside)
    containers = [metric["containerResource"]["container"] for metric in hpa["spec"]["metrics"]]
    assert containers == ["ray-worker", "ray-worker"]
    assert targets(hpa) == {"cpu": 60, "memory": 80}


def test_init_container_that_ends_is_no_sidecar() -> None:
    hpa = autoscaler({"initContainers": [{"name": "prepare", "image": "i"}]})
    assert [metric["type"] for metric in hpa["spec"]["metrics"]] == ["Resource", "Resource"]


def test_scale_in_takes_one_worker_at_a_time_and_waits_first(defaults: list[Object]) -> None:
    behavior = worker(defaults, kind="HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"]
    assert behavior["stabilizationWindowSeconds"] == 300
    assert [(policy["type"], policy["value"]) for policy in behavior["policies"]] == [("Pods", 1)]


def test_scale_out_does_not_wait(defaults: list[Object]) -> None:
    behavior = worker(defaults, kind="HorizontalPodAutoscaler")["spec"]["behavior"]["scaleUp"]
    assert behavior["stabilizationWindowSeconds"] == 0


def test_behavior_is_passed_through_for_one_group() -> None:
    behavior = {"scaleDown": {"selectPolicy": "Disabled"}}
    objects = template({"workerGroups": {"default": {"autoscaling": {"behavior": behavior}}}})
    hpa = worker(objects, kind="HorizontalPodAutoscaler")
    assert hpa["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
    assert hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_tolerance_is_passed_through_where_kubernetes_has_it() -> None:
    values = {"worker": {"autoscaling": {"behavior": {"scaleUp": {"tolerance": 0.05}}}}}
    hpa = worker(template(values, kube_version="1.35.0"), kind="HorizontalPodAutoscaler")
    assert hpa["spec"]["behavior"]["scaleUp"]["tolerance"] == 0.05


def test_large_numbers_stay_numbers() -> None:
    hpa = autoscaler({"autoscaling": {"maxReplicas": 1000000}})
    assert hpa["spec"]["maxReplicas"] == 1000000
