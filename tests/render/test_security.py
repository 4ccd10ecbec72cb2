"""Pods satisfy the Pod Security Standard "restricted", and hold no credentials."""

import pytest

from harness.helm import template

from .objects import Object, container, deployments, head, inventory, pod, worker

ALLOWED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"}
ALLOWED_VOLUMES |= {"persistentVolumeClaim", "projected", "secret", "name"}


@pytest.fixture(params=["head", "worker"])
def deployment(request: pytest.FixtureRequest) -> Object:
    """Each Deployment of a release with everything on."""
    objects = template(
        {
            "head": {"persistence": {"enabled": True}},
            "gcsFaultTolerance": {
                "mode": "redis",
                "redis": {"address": "redis:6379", "existingSecret": "redis"},
            },
        }
    )
    return head(objects) if request.param == "head" else worker(objects)


def test_pod_does_not_run_as_root(deployment: Object) -> None:
    context = pod(deployment)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 1000


def test_pod_has_the_runtimes_seccomp_profile(deployment: Object) -> None:
    assert pod(deployment)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_container_cannot_gain_privileges(deployment: Object) -> None:
    context = container(deployment)["securityContext"]
    assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_pod_shares_nothing_with_its_node(deployment: Object) -> None:
    spec = pod(deployment)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not [port for port in container(deployment)["ports"] if "hostPort" in port]
    assert all(set(volume) <= ALLOWED_VOLUMES for volume in spec["volumes"])


def test_pod_has_no_service_account_token(deployment: Object) -> None:
    assert pod(deployment)["automountServiceAccountToken"] is False


def test_pod_does_not_learn_of_other_services(deployment: Object) -> None:
    assert pod(deployment)["enableServiceLinks"] is False


def test_no_shell_is_started(deployment: Object) -> None:
    words = [*container(deployment)["command"], *container(deployment)["args"]]
    assert not {"sh", "bash", "/bin/sh", "/bin/bash", "-c"} & set(words)


def test_release_has_no_permissions_and_nothing_outside_its_namespace() -> None:
    kinds = {kind for kind, _ in inventory(template({"head": {"persistence": {"enabled": True}}}))}
    assert kinds == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
    }


def test_security_settings_can_be_replaced_for_one_group() -> None:
    objects = template({"workerGroups": {"default": {"podSecurityContext": {"runAsUser": 2000}}}})
    users = {pod(obj)["securityContext"]["runAsUser"] for obj in deployments(objects)}
    assert users == {1000, 2000}
