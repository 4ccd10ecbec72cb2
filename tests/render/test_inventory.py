"""Which objects a release consists of: a new one, or one that is gone, has to be meant."""

from pathlib import Path

import pytest

from harness.helm import PROFILES, template, values_of

from .objects import inventory

DEFAULT_OBJECTS = {
    ("Deployment", "ray-ray-cluster-head"),
    ("Service", "ray-ray-cluster-head"),
    ("Deployment", "ray-ray-cluster-worker-default"),
    ("HorizontalPodAutoscaler", "ray-ray-cluster-worker-default"),
    ("PodDisruptionBudget", "ray-ray-cluster-worker-default"),
}

# A profile without an entry here fails: its inventory has to be written down.
INVENTORY = {"01-minimal-values.yaml": DEFAULT_OBJECTS}


def test_default_values_render_head_and_one_worker_group() -> None:
    assert inventory(template()) == DEFAULT_OBJECTS


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_profile_renders_its_inventory(profile: Path) -> None:
    objects = template(values_of(profile))
    assert inventory(objects) == INVENTORY[profile.name]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_first_line_of_a_profile_says_why_it_exists(profile: Path) -> None:
    assert profile.read_text().startswith("# ")


def test_extra_objects_may_be_maps_or_text_with_templates() -> None:
    as_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}-a"},
    }
    as_text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-b\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n"
    )
    objects = template({"extraObjects": [as_map, as_text]})
    added = {("ConfigMap", "ray-a"), ("ConfigMap", "ray-b"), ("ConfigMap", "c")}
    assert inventory(objects) == DEFAULT_OBJECTS | added


def test_oldest_supported_kubernetes_gets_the_same_objects() -> None:
    assert template(kube_version="1.31.0") == template(kube_version="1.37.0")
