"""Ways to look into rendered objects, shared by all render tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness.helm import TemplateError, template
from harness.paths import CHART

Object = dict[str, Any]

DRAIN_TIMEOUT = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name; fails with what there is instead."""
    found = [obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"no single {kind} {name} in {inventory(objects)}"
    return found[0]


def head(objects: list[Object]) -> Object:
    """The head's Deployment."""
    return of_component(objects, "Deployment", "head")[0]


def worker(objects: list[Object], group: str = "default", kind: str = "Deployment") -> Object:
    """A worker group's object of this kind."""
    label = "ray-cluster/worker-group"
    found = of_component(objects, kind, "worker")
    return next(obj for obj in found if obj["metadata"]["labels"][label] == group)


def of_component(objects: list[Object], kind: str, component: str) -> list[Object]:
    """All objects of this kind that belong to the head or to the workers."""
    label = "app.kubernetes.io/component"
    return [
        obj
        for obj in objects
        if obj["kind"] == kind and obj["metadata"]["labels"].get(label) == component
    ]


def inventory(objects: list[Object]) -> set[tuple[str, str]]:
    """(kind, name) of every object."""
    return {(obj["kind"], obj["metadata"]["name"]) for obj in objects}


def deployments(objects: list[Object]) -> Iterator[Object]:
    """All Deployments."""
    return (obj for obj in objects if obj["kind"] == "Deployment")


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod template with its owner's kind and name, Jobs and CronJobs included."""
    for obj in objects:
        spec = obj.get("spec") or {}
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        title = f"{obj['kind']} {obj['metadata']['name']}"
        if obj["kind"] == "Pod":
            yield title, obj
        elif "containers" in spec.get("template", {}).get("spec", {}):
            yield title, spec["template"]


def pod(deployment: Object) -> Object:
    """The pod spec of a Deployment."""
    spec: Object = deployment["spec"]["template"]["spec"]
    return spec


def container(deployment: Object) -> Object:
    """The Ray container of a Deployment."""
    first: Object = pod(deployment)["containers"][0]
    assert first["name"] in {"ray-head", "ray-worker"}
    return first


def command(deployment: Object) -> list[str]:
    """The Ray container's command, with `ray` in place of the lines of Python that run it."""
    words: list[str] = container(deployment)["command"]
    at = words.index((CHART / "files/ray.py").read_text())
    assert words[at - 2 : at] == ["python", "-c"]
    return [*words[: at - 2], "ray", *words[at + 2 :]]


def flags(deployment: Object) -> dict[str, str]:
    """The flags of `ray start`, without dashes; a flag without a value is the empty string."""
    pairs = (
        argument.removeprefix("--").partition("=") for argument in container(deployment)["args"]
    )
    return {flag: value for flag, _, value in pairs}


def env(deployment: Object) -> dict[str, Any]:
    """The Ray container's environment: a value, or the dictionary in its valueFrom."""
    entries = container(deployment)["env"]
    names = [entry["name"] for entry in entries]
    assert len(names) == len(set(names)), f"a name occurs twice in {names}"
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries}


def volume(deployment: Object, name: str) -> Object:
    """A volume of the pod by name."""
    return next(volume for volume in pod(deployment)["volumes"] if volume["name"] == name)


def refusal(values: Object, **options: Any) -> str:
    """What Helm says when it refuses the values; fails if it accepts them."""
    with pytest.raises(TemplateError) as refused:
        template(values, **options)
    return refused.value.message
