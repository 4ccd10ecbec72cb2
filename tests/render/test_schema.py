"""values.schema.json: a closed contract that says what each value means."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from harness.paths import CHART

from .objects import Object, refusal

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())


def resolve(schema: Object) -> Object:
    """The schema behind a local reference, and the parts of allOf as one."""
    if "$ref" in schema:
        return resolve(SCHEMA["definitions"][schema["$ref"].removeprefix("#/definitions/")])
    if "allOf" in schema:
        return {**resolve(schema["allOf"][0]), "description": schema["description"]}
    return schema


def nodes(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every schema below this one with the path of the value it describes."""
    schema = resolve(schema)
    yield path, schema
    for key, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{key}".lstrip("."))
    if isinstance(schema.get("additionalProperties"), dict) and path == "workerGroups":
        yield from nodes(schema["additionalProperties"], "workerGroups.<name>")


def closed_paths(schema: Object) -> set[str]:
    """Paths of all values that the schema names."""
    return {path for path, _ in nodes(schema) if path and not path.startswith("workerGroups.")}


def value_paths(value: Any, schema: Object, path: str = "") -> Iterator[str]:
    """Paths of all values in values.yaml, down to where the schema names no more keys."""
    if path:
        yield path
    properties = resolve(schema).get("properties", {})
    if isinstance(value, dict) and properties:
        for key, child in value.items():
            yield from value_paths(child, properties.get(key, {}), f"{path}.{key}".lstrip("."))


def test_schema_is_valid_draft_07() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_default_values_satisfy_the_schema() -> None:
    jsonschema.validate(VALUES, SCHEMA, cls=jsonschema.Draft7Validator)


def test_every_value_is_described() -> None:
    assert not [path for path, schema in nodes(SCHEMA) if path and not schema.get("description")]


def test_every_description_is_a_sentence() -> None:
    descriptions = [schema["description"] for path, schema in nodes(SCHEMA) if path]
    assert not [text for text in descriptions if not text.endswith(".")]


def test_schema_refers_to_nothing_outside_itself() -> None:
    references = {
        reference
        for reference in json.dumps(SCHEMA).replace('"', " ").split()
        if reference.startswith(("#/", "http", "file"))
    }
    outside = {reference for reference in references if not reference.startswith("#/definitions/")}
    assert outside == {"http://json-schema.org/draft-07/schema#"}


def test_every_definition_is_used() -> None:
    text = json.dumps(SCHEMA)
    unused = [name for name in SCHEMA["definitions"] if f'"#/definitions/{name}"' not in text]
    assert not unused


def test_values_and_schema_have_the_same_keys() -> None:
    only_in_schema = {"enabled", "head.replicas", "resources.claims"}
    in_schema = {path for path in closed_paths(SCHEMA) if not path.endswith("resources.claims")}
    assert in_schema - only_in_schema == set(value_paths(VALUES, SCHEMA))


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
    # The items of `env` are Kubernetes' own and lie below a list, which nodes() does not enter.
    assert set(open_objects) == shared_with_other_charts


def test_every_default_has_a_comment_for_the_readme() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=values.schema.json"
    assert sum(line.lstrip().startswith("# -- ") for line in lines) > 100


BAD: list[tuple[Object, str]] = [
    ({"bogus": 1}, "bogus"),
    ({"head": {"bogus": 1}}, "bogus"),
    ({"worker": {"bogus": 1}}, "bogus"),
    ({"workerGroups": {"default": {"bogus": 1}}}, "bogus"),
    ({"workerGroups": {"GPU": {}}}, "GPU"),
    ({"workerGroups": {"a_b": {}}}, "a_b"),
    ({"workerGroups": {"1a": {}}}, "1a"),
    ({"workerGroups": {"g" * 31: {}}}, "g" * 31),
    ({"workerGroups": {"default": []}}, "/workerGroups/default"),
    ({"clusterDomain": "a b"}, "/clusterDomain"),
    ({"clusterDomain": None}, "clusterDomain"),
    ({"nameOverride": "A"}, "/nameOverride"),
    ({"fullnameOverride": "a" * 64}, "/fullnameOverride"),
    ({"commonLabels": {"a": "b c"}}, "/commonLabels/a"),
    ({"rayVersion": "2.60"}, "/rayVersion"),
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
    ({"worker": {"autoscaling": {"minReplicas": 0}}}, "/worker/autoscaling/minReplicas"),
    ({"worker": {"autoscaling": {"maxReplicas": None}}}, "maxReplicas"),
    ({"worker": {"drain": {"timeoutSeconds": -1}}}, "/worker/drain/timeoutSeconds"),
    ({"worker": {"podDisruptionBudget": {"maxUnavailable": "half"}}}, "/maxUnavailable"),
    ({"worker": {"rayLabels": {"a": "b,c=d"}}}, "/worker/rayLabels/a"),
    ({"worker": {"rayLabels": {"a,b": "c"}}}, "a,b"),
    ({"worker": {"rayResources": {"CPU": 1}}}, "CPU"),
    ({"worker": {"rayResources": {"a": 0.5}}}, "/worker/rayResources/a"),
    ({"worker": {"rayStartParams": {"--log-color": "x"}}}, "--log-color"),
    ({"worker": {"rayStartParams": {"log-color": False}}}, "/worker/rayStartParams/log-color"),
    ({"worker": {"env": [{"value": "x"}]}}, "/worker/env/0"),
    ({"worker": {"env": {"A": "x"}}}, "/worker/env"),
    ({"head": {"persistence": {"accessModes": []}}}, "/head/persistence/accessModes"),
    ({"head": {"persistence": {"accessModes": ["All"]}}}, "/head/persistence/accessModes/0"),
    ({"extraObjects": [1]}, "/extraObjects/0"),
]


@pytest.mark.parametrize(("values", "fragment"), BAD, ids=lambda part: str(part)[:60])
def test_bad_value_is_refused_by_name(values: Object, fragment: str) -> None:
    refused = refusal(values)
    assert "values.schema.json" in refused or "schema(s)" in refused
    assert fragment in refused


@pytest.mark.parametrize("key", ["enabled", "global"])
def test_chart_can_be_part_of_another(key: str) -> None:
    values = {"enabled": True} if key == "enabled" else {"global": {"theirs": 1}}
    jsonschema.validate({**VALUES, **values}, SCHEMA, cls=jsonschema.Draft7Validator)
