"""The schemas of Kubernetes' kinds and of the custom ones, and what objects break of them.

The specification of each Kubernetes version lies in its k8s.io/kubernetes module
(`api/openapi-spec`), the definitions of custom resources in the modules of their projects. So no
schema needs to be fetched from a web address or kept in this repository: they are made when they
are first needed, one strict and self-contained file per kind, named as kubeconform's template
`{ResourceKind}{KindSuffix}.json` asks.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft7Validator

from harness import gobuild, manifest
from harness.errors import UserError
from harness.paths import CACHE, PACKAGE
from harness.scratch import publish, scratch
from harness.tools import NEWEST_KUBERNETES

Schema = dict[str, Any]

# The oldest that the chart supports, one in the middle, and the newest.
KUBERNETES = ("1.31", "1.34", NEWEST_KUBERNETES)

# The module that is only read: it pins what is not built.
_READ = "schemas"
_SPECIFICATION = "k8s.io/kubernetes"
# Where each project keeps its CustomResourceDefinitions.
_CUSTOM_RESOURCES = {
    "github.com/argoproj/argo-cd/v3": "manifests/crds",
    "github.com/fluxcd/helm-controller": "config/crd/bases",
    "github.com/fluxcd/source-controller": "config/crd/bases",
    "github.com/kedacore/keda/v2": "config/crd/bases",
    "github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd",
    "sigs.k8s.io/gateway-api": "config/crd/standard",
}

_REFERENCE = "#/definitions/"
_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
)
_LABEL_VALUE = r"^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_LABELS: Schema = {
    "propertyNames": {"pattern": _LABEL_KEY},
    "additionalProperties": {"type": "string", "pattern": _LABEL_VALUE},
}
_PORT = {"minimum": 1, "maximum": 65535}
# What an API server refuses although the specification only says it in prose, by the last part of
# the definition's name and the field.
_PROSE: dict[tuple[str, str], Schema] = {
    ("ObjectMeta", "annotations"): {"propertyNames": {"pattern": _LABEL_KEY}},
    ("ObjectMeta", "labels"): _LABELS,
    ("ObjectMeta", "name"): {"pattern": _SUBDOMAIN, "maxLength": 253},
    ("LabelSelector", "matchLabels"): _LABELS,
    ("ContainerPort", "containerPort"): _PORT,
    ("ServicePort", "port"): _PORT,
    ("Container", "name"): {"pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
    ("Volume", "name"): {"pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
}
_QUANTITY = (
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$"
)
_LIMITS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (32, 64)}
# Taken over as they are; what only documents, or what Kubernetes alone can evaluate, is left out.
_KEPT = (
    "$ref", "enum", "maximum", "maxItems", "maxLength", "maxProperties",
    "minimum", "minItems", "minLength", "minProperties", "pattern", "required", "type",
)  # fmt: skip


class NonConformingError(Exception):
    """Objects that a supported Kubernetes would refuse; the message lists every reason."""


def since(kubernetes: str) -> list[str]:
    """Those of KUBERNETES that are not older than `kubernetes`, a version such as '1.34.0'."""

    def minor(version: str) -> int:
        return int(version.removeprefix("v").split(".")[1])

    return [version for version in KUBERNETES if minor(version) >= minor(kubernetes)]


def check(objects: Iterable[Mapping[str, Any]], versions: Iterable[str] = KUBERNETES) -> None:
    """Check `objects` against the schemas of each of the Kubernetes `versions` ('1.37').

    Raises NonConformingError with all reasons, and UserError if the schemas cannot be had.
    """
    texts = [json.dumps(obj, sort_keys=True) for obj in objects]
    found = [reason for text in texts for version in versions for reason in _reasons(text, version)]
    if found:
        raise NonConformingError("\n".join(dict.fromkeys(found)))


# Most objects of one test are those of the test before.
@lru_cache(maxsize=4096)
def _reasons(text: str, kubernetes: str) -> tuple[str, ...]:
    """What the object written as `text` breaks: 'Service ray-head: /spec/ports/0: ...'."""
    obj = json.loads(text)
    title = f"{obj['kind']} {obj['metadata'].get('name')}"
    validator = _validator(kubernetes, obj["apiVersion"], obj["kind"])
    if validator is None:
        return (f"{title}: Kubernetes {kubernetes} has no {obj['kind']} of {obj['apiVersion']}",)
    return tuple(
        f"{title}: /{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in validator.iter_errors(obj)
    )


@cache
def _validator(kubernetes: str, api_version: str, kind: str) -> Draft7Validator | None:
    group, _, version = api_version.rpartition("/")
    file = folder(kubernetes) / _file(group, version, kind)
    return Draft7Validator(json.loads(file.read_text())) if file.exists() else None


@cache
def folder(kubernetes: str) -> Path:
    """The folder with one strict schema per kind of Kubernetes `kubernetes` ('1.37').

    Custom resources are among them. Raises UserError for a version that is not pinned.
    """
    module = f"kubernetes-{kubernetes}"
    if not (gobuild.MODULES / module).exists():
        module = _READ
    pinned = gobuild.required(module)[_SPECIFICATION]
    if not pinned.startswith(f"v{kubernetes}."):
        raise UserError(f"There are no schemas of Kubernetes {kubernetes}, only {KUBERNETES}.")
    target = CACHE / "schemas" / f"{pinned}-{_digest()}"
    if not target.exists():
        with scratch(target.parent) as temporary:
            unfinished = temporary / "schemas"
            unfinished.mkdir()
            for name, schema in _files(gobuild.download(module, _SPECIFICATION)):
                (unfinished / name).write_text(json.dumps(schema))
            publish(unfinished, target)
    return target


def _digest() -> str:
    """Changes with this file and with the versions of the custom resources."""
    parts = [PACKAGE / "schemas.py", gobuild.MODULES / _READ / "go.mod"]
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:8]


def _files(kubernetes_source: Path) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each kind that can be applied."""
    specification = kubernetes_source / "api" / "openapi-spec" / "swagger.json"
    definitions = json.loads(specification.read_text())["definitions"]
    strict = {name: _strict(definition) for name, definition in definitions.items()}
    for name, definition in strict.items():
        for field, schema in definition.get("properties", {}).items():
            schema.update(_PROSE.get((name.rpartition(".")[2], field), {}))
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            yield _applied(strict[name], strict, kind["group"], kind["version"], kind["kind"])
    for crd in _custom_resource_definitions():
        group, kind = crd["group"], crd["names"]["kind"]
        for version in (version for version in crd["versions"] if version["served"]):
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"$ref": f"{_REFERENCE}{_METADATA}"}
            yield _applied(schema, strict, group, version["name"], kind)


