"""A group that KEDA scales: one ScaledObject in place of the chart's own autoscaler."""

from typing import Any

import pytest

from harness.helm import template

from .objects import Object, inventory, of_component, worker

CRON = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *"}}


def with_keda(keda: Object | None = None, **autoscaling: Any) -> list[Object]:
    """The objects of a release whose groups are KEDA's."""
    settings = {"keda": {"enabled": True, **(keda or {})}, **autoscaling}
    return template({"worker": {"autoscaling": settings}})


def spec(objects: list[Object]) -> Object:
    """The spec of the default group's ScaledObject."""
    found: Object = worker(objects, kind="ScaledObject")["spec"]
    return found


def test_keda_takes_the_place_of_the_autoscaler() -> None:
    kinds = {kind for kind, _ in inventory(with_keda())}
    assert "ScaledObject" in kinds
    assert "HorizontalPodAutoscaler" not in kinds


def test_one_group_can_be_kedas_beside_others() -> None:
    groups = {"default": {}, "queue": {"autoscaling": {"keda": {"enabled": True}}}}
    objects = template({"workerGroups": groups})
    owners = {
        kind: [obj["metadata"]["labels"]["ray-cluster/worker-group"] for obj in found]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        if (found := of_component(objects, kind, "worker"))
    }
    assert owners == {"HorizontalPodAutoscaler": ["default"], "ScaledObject": ["queue"]}


def test_scaled_object_has_the_groups_deployment_and_limits() -> None:
    objects = with_keda(minReplicas=2, maxReplicas=9)
    assert spec(objects)["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": worker(objects)["metadata"]["name"],
    }
    assert (spec(objects)["minReplicaCount"], spec(objects)["maxReplicaCount"]) == (2, 9)


def test_deployment_says_no_replicas_beside_keda() -> None:
    assert "replicas" not in worker(with_keda())["spec"]


def test_targets_become_triggers_before_those_of_the_user() -> None:
    triggers = spec(with_keda({"triggers": [CRON]}))["triggers"]
    assert triggers == [
        {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}},
        {"type": "memory", "metricType": "Utilization", "metadata": {"value": "80"}},
        CRON,
    ]


def test_group_may_come_from_zero_with_nothing_but_its_own_triggers() -> None:
    objects = with_keda(
        {"triggers": [CRON]},
        minReplicas=0,
        targetCPUUtilizationPercentage=0,
        targetMemoryUtilizationPercentage=None,
    )
    assert spec(objects)["minReplicaCount"] == 0
    assert spec(objects)["triggers"] == [CRON]


def test_only_the_ray_container_counts_beside_a_sidecar() -> None:
    sidecar = {"name": "logs", "image": "i"}
    objects = template(
        {"worker": {"sidecars": [sidecar], "autoscaling": {"keda": {"enabled": True}}}}
    )
    containers = [trigger["metadata"]["containerName"] for trigger in spec(objects)["triggers"]]
    assert containers == ["ray-worker", "ray-worker"]


def test_behavior_is_that_of_the_autoscaler_that_keda_makes() -> None:
    with_hpa = worker(template(), kind="HorizontalPodAutoscaler")["spec"]["behavior"]
    config = spec(with_keda())["advanced"]["horizontalPodAutoscalerConfig"]
    assert config["behavior"] == with_hpa


@pytest.mark.parametrize("release", ["ray", "r" * 53])
def test_kedas_autoscaler_has_a_name_that_fits_and_is_not_the_charts(release: str) -> None:
    values = {"worker": {"autoscaling": {"keda": {"enabled": True}}}}
    objects = template(values, release=release)
    name = spec(objects)["advanced"]["horizontalPodAutoscalerConfig"]["name"]
    assert len(name) <= 63
    assert name not in {other for _, other in inventory(objects)}


def test_periods_are_kedas_own_unless_they_are_set() -> None:
    periods = {"pollingInterval": 5, "cooldownPeriod": 0, "initialCooldownPeriod": 60}
    assert not periods.keys() & spec(with_keda()).keys()
    assert spec(with_keda(periods)).items() >= periods.items()


def test_idle_number_and_fallback_are_passed_through() -> None:
    keda = {
        "triggers": [CRON],
        "idleReplicaCount": 0,
        "fallback": {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"},
    }
    seen = spec(with_keda(keda))
    assert (seen["idleReplicaCount"], seen["fallback"]) == (0, keda["fallback"])


def test_suspended_cluster_has_no_scaled_object() -> None:
    objects = template({"suspend": True, "worker": {"autoscaling": {"keda": {"enabled": True}}}})
    assert not of_component(objects, "ScaledObject", "worker")
