"""Every pod of every profile satisfies "restricted", and each of its controls can say no."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.helm import PROFILES, template, values_of

from .objects import Object, pod_templates
from .pod_security import CONTROLS, violations

RESTRICTED: Object = {
    "metadata": {},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [
            {
                "name": "c",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                },
            }
        ],
    },
}

# Controls that a profile breaks because it asks for it (a disk of the node, say), by its file name.
ASKED_FOR: dict[str, set[str]] = {"gpu.yaml": {"volume types"}}  # a disk of the machine

POD: dict[str, list[Object]] = {
    "AppArmor": [
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    ],
    "host namespaces": [{"hostNetwork": True}, {"hostPID": True}, {"hostIPC": True}],
    "host process": [{"securityContext": {"windowsOptions": {"hostProcess": True}}}],
    "non-root": [
        {"securityContext": {"runAsNonRoot": None}},
        {"securityContext": {"runAsNonRoot": False}},
    ],
    "seccomp": [
        {"securityContext": {"seccompProfile": None}},
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    ],
    "SELinux": [
        {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
        {"securityContext": {"seLinuxOptions": {"user": "u"}}},
        {"securityContext": {"seLinuxOptions": {"role": "r"}}},
    ],
    "sysctls": [{"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}],
    "user": [{"securityContext": {"runAsUser": 0}}],
    "volume types": [
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "v", "nfs": {"server": "a", "path": "/"}}]},
    ],
}
CONTAINER: dict[str, list[Object]] = {
    "AppArmor": [{"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}],
    "capabilities": [
        {"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}},
        {"securityContext": {"capabilities": None}},
        {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    ],
    "host ports": [{"ports": [{"containerPort": 80, "hostPort": 80}]}],
    "host probes": [
        *({name: {"httpGet": {"host": "a"}}} for name in ("startupProbe", "livenessProbe")),
        {"readinessProbe": {"tcpSocket": {"host": "a"}}},
        {"lifecycle": {"preStop": {"httpGet": {"host": "a"}}}},
        {"lifecycle": {"postStart": {"tcpSocket": {"host": "a"}}}},
    ],
    "host process": [{"securityContext": {"windowsOptions": {"hostProcess": True}}}],
    "non-root": [{"securityContext": {"runAsNonRoot": False}}],
    "privilege escalation": [
        {"securityContext": {"allowPrivilegeEscalation": True}},
        {"securityContext": {"allowPrivilegeEscalation": None}},
    ],
    "privileged": [{"securityContext": {"privileged": True}}],
    "proc mount": [{"securityContext": {"procMount": "Unmasked"}}],
    "seccomp": [{"securityContext": {"seccompProfile": {"type": "Unconfined"}}}],
    "SELinux": [{"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}],
    "user": [{"securityContext": {"runAsUser": 0}}],
}


def merged(base: Any, change: Any) -> Any:
    """`base` with the keys of `change` over it, at every depth."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def rows(table: dict[str, list[Object]]) -> list[Any]:
    """(control, change) of every row."""
    pairs = [(control, change) for control, changes in table.items() for change in changes]
    return [pytest.param(*pair, id=f"{pair[0]}: {json.dumps(pair[1])}"[:90]) for pair in pairs]


def broken_controls(template: Object) -> set[str]:
    """The controls that the pod template breaks."""
    return {violation.partition(":")[0] for violation in violations(template)}


@pytest.mark.parametrize("profile", [None, *PROFILES], ids=lambda path: path and path.name)
def test_every_pod_of_a_profile_is_restricted(profile: Path | None) -> None:
    found = [
        violation
        for _, pod in pod_templates(template(values_of(profile)))
        for violation in violations(pod)
    ]
    asked = ASKED_FOR.get(profile.name, set()) if profile else set()
    assert {violation.partition(":")[0] for violation in found} == asked, found


def test_restricted_pod_breaks_nothing() -> None:
    assert violations(RESTRICTED) == []


@pytest.mark.parametrize(("control", "change"), rows(POD))
def test_control_refuses_a_pod(control: str, change: Object) -> None:
    assert broken_controls(merged(RESTRICTED, {"spec": change})) == {control}


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(("control", "change"), rows(CONTAINER))
def test_control_refuses_a_container(control: str, change: Object, kind: str) -> None:
    container = merged({**RESTRICTED["spec"]["containers"][0], "name": "d"}, change)
    containers = [*RESTRICTED["spec"]["containers"], container]
    assert broken_controls(merged(RESTRICTED, {"spec": {kind: containers}})) == {control}


def test_control_refuses_the_old_annotation_of_app_armor() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/c"
    pod = merged(RESTRICTED, {"metadata": {"annotations": {key: "unconfined"}}})
    assert broken_controls(pod) == {"AppArmor"}


def test_every_control_is_tested() -> None:
    assert set(CONTROLS) == {*POD, *CONTAINER}


def test_container_may_be_stricter_than_its_pod() -> None:
    strict = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    container = merged(RESTRICTED["spec"]["containers"][0], {"securityContext": strict})
    pod = {"spec": {"containers": [container]}}
    assert violations(pod) == []
