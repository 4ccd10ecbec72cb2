"""A live group keeps its workers while its autoscaler is switched off and on, or for another."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from kubernetes import client

from harness import helm
from harness.cluster import Cluster
from harness.process import CommandError

from .release import SCALE_TIMEOUT_SECONDS, Release, small, wait_until

OFF = {"enabled": False}
BOTH_HELMS = pytest.mark.parametrize(
    "program", ["helm", pytest.param("helm3", marks=pytest.mark.slow)]
)


def group(autoscaling: dict[str, Any], replicas: int | None = None) -> dict[str, Any]:
    """Values of a group with this autoscaler, and this number of workers where it has none."""
    return small(autoscaling=autoscaling, replicas=replicas)


def between(low: int, high: int, **autoscaling: Any) -> dict[str, Any]:
    """An autoscaler with these limits that never takes a worker away."""
    kept = {"scaleDown": {"selectPolicy": "Disabled"}}
    return {"minReplicas": low, "maxReplicas": high, "behavior": kept, **autoscaling}


def with_keda() -> dict[str, Any]:
    """The same by KEDA."""
    return between(1, 2, keda={"enabled": True})


def workers(release: Release) -> tuple[int, set[str]]:
    """How many workers the default group's Deployment asks for, and the names of those there are.

    The number first: pods follow it, and one that has dropped shows at once.
    """
    apps = client.AppsV1Api(release.api)
    deployment = apps.read_namespaced_deployment(release.worker_name(), release.namespace)
    return deployment.spec.replicas, release.pod_names("worker")


def grown(release: Release, number: int) -> tuple[int, set[str]]:
    """The workers once there are `number` of them."""
    return wait_until(
        f"{number} workers",
        lambda: workers(release),
        lambda seen: seen[0] == len(seen[1]) == number,
        timeout=SCALE_TIMEOUT_SECONDS,
    )


def autoscalers(release: Release) -> dict[str, int | None]:
    """The namespace's autoscalers, each with the number of workers that it knows of."""
    api = client.AutoscalingV2Api(release.api)
    found = api.list_namespaced_horizontal_pod_autoscaler(release.namespace)
    return {hpa.metadata.name: hpa.status.current_replicas for hpa in found.items}


def taken_over(release: Release, name: str, number: int) -> tuple[int, set[str]]:
    """The workers once the autoscaler `name` alone looks after `number` of them."""
    wait_until(
        f"{name} alone with {number} workers",
        lambda: autoscalers(release),
        lambda seen: seen == {name: number},
        timeout=SCALE_TIMEOUT_SECONDS,
    )
    return workers(release)


@BOTH_HELMS
def test_switching_autoscaling_off_and_on_keeps_every_worker(
    install: Callable[..., Release], program: str
) -> None:
    release = install(group(between(2, 2)), program=program, wait=False)
    before = grown(release, 2)
    install(group(between(1, 2)), program=program, wait=False)

    install(group(OFF), program=program, wait=False)
    assert autoscalers(release) == {}
    assert workers(release) == before

    install(group(between(1, 2)), program=program, wait=False)
    assert taken_over(release, release.worker_name(), 2) == before


@BOTH_HELMS
def test_group_of_a_written_number_keeps_it_when_autoscaling_is_switched_on(
    install: Callable[..., Release], program: str
) -> None:
    """Also by the upgrade after the next: by then the number is the autoscaler's."""
    release = install(group(OFF, replicas=2), program=program, wait=False)
    before = grown(release, 2)

    install(group(between(1, 2)), program=program, wait=False)
    assert taken_over(release, release.worker_name(), 2) == before

    install(group(between(3, 3)), program=program, wait=False)
    before = grown(release, 3)
    install(group(between(1, 3)), program=program, wait=False)
    assert taken_over(release, release.worker_name(), 3) == before


@pytest.mark.slow
@BOTH_HELMS
def test_switching_demand_on_and_off_keeps_every_worker(
    install: Callable[..., Release], program: str
) -> None:
    """Also by an upgrade in between: the floor that demand has raised is nobody else's to write."""
    demand = {"enabled": True, "quietSeconds": 600}
    release = install(group(between(2, 2)), program=program, wait=False)
    before = grown(release, 2)

    install(group(between(2, 2, demand=demand)), program=program, wait=False)
    assert taken_over(release, "ray-ray-cluster-demand-default", 2) == before
    wait_until(
        "the floor of demand",
        lambda: release.autoscaler().spec.min_replicas,
        lambda floor: floor == 2,
        timeout=SCALE_TIMEOUT_SECONDS,
    )
    install(group(between(1, 2, demand=demand)), program=program, wait=False)
    assert release.autoscaler().spec.min_replicas == 2

    install(group(between(1, 2)), program=program, wait=False)
    assert taken_over(release, release.worker_name(), 2) == before


@pytest.mark.slow
@pytest.mark.usefixtures("keda")
@BOTH_HELMS
def test_switching_to_keda_and_back_keeps_every_worker(
    install: Callable[..., Release], program: str
) -> None:
    release = install(group(between(2, 2)), program=program, wait=False)
    before = grown(release, 2)

    install(group(OFF), program=program, wait=False)
    install(group(with_keda()), program=program, wait=False)
    assert taken_over(release, "ray-ray-cluster-keda-default", 2) == before

    install(group(between(1, 2)), program=program, wait=False)
    assert taken_over(release, release.worker_name(), 2) == before


@pytest.mark.slow
@pytest.mark.usefixtures("keda")
def test_keda_refuses_a_group_that_still_has_another_autoscaler(
    install: Callable[..., Release], testbed: Cluster, namespace: str
) -> None:
    """Which is why autoscaling has to be off in between."""
    install(group(between(1, 2)), wait=False)
    objects = helm.template(group(with_keda()), namespace=namespace)
    (scaled,) = (obj for obj in objects if obj["kind"] == "ScaledObject")

    def answer() -> str:
        try:
            return testbed.kubectl(
                "create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(scaled)
            )
        except CommandError as error:
            return error.output

    wait_until(
        "KEDA's refusal",
        answer,  # without its webhook, while that starts, Kubernetes would take the object
        lambda seen: "already managed by the hpa 'ray-ray-cluster-worker-default'" in seen,
        timeout=SCALE_TIMEOUT_SECONDS,
    )
