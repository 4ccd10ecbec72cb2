"""What the Kubernetes API says of a pod."""

from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client

from harness import pods


def pod(ready: str = "True", running: tuple[str, ...] = (), *, leaves: bool = False) -> Any:
    """A pod with two containers, of which those in `running` run."""
    states = {True: client.V1ContainerState(running=client.V1ContainerStateRunning())}
    statuses = [
        client.V1ContainerStatus(
            name=name, image="", image_id="", ready=False, restart_count=0,
            state=states.get(name in running, client.V1ContainerState()),
        )
        for name in ("ray-head", "autoscaler")
    ]  # fmt: skip
    return client.V1Pod(
        metadata=client.V1ObjectMeta(deletion_timestamp=datetime.now(UTC) if leaves else None),
        status=client.V1PodStatus(
            conditions=[client.V1PodCondition(type="Ready", status=ready)],
            container_statuses=statuses,
        ),
    )


def test_pod_is_ready_when_kubernetes_says_so() -> None:
    assert pods.is_ready(pod())
    assert not pods.is_ready(pod(ready="False"))


def test_pod_that_leaves_is_not_ready() -> None:
    assert not pods.is_ready(pod(leaves=True))


def test_new_pod_is_neither_ready_nor_running() -> None:
    new = client.V1Pod(metadata=client.V1ObjectMeta(), status=client.V1PodStatus())
    assert not pods.is_ready(new)
    assert not pods.runs_ray(new)


@pytest.mark.parametrize(("running", "runs"), [(("ray-head",), True), (("autoscaler",), False)])
def test_what_is_beside_ray_does_not_count_as_ray(running: tuple[str, ...], *, runs: bool) -> None:
    assert pods.runs_ray(pod(running=running)) is runs