def _custom_resource_definitions() -> Iterator[Schema]:
    for path, below in _CUSTOM_RESOURCES.items():
        for file in sorted((gobuild.download(_READ, path) / below).glob("*.yaml")):
            for document in manifest.load_all(file.read_text()):
                if document["kind"] == "CustomResourceDefinition":
                    yield document["spec"]


def _file(group: str, version: str, kind: str) -> str:
    suffix = "-".join(filter(None, (group.split(".")[0], version)))
    return f"{kind.lower()}-{suffix}.json"


def _applied(
    schema: Schema, definitions: dict[str, Schema], group: str, version: str, kind: str
) -> tuple[str, Schema]:
    """`schema` with what it refers to, and with apiVersion and kind required and fixed."""
    api_version = "/".join(filter(None, (group, version)))
    fixed = {"apiVersion": {"const": api_version}, "kind": {"const": kind}}
    return _file(group, version, kind), schema | {
        "definitions": _needed(schema, definitions),
        "properties": schema.get("properties", {}) | fixed,
        "required": sorted({*schema.get("required", []), *fixed}),
    }


def _without_flag(pattern: str) -> str:
    """A pattern in Go's words without `(?i)`, which no JSON schema may hold: both cases instead."""
    before, _, after = pattern.partition("(?i)")
    return before + re.sub("[a-z]", lambda c: f"[{c[0]}{c[0].upper()}]", after)


def _strict(schema: Schema) -> Schema:
    """`schema` with objects closed, so that a misspelt field is an error."""
    # These two scalars are written as a string or as a number.
    if schema.get("$ref", "").endswith(".Quantity"):
        return {"type": ["string", "number"], "pattern": _QUANTITY}
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        minimum, maximum = _LIMITS["int32"]
        either = {"type": ["string", "integer"], "minimum": minimum, "maximum": maximum}
        return either | {key: schema[key] for key in ("pattern",) if key in schema}
    result: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "pattern" in result:
        result["pattern"] = _without_flag(result["pattern"])
    if schema.get("nullable") and "type" in schema:
        result["type"] = [schema["type"], "null"]
    if schema.get("type") == "integer" and schema.get("format") in _LIMITS:
        minimum, maximum = _LIMITS[schema["format"]]
        result["minimum"] = max(minimum, schema.get("minimum", minimum))
        result["maximum"] = min(maximum, schema.get("maximum", maximum))
    if "properties" in schema:
        result["properties"] = {
            name: _strict(field) for name, field in schema["properties"].items()
        }
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            result[key] = _strict(schema[key])
    return result


def _needed(schema: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that `schema` refers to, and those that they refer to in turn."""
    found: dict[str, Schema] = {}
    waiting = set(_references(schema))
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
