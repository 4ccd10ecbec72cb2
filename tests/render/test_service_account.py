"""The pods' identity in the Kubernetes API: none, unless asked for."""

import pytest

from harness.helm import template

from .objects import Object, deployments, find, head, inventory, pod, worker


def accounts(values: Object) -> set[str | None]:
    """The service accounts of all pods."""
    return {pod(obj).get("serviceAccountName") for obj in deployments(template(values))}


def test_pods_have_the_namespaces_account_and_no_token(defaults: list[Object]) -> None:
    assert "ServiceAccount" not in {kind for kind, _ in inventory(defaults)}
    for deployment in deployments(defaults):
        assert "serviceAccountName" not in pod(deployment)
        assert pod(deployment)["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"create": True}, "ray-ray-cluster"),
        ({"create": True, "name": "mine"}, "mine"),
        ({"name": "theirs"}, "theirs"),
    ],
)
def test_all_pods_take_the_account(values: Object, name: str) -> None:
    assert accounts({"serviceAccount": values}) == {name}


def test_account_is_made_with_its_annotations_and_labels() -> None:
    values = {"create": True, "annotations": {"role": "x"}, "labels": {"a": "1"}}
    account = find(template({"serviceAccount": values}), "ServiceAccount", "ray-ray-cluster")
    assert account["metadata"]["annotations"] == {"role": "x"}
    assert account["metadata"]["labels"]["a"] == "1"
    assert account["automountServiceAccountToken"] is False


def test_existing_account_is_not_made() -> None:
    kinds = {kind for kind, _ in inventory(template({"serviceAccount": {"name": "theirs"}}))}
    assert "ServiceAccount" not in kinds


def test_token_is_mounted_when_asked_for() -> None:
    objects = template({"serviceAccount": {"create": True, "automount": True}})
    assert all(pod(obj)["automountServiceAccountToken"] for obj in deployments(objects))


def test_token_may_come_from_an_account_of_each_node() -> None:
    own = {"serviceAccountName": "jobs"}
    objects = template({"serviceAccount": {"automount": True}, "head": own, "worker": own})
    assert all(pod(obj)["automountServiceAccountToken"] for obj in deployments(objects))


def test_name_of_digits_stays_text() -> None:
    objects = template({"serviceAccount": {"create": True, "name": "123"}})
    assert find(objects, "ServiceAccount", "123")


def test_one_group_can_have_another_account() -> None:
    objects = template({"workerGroups": {"default": {"serviceAccountName": "gpu"}}})
    assert pod(worker(objects))["serviceAccountName"] == "gpu"
    assert "serviceAccountName" not in pod(head(objects))
