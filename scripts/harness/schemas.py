"""Kubernetes' own API schemas as kubeconform reads them, made from its OpenAPI specification.

The specification lies in the k8s.io/kubernetes module of each version (`api/openapi-spec`), so no
schema needs to be fetched from anywhere or kept in this repository.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import gobuild
from harness.images import kubernetes_module
from harness.paths import CACHE
from harness.scratch import scratch

Schema = dict[str, Any]

_REFERENCE = "#/definitions/"


def folder(kubernetes: str) -> Path:
    """The folder with one strict, self-contained schema per kind of Kubernetes `kubernetes`.

    Files are named as kubeconform's template `{ResourceKind}{KindSuffix}.json` asks.
    """
    module = kubernetes_module(kubernetes)
    target = CACHE / "schemas" / gobuild.version(module)
    if not target.exists():
        specification = gobuild.source(module) / "api" / "openapi-spec" / "swagger.json"
        definitions = json.loads(specification.read_text())["definitions"]
        with scratch(target.parent) as temporary:
            unfinished = temporary / "schemas"
            unfinished.mkdir()
            for name, schema in _kinds(definitions).items():
                (unfinished / f"{name}.json").write_text(json.dumps(schema))
            unfinished.rename(target)
    return target


def _kinds(definitions: dict[str, Schema]) -> dict[str, Schema]:
    """File name -> schema, for each kind that can be applied."""
    strict = {name: _strict(definition) for name, definition in definitions.items()}
    files = {}
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            group = kind["group"].split(".")[0]
            suffix = f"{group}-{kind['version']}" if group else kind["version"]
            schema = strict[name] | {"definitions": _needed(name, strict)}
            files[f"{kind['kind'].lower()}-{suffix}"] = _pinned(schema, kind)
    return files


def _pinned(schema: Schema, kind: dict[str, str]) -> Schema:
    """`schema`, with apiVersion and kind required and fixed."""
    api_version = "/".join(filter(None, (kind["group"], kind["version"])))
    fixed = {"apiVersion": {"const": api_version}, "kind": {"const": kind["kind"]}}
    return schema | {
        "properties": schema.get("properties", {}) | fixed,
        "required": sorted({*schema.get("required", []), *fixed}),
    }


def _strict(schema: Schema) -> Schema:
    """`schema` with objects closed, so that a misspelt field is an error."""
    # These two scalars are written as a string or as a number.
    if schema.get("format") == "int-or-string" or schema.get("$ref", "").endswith(".Quantity"):
        return {"type": ["string", "number"]}
    result: Schema = {
        key: schema[key] for key in ("$ref", "enum", "required", "type") if key in schema
    }
    if "properties" in schema:
        result["properties"] = {
            name: _strict(field) for name, field in schema["properties"].items()
        }
        result["additionalProperties"] = False
    for key in ("additionalProperties", "items"):
        if key in schema:
            result[key] = _strict(schema[key])
    return result


def _needed(name: str, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that `name` refers to, and those that they refer to in turn."""
    found: dict[str, Schema] = {}
    waiting = set(_references(definitions[name]))
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found[reference] = definitions[reference]
            waiting.update(_references(definitions[reference]))
    return found


def _references(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(_REFERENCE)
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            yield from _references(schema[key])
    for field in schema.get("properties", {}).values():
        yield from _references(field)
