"""What a release may do, beyond the Pod Security Standard that test_pod_security.py checks."""

from harness.helm import template

from .objects import Object, deployments, inventory, pod


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
        "PodDisruptionBudget",
        "Secret",
        "Service",
    }


def test_security_settings_can_be_replaced_for_one_group() -> None:
    objects = template({"workerGroups": {"default": {"podSecurityContext": {"runAsUser": 2000}}}})
    users = {pod(obj)["securityContext"]["runAsUser"] for obj in deployments(objects)}
    assert users == {1000, 2000}
