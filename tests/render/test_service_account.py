"""The pods' identity in the Kubernetes API: none, unless asked for."""

from pathlib import Path

import pytest

from harness.helm import PROFILES, template, values_of

from .objects import Object, deployments, find, head, inventory, pod, pod_templates, worker


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


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_no_pod_of_a_profile_has_a_token(profile: Path) -> None:
    """Of an object of the user's own neither, as far as profiles have some."""
    pods = pod_templates(template(values_of(profile)))
    mounted = {of: it["spec"].get("automountServiceAccountToken") for of, it in pods}
    assert set(mounted.values()) == {False}, mounted


def test_token_is_not_for_hooks() -> None:
    redis = {"mode": "redis", "redis": {"address": "redis:6379"}}
    account = {"create": True, "automount": True}
    objects = template({"serviceAccount": account, "gcsFaultTolerance": redis})
    (job,) = (obj for obj in objects if obj["kind"] == "Job")
    assert pod(job)["automountServiceAccountToken"] is False


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
