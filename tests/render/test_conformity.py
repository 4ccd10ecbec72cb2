"""The check of rendered objects against Kubernetes' schemas can fail, for every kind there is.

`harness.helm.template` runs it on everything that it returns; here are objects that are right, and
the same objects with one mistake each.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import schemas
from harness.helm import PROFILES, template, values_of

from .objects import Object

# Each kind that the chart may render: the smallest right object, and where one mistake goes.
KINDS: list[tuple[str, str, Object, str, Any]] = [
    (
        "apps/v1",
        "Deployment",
        {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}},
        },
        "template/spec/containers/0/imagePullpolicy",
        "Always",
    ),
    ("v1", "Service", {"ports": [{"port": 80}]}, "ports/0/port", "http"),
    ("v1", "PersistentVolumeClaim", {}, "resources", {"requests": {"storage": "5 GB"}}),
    ("v1", "ResourceQuota", {"hard": {"pods": "4"}}, "hard/pods", "four"),
    ("v1", "LimitRange", {"limits": [{"type": "Container"}]}, "limits/0/max", {"cpu": "one"}),
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "a"}},
        "targetCPUUtilizationPercentage",
        60,
    ),
    ("policy/v1", "PodDisruptionBudget", {"maxUnavailable": 1}, "maxUnavailable", 0.5),
    ("networking.k8s.io/v1", "Ingress", {}, "rules", [{"host": 1}]),
    ("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}}, "ingress", [{"form": []}]),
    (
        "batch/v1",
        "Job",
        {"template": {"spec": {"containers": [{"name": "a"}]}}},
        "ttlSecondsAfterFinished",
        2**31,
    ),
    (
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        {"parentRefs": [{"name": "a"}]},
        "hostnames",
        ["a b"],
    ),
    (
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        {"selector": {}, "endpoints": [{"port": "metrics"}]},
        "endpoints/0/interval",
        "often",
    ),
    ("monitoring.coreos.com/v1", "PodMonitor", {"selector": {}}, "selektor", {}),
    ("monitoring.coreos.com/v1", "PrometheusRule", {"groups": [{"name": "a"}]}, "groups/0/name", 1),
    (
        "keda.sh/v1alpha1",
        "ScaledObject",
        {"scaleTargetRef": {"name": "a"}, "triggers": [{"type": "cpu", "metadata": {}}]},
        "maxReplicaCount",
        "2",
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication", {}, "secretTargetRef", [{"nam": "a"}]),
]
# Those without a spec: here the mistake is one of the object itself.
BARE: list[tuple[str, str, Object, str, Any]] = [
    ("v1", "ConfigMap", {}, "data", {"a": 1}),
    ("v1", "Secret", {}, "data", "text"),
    ("v1", "ServiceAccount", {}, "automountServiceAccountToken", "false"),
    ("v1", "Pod", {}, "Spec", {}),
    ("rbac.authorization.k8s.io/v1", "Role", {}, "rules", [{"verb": ["get"]}]),
    (
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}},
        "subjects",
        [{"kind": "User"}],
    ),
]


def broken(obj: Object, path: str, value: Any) -> Object:
    """A copy of `obj` with `value` at `path`, whose parts are keys and indices."""
    copy: Object = json.loads(json.dumps(obj))
    *parents, last = path.split("/")
    place: Any = copy
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    place[last] = value
    return copy


def cases() -> list[Any]:
    """(right object, wrong object), with the kind as the test's id."""
    found = []
    for table in (KINDS, BARE):
        for api_version, kind, content, path, value in table:
            body = {"spec": content} if table is KINDS else content
            prefix = "spec/" if table is KINDS else ""
            right = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, **body}
            found.append(pytest.param(right, broken(right, prefix + path, value), id=kind))
    return found


@pytest.mark.parametrize("kubernetes", schemas.KUBERNETES)
@pytest.mark.parametrize(("right", "wrong"), cases())
def test_one_mistake_is_found(right: Object, wrong: Object, kubernetes: str) -> None:
    schemas.check([right], [kubernetes])
    with pytest.raises(schemas.NonConformingError):
        schemas.check([wrong], [kubernetes])


@pytest.mark.parametrize("kubernetes", schemas.KUBERNETES)
def test_kind_that_kubernetes_does_not_have_is_found(kubernetes: str) -> None:
    old = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler", "metadata": {}}
    with pytest.raises(schemas.NonConformingError, match=f"Kubernetes {kubernetes} has no"):
        schemas.check([old], [kubernetes])


def test_oldest_kubernetes_lacks_what_came_later() -> None:
    spec = {
        "maxReplicas": 2,
        "scaleTargetRef": {"kind": "Deployment", "name": "a"},
        "behavior": {"scaleUp": {"tolerance": "0.05"}},
    }
    obj = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec}
    obj["metadata"] = {"name": "x"}
    oldest, *_, newest = schemas.KUBERNETES
    schemas.check([obj], [newest])
    with pytest.raises(schemas.NonConformingError, match="tolerance"):
        schemas.check([obj], [oldest])


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "A_b"},
        {"name": "x", "labels": {"a b": "c"}},
        {"name": "x", "labels": {"a": "b c"}},
        {"name": "x", "annotations": {"a b": "c"}},
    ],
    ids=str,
)
def test_what_the_specification_only_says_in_prose_is_found(metadata: Object) -> None:
    with pytest.raises(schemas.NonConformingError):
        schemas.check([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}])


def test_every_reason_is_named_with_its_object_and_place() -> None:
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "lables": {}}}
    with pytest.raises(schemas.NonConformingError) as refused:
        schemas.check([{**wrong, "data": {"a": 1}}], ["1.37"])
    assert 'ConfigMap x: /data/a: 1 is not of type "string"' in str(refused.value)
    assert "ConfigMap x: /metadata: Additional properties are not allowed" in str(refused.value)


def test_everything_that_is_rendered_is_checked() -> None:
    bad = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dat": {}}
    with pytest.raises(schemas.NonConformingError, match="dat"):
        template({"extraObjects": [bad]})


def test_object_for_an_old_kubernetes_has_to_live_on_in_newer_ones() -> None:
    assert schemas.since("v1.34.2") == ["1.34", "1.37"]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_kind_of_a_profile_has_a_mistake_above(profile: Path) -> None:
    rendered = {(obj["apiVersion"], obj["kind"]) for obj in template(values_of(profile))}
    assert rendered <= {row[:2] for row in [*KINDS, *BARE]}
