"""`helm test`: a pod that may reach the head, and what it is told about the groups."""

import json
from typing import Any

import pytest

from harness.helm import template

from .objects import Object, env, find, head, inventory, worker

NAME = "ray-ray-cluster-test"


def groups(values: Object, **options: Any) -> Any:
    """What the test is told: by group, how its pods' names begin and how many workers it has."""
    (pod,) = (obj for obj in template(values, **options) if obj["kind"] == "Pod")
    return json.loads(pod["spec"]["containers"][0]["args"][3])


def test_it_is_a_hook_that_can_be_run_again_and_looked_at() -> None:
    metadata = find(template(), "Pod", NAME)["metadata"]
    assert metadata["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
        "helm.sh/hook-output-log-policy": "hook-succeeded,hook-failed",
    }


def test_it_asks_the_head_with_the_token_of_the_release() -> None:
    objects = template(namespace="team-a")
    (test,) = find(objects, "Pod", NAME)["spec"]["containers"]
    assert "http://ray-ray-cluster-head.team-a.svc.cluster.local:8265" in test["args"]
    token = {entry["name"]: entry for entry in test["env"]}["RAY_AUTH_TOKEN"]
    assert token["valueFrom"] == env(head(objects))["RAY_AUTH_TOKEN"]


def test_it_runs_where_the_head_runs_with_the_heads_image() -> None:
    values: Object = {
        "image": {"pullSecrets": ["harbor"]},
        "head": {"image": {"tag": "2.60.0-py312"}, "nodeSelector": {"pool": "ray"}},
    }
    objects = template(values)
    test, own = find(objects, "Pod", NAME)["spec"], head(objects)["spec"]["template"]["spec"]
    for field in ("nodeSelector", "imagePullSecrets", "securityContext"):
        assert test[field] == own[field]
    for field in ("image", "securityContext"):
        assert test["containers"][0][field] == own["containers"][0][field]
    assert test["automountServiceAccountToken"] is False


def test_its_pod_takes_labels_annotations_and_resources() -> None:
    own = {
        "podLabels": {"a": "b"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "resources": {"requests": {"cpu": "1m"}},
    }
    pod = find(template({"helmTest": own}), "Pod", NAME)
    assert pod["metadata"]["labels"]["a"] == "b"
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1m"


def test_it_ends_by_itself_even_if_it_never_starts() -> None:
    spec = find(template({"helmTest": {"timeoutSeconds": 30}}), "Pod", NAME)["spec"]
    assert spec["activeDeadlineSeconds"] == 80
    assert spec["containers"][0]["args"][2] == "30"


@pytest.mark.parametrize("values", [{"helmTest": {"enabled": False}}, {"suspend": True}], ids=str)
def test_there_is_none_if_it_is_off_or_there_is_nothing_to_test(values: Object) -> None:
    assert ("Pod", NAME) not in inventory(template(values))


@pytest.mark.parametrize(
    ("group", "minimum"),
    [
        ({}, 1),
        ({"autoscaling": {"minReplicas": 2}}, 2),
        ({"autoscaling": {"minReplicas": 0, "demand": {"enabled": True}}}, 0),
        ({"autoscaling": {"enabled": False}}, 1),
        ({"autoscaling": {"enabled": False}, "replicas": 3}, 3),
        ({"autoscaling": {"enabled": False}, "replicas": 0}, 0),
    ],
    ids=str,
)
def test_least_number_of_workers_is_that_of_the_values(group: Object, minimum: int) -> None:
    assert groups({"workerGroups": {"default": group}})["default"]["minimum"] == minimum


def test_idle_group_of_keda_may_have_its_idle_number() -> None:
    cron = {"type": "cron", "metadata": {"start": "0 8 * * *"}}
    keda = {"enabled": True, "triggers": [cron], "idleReplicaCount": 0}
    group = {"autoscaling": {"minReplicas": 2, "keda": keda}}
    assert groups({"workerGroups": {"default": group}})["default"]["minimum"] == 0


@pytest.mark.parametrize("release", ["ray", "r" * 53])
def test_group_is_told_by_what_kubernetes_generates_names_from(release: str) -> None:
    values: Object = {"workerGroups": {"g" * 30: {}}}
    name = worker(template(values, release=release), "g" * 30)["metadata"]["name"]
    assert groups(values, release=release)["g" * 30]["prefix"] == f"{name}-"[:58]
