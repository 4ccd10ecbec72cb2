"""Pod Security Standard "restricted", as Kubernetes publishes it, with every control.

The strictest reading: of the newest version, and without what it grants pods in a user namespace.
A mount of the host (`hostPath`), a control of "baseline", is covered by the list of volume types.
"""

from collections.abc import Callable, Iterator
from typing import Any

from .objects import Object

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"}
_VOLUMES |= {"persistentVolumeClaim", "projected", "secret"}
_SYSCTLS = {"kernel.shm_rmid_forced"} | {
    f"net.ipv4.{name}"
    for name in (
        "ip_local_port_range", "ip_local_reserved_ports", "ip_unprivileged_port_start",
        "ping_group_range", "tcp_fin_timeout", "tcp_keepalive_intvl", "tcp_keepalive_probes",
        "tcp_keepalive_time", "tcp_rmem", "tcp_syncookies", "tcp_wmem",
    )
}  # fmt: skip
_SELINUX = {"container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_PROFILES = {"RuntimeDefault", "Localhost"}
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"

_Control = Callable[[Object], Iterator[str]]


def violations(template: Object) -> list[str]:
    """What a pod template breaks: '<control>: <field> is <value>', for init containers too."""
    return [f"{name}: {what}" for name, control in CONTROLS.items() for what in control(template)]


def _containers(template: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in template["spec"].get(kind) or []:
            yield f"{kind}.{container['name']}", container


def _contexts(template: Object) -> Iterator[tuple[str, Object]]:
    """The security settings of the pod, and those of each container."""
    yield "pod", template["spec"].get("securityContext") or {}
    for where, container in _containers(template):
        yield where, container.get("securityContext") or {}


def _effective(template: Object, field: str) -> Iterator[tuple[str, Any]]:
    """What counts for each container: its own setting, or else the pod's."""
    (_, pods), *containers = _contexts(template)
    for where, context in containers:
        yield where, context[field] if context.get(field) is not None else pods.get(field)


def _host_process(template: Object) -> Iterator[str]:
    for where, context in _contexts(template):
        if (context.get("windowsOptions") or {}).get("hostProcess"):
            yield f"{where} is a host process"


def _host_namespaces(template: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if template["spec"].get(field):
            yield f"{field} is true"


def _privileged(template: Object) -> Iterator[str]:
    for where, context in _contexts(template):
        if context.get("privileged"):
            yield f"{where} is privileged"


def _capabilities(template: Object) -> Iterator[str]:
    for where, container in _containers(template):
        sets = (container.get("securityContext") or {}).get("capabilities") or {}
        if "ALL" not in (sets.get("drop") or []):
            yield f"{where} does not drop ALL"
        if added := sorted(set(sets.get("add") or []) - {"NET_BIND_SERVICE"}):
            yield f"{where} adds {added}"


def _volume_types(template: Object) -> Iterator[str]:
    for volume in template["spec"].get("volumes") or []:
        if other := sorted(set(volume) - {"name"} - _VOLUMES):
            yield f"volume {volume['name']} is a {other[0]}"


def _host_ports(template: Object) -> Iterator[str]:
    for where, container in _containers(template):
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield f"{where} takes the node's port {port['hostPort']}"


def _host_probes(template: Object) -> Iterator[str]:
    for where, container in _containers(template):
        names = ("startupProbe", "livenessProbe", "readinessProbe")
        handlers = {name: container.get(name) or {} for name in names}
        handlers |= container.get("lifecycle") or {}
        for name, handler in handlers.items():
            for action in ("httpGet", "tcpSocket"):
                if host := (handler.get(action) or {}).get("host"):
                    yield f"{where} asks host {host} in {name}"


def _app_armor(template: Object) -> Iterator[str]:
    for where, context in _contexts(template):
        kind = (context.get("appArmorProfile") or {}).get("type")
        if kind not in {None, *_PROFILES}:
            yield f"{where} has the AppArmor profile {kind}"
    for key, value in (template.get("metadata", {}).get("annotations") or {}).items():
        allowed = value == "runtime/default" or value.startswith("localhost/")
        if key.startswith(_APPARMOR_ANNOTATION) and not allowed:
            yield f"annotation {key} is {value}"


def _selinux(template: Object) -> Iterator[str]:
    for where, context in _contexts(template):
        options = context.get("seLinuxOptions") or {}
        if (kind := options.get("type")) and kind not in _SELINUX:
            yield f"{where} has the SELinux type {kind}"
        for field in ("user", "role"):
            if options.get(field):
                yield f"{where} sets the SELinux {field} {options[field]}"


def _proc_mount(template: Object) -> Iterator[str]:
    for where, context in _contexts(template):
        if context.get("procMount") not in {None, "Default"}:
            yield f"{where} has procMount {context['procMount']}"


def _sysctls(template: Object) -> Iterator[str]:
    context = template["spec"].get("securityContext") or {}
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in _SYSCTLS:
            yield f"pod sets {sysctl['name']}"


def _privilege_escalation(template: Object) -> Iterator[str]:
    for where, container in _containers(template):
        context = container.get("securityContext") or {}
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{where} may gain privileges"


def _non_root(template: Object) -> Iterator[str]:
    for where, value in _effective(template, "runAsNonRoot"):
        if value is not True:
            yield f"{where} may run as root"
    for where, context in _contexts(template):
        if context.get("runAsNonRoot") is False:
            yield f"{where} has runAsNonRoot false"


def _user(template: Object) -> Iterator[str]:
    for where, context in _contexts(template):
        if context.get("runAsUser") == 0:
            yield f"{where} runs as user 0"


def _seccomp(template: Object) -> Iterator[str]:
    for where, profile in _effective(template, "seccompProfile"):
        if (profile or {}).get("type") not in _PROFILES:
            yield f"{where} has the seccomp profile {(profile or {}).get('type')}"
    for where, context in _contexts(template):
        kind = (context.get("seccompProfile") or {}).get("type")
        if kind not in {None, *_PROFILES}:
            yield f"{where} sets the seccomp profile {kind}"


CONTROLS: dict[str, _Control] = {
    "AppArmor": _app_armor,
    "capabilities": _capabilities,
    "host namespaces": _host_namespaces,
    "host ports": _host_ports,
    "host probes": _host_probes,
    "host process": _host_process,
    "non-root": _non_root,
    "privilege escalation": _privilege_escalation,
    "privileged": _privileged,
    "proc mount": _proc_mount,
    "seccomp": _seccomp,
    "SELinux": _selinux,
    "sysctls": _sysctls,
    "user": _user,
    "volume types": _volume_types,
}
