"""Which objects a release consists of: a new one, or one that is gone, has to be meant."""

from pathlib import Path

import pytest

from harness.helm import PROFILES, template, values_of
from harness.paths import CHART

from .objects import deployments, inventory, pod

NETWORK = ("NetworkPolicy", "ray-ray-cluster-network")
TEST = ("Pod", "ray-ray-cluster-test")
DEFAULT_OBJECTS = {
    ("Secret", "ray-ray-cluster-auth"),
    NETWORK,
    TEST,
    ("Deployment", "ray-ray-cluster-head"),
    ("Service", "ray-ray-cluster-head"),
    ("Service", "ray-ray-cluster-gcs"),
    ("Deployment", "ray-ray-cluster-worker-default"),
    ("HorizontalPodAutoscaler", "ray-ray-cluster-worker-default"),
    ("PodDisruptionBudget", "ray-ray-cluster-worker-default"),
}


def of_group(group: str, *kinds: str, prefix: str = "ray-ray-cluster") -> set[tuple[str, str]]:
    """A Deployment of a worker group, and its objects of these kinds."""
    return {(kind, f"{prefix}-worker-{group}") for kind in ("Deployment", *kinds)}


HPA, PDB = "HorizontalPodAutoscaler", "PodDisruptionBudget"
DEMAND = ("ConfigMap", "Role", "RoleBinding", "ServiceAccount")
HEAD = {
    ("Secret", "ray-ray-cluster-auth"),
    NETWORK,
    TEST,
    ("Deployment", "ray-ray-cluster-head"),
    ("Service", "ray-ray-cluster-head"),
    ("Service", "ray-ray-cluster-gcs"),
}

# A profile without an entry here fails: its inventory has to be written down.
INVENTORY = {
    "01-minimal-values.yaml": DEFAULT_OBJECTS,
    "02-groups-values.yaml": {
        *HEAD,
        *of_group("scaled", HPA, PDB),
        *of_group("fixed"),
        *of_group("empty", PDB),
    },
    "03-restricted-values.yaml": {*DEFAULT_OBJECTS, ("ServiceAccount", "ray-ray-cluster")},
    "04-serve-values.yaml": {
        *DEFAULT_OBJECTS,
        ("Service", "ray-ray-cluster-serve"),
        ("Ingress", "ray-ray-cluster-serve"),
    },
    "05-everything-values.yaml": {
        ("Deployment", "everything-head"),
        ("Service", "everything-head"),
        ("Service", "everything-gcs"),
        ("Service", "everything-head-external"),
        ("PersistentVolumeClaim", "everything-head"),
        ("PodDisruptionBudget", "everything-head"),
        ("Ingress", "everything-head"),
        ("Service", "everything-serve"),
        ("Ingress", "everything-serve"),
        ("ServiceAccount", "ray-jobs"),
        ("ConfigMap", "ray-notes"),
        ("Secret", "ray-token"),
        ("ResourceQuota", "everything-tenant"),
        ("LimitRange", "everything-tenant"),
        ("NetworkPolicy", "everything-network"),
        ("Pod", "everything-test"),
        *(
            ("NetworkPolicy", f"everything-network-{topic}")
            for topic in ("dashboard", "client", "serve", "metrics", "egress")
        ),
        *of_group("default", HPA, PDB, prefix="everything"),
        *of_group("spill", PDB, prefix="everything"),
    },
    "06-quota-values.yaml": {
        *DEFAULT_OBJECTS,
        ("ResourceQuota", "ray-ray-cluster-tenant"),
        ("LimitRange", "ray-ray-cluster-tenant"),
    },
    "07-redis-values.yaml": DEFAULT_OBJECTS
    | {("NetworkPolicy", f"ray-ray-cluster-network-{topic}") for topic in ("egress", "redis")}
    | {(kind, "redis") for kind in ("Secret", "Service", "Deployment")}
    | {(kind, "ray-ray-cluster-redis-cleanup") for kind in ("NetworkPolicy", "Service", "Job")},
    "08-rocksdb-values.yaml": DEFAULT_OBJECTS | {("PersistentVolumeClaim", "ray-ray-cluster-gcs")},
    "09-monitoring-values.yaml": DEFAULT_OBJECTS
    | {
        ("PersistentVolumeClaim", "ray-ray-cluster-targets"),
        ("ConfigMap", "ray-ray-cluster-dashboards"),
    },
    "10-demand-values.yaml": {
        *HEAD,
        *of_group("default", PDB),
        *of_group("specialists", PDB),
        (HPA, "ray-ray-cluster-demand-default"),
        (HPA, "ray-ray-cluster-demand-specialists"),
        *((kind, "ray-ray-cluster-demand") for kind in DEMAND),
    },
    "air-gapped.yaml": DEFAULT_OBJECTS,
    "gateway.yaml": {
        *DEFAULT_OBJECTS,
        ("HTTPRoute", "ray-ray-cluster-head"),
        ("HTTPRoute", "ray-ray-cluster-serve"),
        ("Service", "ray-ray-cluster-serve"),
    },
    "gpu.yaml": DEFAULT_OBJECTS.union(
        *(of_group(group, HPA, PDB) for group in ("a100", "amd", "claimed", "mig"))
    ),
    "prometheus-operator.yaml": DEFAULT_OBJECTS
    | {(kind, "ray-ray-cluster-metrics") for kind in ("PodMonitor", "PrometheusRule")},
    "tls.yaml": {
        *(
            DEFAULT_OBJECTS
            - {("Secret", "ray-ray-cluster-auth"), (HPA, "ray-ray-cluster-worker-default")}
        ),
        ("Service", "ray-ray-cluster-head-external"),
        (HPA, "ray-ray-cluster-demand-default"),
        *((kind, "ray-ray-cluster-demand") for kind in DEMAND),
    },
    "keda.yaml": HEAD.union(
        *(of_group(group, "ScaledObject", PDB) for group in ("default", "queue", "office-hours"))
    ),
}


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


def test_every_inventory_belongs_to_a_profile() -> None:
    assert set(INVENTORY) == {profile.name for profile in PROFILES}


def test_every_installable_profile_is_small_enough_for_two_cpus() -> None:
    for profile in (profile for profile in PROFILES if profile.parent == CHART / "ci"):
        objects = template(values_of(profile))
        requests = [
            container["resources"]["requests"]["cpu"]
            for deployment in deployments(objects)
            for container in pod(deployment)["containers"]
        ]
        assert set(requests) <= {"20m", "50m", "100m"}, f"{profile.name}: {requests}"


def test_oldest_supported_kubernetes_gets_the_same_objects() -> None:
    assert template(kube_version="1.31.0") == template(kube_version="1.37.0")
