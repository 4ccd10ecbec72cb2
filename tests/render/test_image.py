"""The image reference: mirrors, tags, digests and pull secrets."""

import pytest

from harness.helm import template

from .objects import Object, container, head, pod, worker

DIGEST = "sha256:" + "0" * 64


def image(values: Object) -> str:
    """The head's image."""
    reference: str = container(head(template(values)))["image"]
    return reference


@pytest.mark.parametrize(
    ("values", "reference"),
    [
        ({}, "docker.io/rayproject/ray:2.60.0"),
        ({"tag": "2.58.1-py312"}, "docker.io/rayproject/ray:2.58.1-py312"),
        ({"registry": "harbor.local:8443/hub"}, "harbor.local:8443/hub/rayproject/ray:2.60.0"),
        ({"registry": "", "repository": "quay.io/my/ray"}, "quay.io/my/ray:2.60.0"),
        ({"tag": "2.60.0", "digest": DIGEST}, f"docker.io/rayproject/ray:2.60.0@{DIGEST}"),
    ],
)
def test_reference_is_registry_repository_tag_and_digest(values: Object, reference: str) -> None:
    assert image({"image": values}) == reference


def test_digest_alone_gets_no_tag() -> None:
    values = {"image": {"digest": DIGEST}, "rayVersion": "2.60.0"}
    assert image(values) == f"docker.io/rayproject/ray@{DIGEST}"


def test_empty_tag_is_the_version_that_the_values_name() -> None:
    assert image({"rayVersion": "2.58.1"}) == "docker.io/rayproject/ray:2.58.1"


def test_empty_tag_of_a_group_is_the_clusters_version() -> None:
    group = {"image": {"repository": "my/ray", "tag": ""}}
    objects = template({"image": {"tag": "2.58.1-py312"}, "workerGroups": {"default": group}})
    assert container(worker(objects))["image"] == "docker.io/my/ray:2.58.1"


def test_global_registry_wins() -> None:
    values = {"global": {"imageRegistry": "mirror.local"}, "image": {"registry": "docker.io"}}
    assert image(values) == "mirror.local/rayproject/ray:2.60.0"


def test_global_registry_leaves_a_repository_alone_that_names_its_own() -> None:
    shared = {"registry": "", "repository": "quay.io/my/ray"}
    values = {"global": {"imageRegistry": "mirror.local"}, "image": shared}
    assert image(values) == "quay.io/my/ray:2.60.0"


def test_pull_policy_is_passed_on() -> None:
    deployment = head(template({"image": {"pullPolicy": "Always"}}))
    assert container(deployment)["imagePullPolicy"] == "Always"


def test_pull_secrets_are_merged_in_both_forms_without_doubles() -> None:
    values = {
        "global": {"imagePullSecrets": ["a", {"name": "b"}]},
        "image": {"pullSecrets": ["b", "c"]},
    }
    secrets = pod(head(template(values)))["imagePullSecrets"]
    assert secrets == [{"name": "a"}, {"name": "b"}, {"name": "c"}]


def test_there_are_no_pull_secrets_by_default(defaults: list[Object]) -> None:
    assert "imagePullSecrets" not in pod(head(defaults))


@pytest.mark.parametrize(
    ("values", "version"),
    [
        ({}, "2.60.0"),
        ({"image": {"tag": "2.58.1"}}, "2.58.1"),
        ({"image": {"tag": "2.58.1-py312-gpu"}}, "2.58.1"),
        ({"image": {"tag": "nightly"}, "rayVersion": "2.59.0"}, "2.59.0"),
        ({"rayVersion": "2.59.0"}, "2.59.0"),
        ({"image": {"digest": DIGEST}, "rayVersion": "2.57.0"}, "2.57.0"),
    ],
)
def test_ray_version_comes_from_the_value_the_tag_or_the_chart(
    values: Object, version: str
) -> None:
    labels = head(template(values))["metadata"]["labels"]
    assert labels["app.kubernetes.io/version"] == version


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        ({"tag": "2.60.0-gpu"}, "quay.io/ray:2.60.0-gpu"),
        ({"repository": "my/ray"}, "quay.io/my/ray:2.60.0"),
        ({"registry": "harbor.local"}, f"harbor.local/ray:2.60.0@{DIGEST}"),
        ({"digest": DIGEST.replace("0", "1")}, f"quay.io/ray:2.60.0@{DIGEST.replace('0', '1')}"),
        ({"tag": None}, f"quay.io/ray:2.60.0@{DIGEST}"),
    ],
)
def test_group_can_have_another_image_of_the_same_ray(own: Object, reference: str) -> None:
    shared = {"registry": "quay.io", "repository": "ray", "tag": "2.60.0", "digest": DIGEST}
    objects = template({"image": shared, "workerGroups": {"default": {"image": own}}})
    assert container(worker(objects))["image"] == reference
    assert container(head(objects))["image"] == f"quay.io/ray:2.60.0@{DIGEST}"


def test_group_can_have_another_pull_policy() -> None:
    objects = template({"worker": {"image": {"pullPolicy": "Always"}}})
    assert container(worker(objects))["imagePullPolicy"] == "Always"
    assert container(head(objects))["imagePullPolicy"] == "IfNotPresent"


def test_head_can_have_another_image() -> None:
    objects = template({"head": {"image": {"tag": "2.60.0-py312"}}})
    assert container(head(objects))["image"] == "docker.io/rayproject/ray:2.60.0-py312"
