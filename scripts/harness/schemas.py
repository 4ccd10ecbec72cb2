"""Kubernetes' own API schemas as kubeconform reads them, made from its OpenAPI specification.

The specification lies in the k8s.io/kubernetes module of each version (`api/openapi-spec`), so no
schema needs to be fetched from anywhere or kept in this repository.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from harness import gobuild
from harness.images import kubernetes_module
from harness.paths import CACHE

Schema = dict[str, Any]

_REFERENCE = "#/definitions/"


def folder(kubernetes: str) -> Path:
    """The folder with one strict, self-contained schema per kind of Kubernetes `kubernetes`.

    Files are named as kubeconform's template `{ResourceKind}{KindSuffix}.json` asks.
    """
    module = kubernetes_module(kubernetes)
    target = CACHE / "schemas" / gobuild.version(module)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        specification = gobuild.source(module) / "api" / "openapi-spec" / "swagger.json"
        definitions = json.loads(specification.read_text())["definitions"]
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            unfinished = Path(temporary) / "schemas"
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


def _strict(node: Any) -> Any:
    """`node` with objects closed, so that a misspelt field is an error."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    # These two scalars are written as a string or as a number.
    if node.get("format") == "int-or-string" or node.get("$ref", "").endswith(
        ".api.resource.Quantity"
    ):
        return {"type": ["string", "number"]}
    result = {key: _strict(value) for key, value in node.items() if not key.startswith("x-")}
    result.pop("format", None)  # int64 and the like, which JSON Schema does not know
    if "properties" in node and "additionalProperties" not in node:
        result["additionalProperties"] = False
    return result


def _needed(name: str, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that `name` refers to, and those that they refer to in turn."""
    found: dict[str, Schema] = {}
    waiting = _references(definitions[name])
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found[reference] = definitions[reference]
            waiting |= _references(definitions[reference])
    return found


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_references, node))
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"].removeprefix(_REFERENCE)} if isinstance(node.get("$ref"), str) else set()
    return own.union(*(_references(value) for value in node.values()))
