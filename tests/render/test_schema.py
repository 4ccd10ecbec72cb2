"""values.schema.json: a closed contract that says what each value means."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from harness.helm import template
from harness.paths import CHART

from .leaves import SCHEMA, VALUES
from .objects import Object, refusal


def resolve(schema: Object) -> Object:
    """The schema behind a local reference, and the parts of allOf as one."""
    if "$ref" in schema:
        return resolve(SCHEMA["definitions"][schema["$ref"].removeprefix("#/definitions/")])
    if "allOf" in schema:
        return {**resolve(schema["allOf"][0]), "description": schema["description"]}
    return schema


def is_kubernetes(schema: Object) -> bool:
    """Whether the value has a shape of Kubernetes' own, and not of the chart's."""
    reference: str = schema.get("$ref", "")
    return reference.startswith("#/definitions/kubernetes.")


def nodes(
    schema: Object, path: str = "", *, into_kubernetes: bool = True
) -> Iterator[tuple[str, Object]]:
    """Every schema below this one with the path of the value it describes."""
    resolved = resolve(schema)
    yield path, resolved
    if is_kubernetes(schema) and not into_kubernetes:
        return
    children = {
        f"{path}.{key}".lstrip("."): child for key, child in resolved.get("properties", {}).items()
    }
    if path == "workerGroups":
        children["workerGroups.<name>"] = resolved["additionalProperties"]
    if into_kubernetes and "object" in resolve(resolved.get("items", {})).get("type", ""):
        children[f"{path}[]"] = resolved["items"]
    for child_path, child in children.items():
        yield from nodes(child, child_path, into_kubernetes=into_kubernetes)


def closed_paths(schema: Object) -> set[str]:
    """Paths of all values that the chart's own part of the schema names."""
    paths = {path for path, _ in nodes(schema, into_kubernetes=False)}
    return {path for path in paths if path and not path.startswith("workerGroups.")}


def value_paths(value: Any, schema: Object, path: str = "") -> Iterator[str]:
    """Paths of all values in values.yaml, down to where the schema names no more keys."""
    if path:
        yield path
    properties = {} if is_kubernetes(schema) else resolve(schema).get("properties", {})
    if isinstance(value, dict) and properties:
        for key, child in value.items():
            yield from value_paths(child, properties.get(key, {}), f"{path}.{key}".lstrip("."))


def test_schema_is_valid_draft_07() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_default_values_satisfy_the_schema() -> None:
    jsonschema.validate(VALUES, SCHEMA, cls=jsonschema.Draft7Validator)


def test_every_value_is_described() -> None:
    open_items = [path for path, _ in nodes(SCHEMA) if path.endswith("[]")]
    undescribed = [path for path, schema in nodes(SCHEMA) if not schema.get("description")]
    # What lies below an item without a name of its own is Kubernetes', and its list is described.
    assert set(undescribed) - set(open_items) == {""}


def test_every_description_is_a_sentence() -> None:
    descriptions = [schema.get("description", ".") for path, schema in nodes(SCHEMA) if path]
    assert not [text for text in descriptions if not text.endswith(".")]


def test_schema_refers_to_nothing_outside_itself() -> None:
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(SCHEMA)))
    assert not [name for name in references if not name.startswith("#/definitions/")]


def test_every_definition_is_used() -> None:
    text = json.dumps(SCHEMA)
    unused = [name for name in SCHEMA["definitions"] if f'"#/definitions/{name}"' not in text]
    assert not unused


def test_values_and_schema_have_the_same_keys() -> None:
    # A parent chart sets `enabled`; `head.replicas` is known so that it can be refused with its
    # reason; the others say what differs from `image`: nothing at first.
    unset = re.compile(r"enabled|head\.replicas|(head|worker)\.image\..+")
    in_schema = {path for path in closed_paths(SCHEMA) if not unset.fullmatch(path)}
    assert in_schema == set(value_paths(VALUES, SCHEMA))


def test_group_has_exactly_the_keys_of_worker() -> None:
    group = SCHEMA["properties"]["workerGroups"]["additionalProperties"]
    assert group in SCHEMA["properties"]["worker"]["allOf"]


def test_objects_with_our_own_keys_are_closed() -> None:
    shared_with_other_charts = {"global"}
    open_objects = [
        path
        for path, schema in nodes(SCHEMA)
        if schema.get("properties") and schema.get("additionalProperties") is not False
    ]
    assert set(open_objects) == shared_with_other_charts


