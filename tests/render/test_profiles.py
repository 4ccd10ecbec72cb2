"""What holds for every profile, whatever is in it: names, labels, selectors, order, size."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.helm import PROFILES, dry_run, template, values_of

from .objects import Object, inventory, pod_templates

# The longest release name that Helm takes, with a letter that only its end differs in.
LONG = "r" * 52
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABELS = {
    "helm.sh/chart",
    *(f"app.kubernetes.io/{key}" for key in ("name", "instance", "managed-by", "version")),
}
# Of the 1 MiB that a Secret holds. The chart itself is most of it.
SECRET_LIMIT = 200 * 2**10

every_profile = pytest.mark.parametrize(
    "profile", [None, *PROFILES], ids=lambda path: path.name if path else "defaults"
)


def rendered(profile: Path | None, release: str = "ray") -> list[Object]:
    """The chart's own objects of a profile, without the user's extra ones."""
    values = {key: value for key, value in values_of(profile).items() if key != "extraObjects"}
    return template(values, release=release)


def selectors(obj: Object) -> Iterator[tuple[str, dict[str, str]]]:
    """Every selector of pods in an object, with its path."""

    def walk(value: Any, path: str) -> Iterator[tuple[str, dict[str, str]]]:
        if isinstance(value, list):
            for index, child in enumerate(value):
                yield from walk(child, f"{path}/{index}")
        elif isinstance(value, dict):
            for key, child in value.items():
                if key in {"selector", "podSelector", "labelSelector"} and child:
                    yield f"{path}/{key}", child.get("matchLabels", child)
                else:
                    yield from walk(child, f"{path}/{key}")

    return walk(obj.get("spec", {}), "/spec")


@every_profile
def test_second_render_equals_the_first(profile: Path | None) -> None:
    """Or every GitOps sync would restart the cluster. A token that is new each time is apart."""
    values = values_of(profile)
    assert template(values, anew=True) == template(values)


@every_profile
def test_oldest_supported_kubernetes_takes_the_profile(profile: Path | None) -> None:
    assert template(values_of(profile), kube_version="1.31.0")


@every_profile
def test_helm_3_renders_the_same(profile: Path | None) -> None:
    values = values_of(profile)

    def by_name(objects: list[Object]) -> list[Object]:
        return sorted(objects, key=lambda obj: (obj["kind"], obj["metadata"]["name"]))

    assert by_name(template(values, helm="helm3")) == by_name(template(values))


@every_profile
def test_names_of_a_long_release_fit_and_tell_objects_apart(profile: Path | None) -> None:
    objects = rendered(profile, LONG + "a")
    assert not [name for _, name in inventory(objects) if not NAME.fullmatch(name)]
    assert len(inventory(objects)) == len(objects)


@every_profile
def test_long_releases_that_differ_at_the_end_share_no_name(profile: Path | None) -> None:
    if "fullnameOverride" in values_of(profile):
        pytest.skip("a fixed name is meant to be the same for every release")
    first, second = (inventory(rendered(profile, LONG + end)) for end in "ab")
    assert not first & second


@every_profile
def test_every_object_has_the_standard_labels_and_its_namespace(profile: Path | None) -> None:
    for obj in rendered(profile):
        title = f"{obj['kind']} {obj['metadata']['name']}"
        assert set(obj["metadata"]["labels"]) >= LABELS, title
        assert obj["metadata"]["namespace"] == "ray", title


@every_profile
def test_every_pod_is_selected_by_its_owner_alone(profile: Path | None) -> None:
    objects = rendered(profile)
    pods = {title: pod["metadata"]["labels"].items() for title, pod in pod_templates(objects)}
    for obj in objects:
        selector = obj.get("spec", {}).get("selector", {}).get("matchLabels")
        title = f"{obj['kind']} {obj['metadata']['name']}"
        if selector and title in pods:
            assert [owner for owner in pods if selector.items() <= pods[owner]] == [title]


@every_profile
def test_every_selector_finds_pods_of_the_release(profile: Path | None) -> None:
    objects = rendered(profile)
    pods = [pod["metadata"]["labels"].items() for _, pod in pod_templates(objects)]
    for obj in objects:
        for path, selector in selectors(obj):
            title = f"{obj['kind']} {obj['metadata']['name']} {path}: {selector}"
            if "app.kubernetes.io/instance" in selector:
                assert any(selector.items() <= labels for labels in pods), title


@every_profile
def test_no_container_of_the_chart_starts_a_shell(profile: Path | None) -> None:
    users = json.dumps(values_of(profile))
    for title, pod in pod_templates(rendered(profile)):
        containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        for container in containers:
            if f'"name": "{container["name"]}"' in users:
                continue
            words = {word.split("/")[-1] for word in container.get("command", [])}
            assert not words & {"sh", "bash", "dash", "busybox"}, title


def secret_size(values: Object) -> int:
    """Bytes that Helm stores for a release: its JSON, chart included, packed and as base64.

    Helm 4 also stores when each file was written, some 500 bytes that in a checkout are chance:
    here, as in a packaged chart, that is one time for all.
    """
    release = json.dumps(dry_run(values), separators=(",", ":"))
    stamped = re.sub(r'(modtime":")[^"]+', r"\g<1>2026-01-01T00:00:00Z", release)
    return len(base64.b64encode(gzip.compress(stamped.encode(), 9)))


@every_profile
def test_release_fits_into_its_secret(profile: Path | None) -> None:
    assert secret_size(values_of(profile)) < SECRET_LIMIT


def test_release_of_fifty_groups_fits_into_its_secret() -> None:
    groups = {f"group-{number}": {"rayLabels": {"number": str(number)}} for number in range(50)}
    assert secret_size({"workerGroups": groups}) < SECRET_LIMIT
