"""What a release may do, beyond the Pod Security Standard that test_pod_security.py checks."""

from harness.helm import template

from .objects import Object, container, deployments, head, inventory, pod, worker

READ_ONLY: Object = {"securityContext": {"readOnlyRootFilesystem": True}}


def test_pods_run_as_the_images_user(defaults: list[Object]) -> None:
    users = {pod(obj)["securityContext"]["runAsUser"] for obj in deployments(defaults)}
    assert users == {1000}


def test_pods_do_not_learn_of_other_services(defaults: list[Object]) -> None:
    assert {pod(obj)["enableServiceLinks"] for obj in deployments(defaults)} == {False}


def test_release_has_no_permissions_and_nothing_outside_its_namespace() -> None:
    kinds = {kind for kind, _ in inventory(template({"head": {"persistence": {"enabled": True}}}))}
    assert kinds == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "Secret",
        "Service",
    }


def test_security_settings_can_be_replaced_for_one_group() -> None:
    objects = template({"workerGroups": {"default": {"podSecurityContext": {"runAsUser": 2000}}}})
    users = {pod(obj)["securityContext"]["runAsUser"] for obj in deployments(objects)}
    assert users == {1000, 2000}


def mount_paths(deployment: Object) -> list[str]:
    """Where the Ray container has volumes."""
    return [mount["mountPath"] for mount in container(deployment)["volumeMounts"]]


def test_read_only_container_can_write_to_tmp() -> None:
    objects = template({"head": READ_ONLY, "workerGroups": {"default": READ_ONLY}})
    for deployment in (head(objects), worker(objects)):
        assert {"/tmp", "/tmp/ray", "/dev/shm"} <= set(mount_paths(deployment))  # noqa: S108
        volumes = {volume["name"]: volume for volume in pod(deployment)["volumes"]}
        assert volumes["writable-tmp"]["emptyDir"] == {}


def test_writable_container_has_its_own_tmp(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        assert "/tmp" not in mount_paths(deployment)  # noqa: S108
        assert "writable-tmp" not in {volume["name"] for volume in pod(deployment)["volumes"]}


def test_read_only_container_keeps_the_users_own_tmp() -> None:
    own = {
        "volumes": [{"name": "own", "emptyDir": {"medium": "Memory"}}],
        "volumeMounts": [{"name": "own", "mountPath": "/tmp/"}],  # noqa: S108
    }
    deployment = head(template({"head": READ_ONLY | own}))
    assert [path for path in mount_paths(deployment) if path.rstrip("/") == "/tmp"] == ["/tmp/"]  # noqa: S108
    assert "writable-tmp" not in {volume["name"] for volume in pod(deployment)["volumes"]}