def test_every_default_has_a_comment_for_the_readme() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=values.schema.json"
    assert sum(line.lstrip().startswith("# -- ") for line in lines) > 200


def keda(**values: Any) -> Object:
    """Values of a release whose groups have these of KEDA."""
    return {"worker": {"autoscaling": {"keda": values}}}


BAD: list[tuple[Object, str]] = [
    ({"bogus": 1}, "bogus"),
    ({"head": {"bogus": 1}}, "bogus"),
    ({"worker": {"bogus": 1}}, "bogus"),
    ({"workerGroups": {"default": {"bogus": 1}}}, "bogus"),
    ({"workerGroups": {"default": []}}, "/workerGroups/default"),
    ({"clusterDomain": "a b"}, "/clusterDomain"),
    ({"clusterDomain": None}, "clusterDomain"),
    ({"nameOverride": "A"}, "/nameOverride"),
    ({"fullnameOverride": "a" * 64}, "/fullnameOverride"),
    ({"commonLabels": {"a": "b c"}}, "/commonLabels/a"),
    ({"commonLabels": {"a b": "c"}}, "'/commonLabels': additional properties 'a b'"),
    ({"commonAnnotations": {"a b": "c"}}, "'/commonAnnotations': additional properties 'a b'"),
    ({"rayVersion": "2.60"}, "/rayVersion"),
    ({"rayVersion": "2.60.12345678901234567890"}, "/rayVersion"),
    ({"rayVersion": "\u0662.60.0"}, "/rayVersion"),  # a digit, but none of ours
    ({"auth": {"token": None}}, "token"),
    (
        {"worker": {"autoscaling": {"behavior": {"scaleUp": {"policies": []}}}}},
        "/worker/autoscaling/behavior/scaleUp/policies",
    ),
    ({"image": {"repository": "a b"}}, "/image/repository"),
    ({"image": {"tag": 2.6}}, "/image/tag"),
    ({"image": {"digest": "sha256:0"}}, "/image/digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"image": {"pullSecrets": [{"nam": "a"}]}}, "/image/pullSecrets"),
    ({"image": None}, "image"),
    ({"ports": {"gcs": 80}}, "/ports/gcs"),
    ({"ports": {"gcs": 65536}}, "/ports/gcs"),
    ({"ports": {"gcs": None}}, "gcs"),
    ({"gcsFaultTolerance": {"mode": "file"}}, "/gcsFaultTolerance/mode"),
    ({"gcsFaultTolerance": {"redis": {"address": "redis"}}}, "/gcsFaultTolerance/redis/address"),
    (
        {"gcsFaultTolerance": {"redis": {"address": "x:1 --flag"}}},
        "/gcsFaultTolerance/redis/address",
    ),
    (
        {"gcsFaultTolerance": {"redis": {"storageNamespace": "a@b"}}},
        "/gcsFaultTolerance/redis/storageNamespace",
    ),
    ({"worker": {"numCpus": "2"}}, "/worker/numCpus"),
    ({"worker": {"numCpus": -1}}, "/worker/numCpus"),
    ({"worker": {"numCpus": None}}, "numCpus"),
    ({"worker": {"objectStoreMemory": "lots"}}, "/worker/objectStoreMemory"),
    ({"worker": {"objectStoreMemory": "5000e-1Mi"}}, "/worker/objectStoreMemory"),
    ({"worker": {"resources": {"limits": {"memory": "2 GB"}}}}, "/worker/resources/limits/memory"),
    ({"worker": {"resources": {"limits": {"a b": 1}}}}, "'/worker/resources/limits': additional"),
    ({"worker": {"autoscaling": {"minReplicas": -1}}}, "/worker/autoscaling/minReplicas"),
    ({"worker": {"autoscaling": {"maxReplicas": None}}}, "maxReplicas"),
    ({"worker": {"drain": {"timeoutSeconds": -1}}}, "/worker/drain/timeoutSeconds"),
    ({"worker": {"podDisruptionBudget": {"maxUnavailable": "half"}}}, "/maxUnavailable"),
    ({"worker": {"rayLabels": {"a": "b,c=d"}}}, "/worker/rayLabels/a"),
    ({"worker": {"rayLabels": {"a,b": "c"}}}, "'/worker/rayLabels': additional properties 'a,b'"),
    ({"worker": {"rayResources": {"a": 0.5}}}, "/worker/rayResources/a"),
    ({"worker": {"rayStartParams": {"--log-color": "x"}}}, "'/worker/rayStartParams': additional"),
    ({"worker": {"rayStartParams": {"log-color": False}}}, "/worker/rayStartParams/log-color"),
    ({"worker": {"image": {"pullSecrets": ["a"]}}}, "pullSecrets"),
    ({"head": {"image": {"tag": "a b"}}}, "/head/image/tag"),
    ({"worker": {"numGpus": 0.5}}, "/worker/numGpus"),
    ({"worker": {"numGpus": "1"}}, "/worker/numGpus"),
    ({"worker": {"serveProxy": "yes"}}, "/worker/serveProxy"),
    ({"worker": {"objectSpilling": {"sizeLimit": "much"}}}, "/worker/objectSpilling/sizeLimit"),
    ({"worker": {"objectSpilling": {"volume": {"emptydir": {}}}}}, "/objectSpilling/volume': add"),
    ({"worker": {"podDisruptionBudget": {"unhealthyPodEvictionPolicy": "No"}}}, "/worker/pod"),
    ({"worker": {"livenessProbe": {"httpget": {}}}}, "httpget"),
    ({"worker": {"livenessProbe": {"periodSeconds": 0}}}, "/worker/livenessProbe/periodSeconds"),
    ({"worker": {"readinessProbe": {"httpGet": {"prot": 1}}}}, "prot"),
    ({"worker": {"lifecycle": {"prestop": {}}}}, "prestop"),
    ({"worker": {"volumes": [{"name": "a", "emptydir": {}}]}}, "emptydir"),
    ({"worker": {"volumes": [{"emptyDir": {}}]}}, "/worker/volumes/0"),
    ({"worker": {"volumeMounts": [{"name": "a"}]}}, "/worker/volumeMounts/0"),
    ({"worker": {"sidecars": [{"image": "a"}]}}, "/worker/sidecars/0"),
    ({"worker": {"sidecars": [{"name": "a", "img": "b"}]}}, "img"),
    ({"worker": {"initContainers": [{"name": "A"}]}}, "/worker/initContainers/0/name"),
    ({"worker": {"tolerations": [{"efect": "NoSchedule"}]}}, "efect"),
    ({"worker": {"affinity": {"nodeAfinity": {}}}}, "nodeAfinity"),
    ({"worker": {"topologySpreadConstraints": [{"maxSkew": 1}]}}, "/topologySpreadConstraints/0"),
    ({"worker": {"securityContext": {"runAsUser": "root"}}}, "/worker/securityContext/runAsUser"),
    ({"worker": {"podSecurityContext": {"privileged": True}}}, "privileged"),
    ({"worker": {"autoscaling": {"metrics": [{"type": "Cpu"}]}}}, "/autoscaling/metrics/0/type"),
    ({"worker": {"autoscaling": {"behavior": {"scaleup": {}}}}}, "scaleup"),
    (keda(triggers=[{"type": "cron"}]), "/autoscaling/keda/triggers/0"),
    (keda(triggers=[{"type": "x", "metadata": {"threshold": 5}}]), "/metadata/threshold"),
    (keda(fallback={"replicas": 3}), "/autoscaling/keda/fallback"),
    (keda(pollingInterval=0), "/autoscaling/keda/pollingInterval"),
    ({"worker": {"strategy": {"type": "Rolling"}}}, "/worker/strategy/type"),
    ({"worker": {"extraPorts": [{"containerPort": 0}]}}, "/extraPorts/0/containerPort"),
    ({"worker": {"terminationMessagePolicy": "Both"}}, "/worker/terminationMessagePolicy"),
    ({"worker": {"deploymentLabels": {"a b": "c"}}}, "'/worker/deploymentLabels': additional"),
    ({"worker": {"podAnnotations": {"a": 1}}}, "/worker/podAnnotations/a"),
    ({"head": {"serviceAccountName": "A"}}, "/head/serviceAccountName"),
    ({"head": {"history": {"tasks": -1}}}, "/head/history/tasks"),
    ({"head": {"persistence": {"keepSessions": 0}}}, "/head/persistence/keepSessions"),
    ({"head": {"service": {"extraPorts": [{"port": 80}]}}}, "/head/service/extraPorts/0"),
    ({"head": {"externalService": {"type": "ExternalName"}}}, "/head/externalService/type"),
    ({"head": {"externalService": {"ports": []}}}, "/head/externalService/ports"),
    ({"head": {"externalService": {"ports": ["gcs-server"]}}}, "/head/externalService/ports/0"),
    ({"head": {"externalService": {"spec": {"selector": {}}}}}, "selector"),
    ({"suspend": "no"}, "/suspend"),
    ({"serviceAccount": {"automount": None}}, "automount"),
    ({"usageStats": {"enabled": 1}}, "/usageStats/enabled"),
    ({"auth": {"token": {"enabled": "yes"}}}, "/auth/token/enabled"),
    ({"auth": {"token": {"existingSecret": "A"}}}, "/auth/token/existingSecret"),
    ({"auth": {"token": {"value": "x"}}}, "value"),
    ({"tls": {"enabled": 1}}, "/tls/enabled"),
    ({"tls": {"existingSecret": "A"}}, "/tls/existingSecret"),
    ({"tls": {"headNames": ["a b"]}}, "/tls/headNames/0"),
    ({"logRotation": {"maxSize": "100 MB"}}, "/logRotation/maxSize"),
    ({"ports": {"serve": 80}}, "/ports/serve"),
    ({"dashboard": {"ingress": {"hosts": ["ray.example.com"]}}}, "/dashboard/ingress/hosts/0"),
    ({"dashboard": {"ingress": {"hosts": [{"host": "a b"}]}}}, "/dashboard/ingress/hosts/0/host"),
    (
        {"serve": {"ingress": {"hosts": [{"host": "a.b", "paths": [{"path": "x"}]}]}}},
        "/serve/ingress/hosts/0/paths/0/path",
    ),
    ({"serve": {"httpRoute": {"parentRefs": [{"nam": "a"}]}}}, "nam"),
    ({"serve": {"httpRoute": {"rules": [{"backendRefs": []}]}}}, "backendRefs"),
    ({"serve": {"preStopSleepSeconds": -1}}, "/serve/preStopSleepSeconds"),
    ({"worker": {"env": [{"value": "x"}]}}, "/worker/env/0"),
    ({"worker": {"env": {"A": "x"}}}, "/worker/env"),
    ({"head": {"persistence": {"accessModes": []}}}, "/head/persistence/accessModes"),
    ({"head": {"persistence": {"accessModes": ["All"]}}}, "/head/persistence/accessModes/0"),
    ({"tenant": {"resourceQuota": {"hard": {"request.cpu": 1}}}}, "/hard': additional"),
    ({"tenant": {"resourceQuota": {"hard": {"nvidia.com/gpu": 1}}}}, "nvidia.com/gpu"),
    ({"tenant": {"resourceQuota": {"hard": {"pods": "many"}}}}, "/tenant/resourceQuota/hard/pods"),
    ({"tenant": {"resourceQuota": {"scopes": ["All"]}}}, "/tenant/resourceQuota/scopes/0"),
    (
        {
            "tenant": {
                "resourceQuota": {"scopeSelector": {"matchExpressions": [{"operator": "In"}]}}
            }
        },
        "/tenant/resourceQuota/scopeSelector/matchExpressions/0",
    ),
    ({"tenant": {"limitRange": {"limits": [{"typ": "Pod"}]}}}, "typ"),
    ({"tenant": {"limitRange": {"limits": [{"type": "Container", "max": {"cpu": "x"}}]}}}, "cpu"),
    ({"extraObjects": [1]}, "/extraObjects/0"),
]


@pytest.mark.parametrize(("values", "fragment"), BAD, ids=lambda part: str(part)[:60])
def test_bad_value_is_refused_by_name(values: Object, fragment: str) -> None:
    refused = refusal(values)
    assert "values.schema.json" in refused or "schema(s)" in refused
    assert fragment in refused


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_null_of_a_group_passes_where_kubernetes_fields_are_cleared(helm: str) -> None:
    cleared = {
        "podSecurityContext": {"runAsUser": None, "seccompProfile": None},
        "livenessProbe": {"failureThreshold": None},
        "affinity": {"nodeAffinity": None},
    }
    template({"workerGroups": {"default": cleared}}, helm=helm)


@pytest.mark.parametrize("key", ["enabled", "global"])
def test_chart_can_be_part_of_another(key: str) -> None:
    values = {"enabled": True} if key == "enabled" else {"global": {"theirs": 1}}
    jsonschema.validate({**VALUES, **values}, SCHEMA, cls=jsonschema.Draft7Validator)
