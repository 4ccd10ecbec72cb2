"""The chart's own values, one by one: what the schema allows for each, and other values to try."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jsonschema_rs

from harness.helm import values_of
from harness.paths import CHART

from .objects import Object

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())
VALUES: Object = values_of(CHART / "values.yaml")

_REFERENCE = "#/definitions/"
_KUBERNETES = f"{_REFERENCE}kubernetes."

Path = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """One value: where it is, what it is by default, and the schema that it has to satisfy."""

    path: Path
    default: Any
    schema: Object
    kubernetes: bool  # a field of Kubernetes that the chart passes through, whatever it holds

    def __str__(self) -> str:
        return ".".join(self.path)

    def allows(self, value: Any) -> bool:
        """Whether the schema of this value alone has nothing against `value`."""
        return self._validator.is_valid(value)

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft7Validator:
        schema = {**self.schema, "definitions": SCHEMA["definitions"]}
        return jsonschema_rs.Draft7Validator(schema)


def resolve(schema: Object) -> Object:
    """The schema behind a local reference; the parts of an allOf as one."""
    if "$ref" in schema:
        return resolve(SCHEMA["definitions"][schema["$ref"].removeprefix(_REFERENCE)])
    if "allOf" in schema:
        return resolve(schema["allOf"][0])
    return schema


def leaves(value: Any = VALUES, schema: Object = SCHEMA, path: Path = ()) -> Iterator[Leaf]:
    """Every value below this one, down to where the chart names no more keys of its own."""
    kubernetes = _is_kubernetes(schema)
    schema = resolve(schema)
    properties = schema.get("properties", {})
    if isinstance(value, dict) and properties and not kubernetes:
        for key, child in value.items():
            yield from leaves(child, properties[key], (*path, key))
    else:
        yield Leaf(path, value, schema, kubernetes or _is_open(schema))


def _is_kubernetes(schema: Object) -> bool:
    """Whether a value, or each of a list or a map, is of a kind that Kubernetes defines."""
    parts = [schema, schema.get("items"), entries(schema)[1]]
    references = [part.get("$ref", "") for part in parts if isinstance(part, dict)]
    return any(reference.startswith(_KUBERNETES) for reference in references)


def _is_open(schema: Object) -> bool:
    """Whether the schema says no more of a map or list than that it is one."""
    if not {"object", "array"} & set(types(schema)):
        return False
    if _is_kubernetes(schema):
        return True
    parts = [entries(schema)[1], schema.get("items"), schema.get("properties")]
    return not any(isinstance(part, dict) and set(part) - {"type"} for part in parts)


def entries(schema: Object) -> tuple[str, Any]:
    """Of a map with free keys: the pattern of a key, and the schema of each value."""
    patterns = {
        pattern: part for pattern, part in schema.get("patternProperties", {}).items() if part
    }
    return next(iter(patterns.items()), ("", schema.get("additionalProperties")))


def types(schema: Object) -> list[str]:
    """The types that the schema allows."""
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def nested(path: Path, value: Any) -> Object:
    """A values document with nothing but `value` at `path`."""
    for key in reversed(path):
        value = {key: value}
    document: Object = value
    return document


def merged(base: Object, over: Object) -> Object:
    """`base` with `over` merged into it as Helm merges values files: null removes a key."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
            continue
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def others(leaf: Leaf) -> list[Any]:
    """Values for `leaf` that its schema allows, and that are not what it has by default."""
    named = _BY_NAME.get(leaf.path[-1], [])
    number = leaf.default if isinstance(leaf.default, int) else 0
    simple = [*leaf.schema.get("enum", []), not leaf.default, number + 1, number - 1]
    candidates = [*named, *simple, *_ANY, _sample(leaf.schema)]
    return [
        value
        for value in candidates
        if leaf.allows(value)
        and value != leaf.default
        and (value or value is False or leaf.default)
    ]


def _sample(schema: Object) -> Any:
    """A small value that `schema` allows, with every field that it asks for; None if unknown."""
    schema = resolve(schema)
    kinds = types(schema)
    if schema.get("enum"):
        return next(filter(None, schema["enum"]), None)
    if "object" in kinds:
        fields = schema.get("properties", {})
        pattern, part = entries(schema)
        if not fields and (first := re.match(r"\^\((\w+)\|", pattern)):
            fields = {first[1]: part}
        wanted = schema.get("required") or list(fields)[:1]
        return {name: _sample(fields[name]) for name in wanted if name in fields}
    if "array" in kinds:
        return [_sample(schema.get("items", {}))]
    checked = ("type", "pattern", "minimum", "maximum")
    kept: Object = {key: schema[key] for key in checked if key in schema}
    validator = jsonschema_rs.Draft7Validator(kept)
    return next(filter(validator.is_valid, [*_ANY, True]), None)


# For anything: the first that the schema allows is taken.
_ANY: list[Any] = [
    "probe",
    "10%",
    "30%",
    "3Gi",
    "2.59.0",
    "probe:6379",
    "sha256:" + "0" * 64,
    "probe.example.org",
    "https://probe.example.org",
    "/probe",
    "probe.json",
    "90s",
    "9",
    1,
    80,
    20123,
    ["probe"],
    ["ReadWriteMany"],
    ["10.0.0.0/8"],
    [{"name": "probe"}],
    {"probe": "probe"},
    {"probe": 1},
    {"probe": {}},
]
# Where the chart itself looks at what is inside.
_BY_NAME: dict[str, list[Any]] = {
    "enabled": [False],  # also where null is neither on nor off
    "hard": [{"pods": "9"}],
    "extraObjects": [[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}]],
    "limits": [{"memory": "4Gi"}],
    "requests": [{"cpu": "900m"}],
    "resources": [{"limits": {"memory": "4Gi"}}],
    "strategy": [{"rollingUpdate": {"maxSurge": 2}}],
}
