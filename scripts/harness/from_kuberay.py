"""Turn KubeRay manifests into values for the chart, and say what does not come along.

It reads RayClusters, and the clusters in RayJobs and RayServices, from a file or from standard
input. The values go to standard output, what is not carried over to standard error and to the
comments at the head of the values.

The tables below say what becomes of each field, and docs/migration.md is written from them: a
field that is in none of them is reported like one that cannot be carried over.
"""

import argparse
import json
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kubernetes.utils.quantity import parse_quantity

from harness import helm, manifest, tools
from harness.command import main
from harness.console import out
from harness.errors import UserError
from harness.paths import CHART

Values = dict[str, Any]

# Where each kind keeps its cluster.
_CLUSTER_OF = {
    "RayCluster": "spec",
    "RayJob": "spec.rayClusterSpec",
    "RayService": "spec.rayClusterConfig",
}
DIFFERENCES = (
    "Workers scale on the CPU and memory that they use. With `worker.autoscaling.demand` they "
    "follow what tasks declare as well, as KubeRay's do, and a group may be empty.",
    "Objects are named after the release: the head's Service is `<release>-ray-cluster-head`, "
    "headless as KubeRay's `<cluster>-head-svc` is. The GCS listens on 6380: `ports.gcs`.",
    "From Ray 2.52 on everything asks for a token unless the manifest says `mode: disabled`: "
    "`auth.token`.",
    "Pods run as user 1000 without privileges and without a token for the Kubernetes API, where "
    "the manifest does not say otherwise: `podSecurityContext`, `securityContext`, "
    "`serviceAccount.automount`.",
    "NetworkPolicies let in nobody but the release's own pods: `networkPolicy.dashboard.from` "
    "names who submits jobs, `client.from` who uses `ray://`, `metrics.from` Prometheus.",
    "The object store takes 25 % of the memory limit, Ray's own number is 30: `objectStoreMemory`.",
    "KubeRay's labels (`ray.io/cluster`, `ray.io/group`) and variables (`FQ_RAY_IP`, "
    "`RAY_CLUSTER_NAME`, `KUBERAY_GEN_RAY_START_CMD`) do not exist: pods have Kubernetes' "
    "standard labels.",
    "An upgrade replaces the pods that it changes, and workers finish their tasks first; a "
    "RayCluster's pods stay as they are.",
)
_WIDTH = 110


@dataclass(frozen=True)
class Note:
    """A field that is not carried over."""

    path: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}. {self.instead}."


@dataclass
class Converted:
    """A cluster of a manifest as values of the chart, and what is missing from them."""

    kind: str
    name: str
    namespace: str = ""
    values: Values = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


@dataclass
class _Part:
    """What is converted at the moment: the cluster, its head or a worker group."""

    result: Converted
    cluster: Mapping[str, Any]
    values: Values  # where its values go
    source: Mapping[str, Any]  # what its tables are about
    group: str = ""

    def put(self, to: str, value: Any) -> None:
        """Set the value at `to`; NODE stands for this head or worker group."""
        own = to.startswith("NODE.")
        _set(self.values if own else self.result.values, to.removeprefix("NODE."), value)

    def left(self, path: str, why: str, instead: str) -> None:
        """Say that the field at `path` is not carried over."""
        node = f"workerGroups.{self.group}" if self.group else "head"
        self.result.notes.append(Note(path, why, instead.replace("NODE", node)))


Convert = Callable[[_Part, str, Any], None]


@dataclass(frozen=True)
class Rule:
    """What becomes of a field: the values it goes to, how they differ, and the function."""

    to: str
    remark: str
    convert: Convert


def _same(to: str, remark: str = "") -> Rule:
    return Rule(to, remark, lambda part, _, value: part.put(to, value))


def _changed(convert: Convert, to: str, remark: str) -> Rule:
    return Rule(to, remark, convert)


def _own(remark: str, *values: Any) -> Rule:
    """The chart does it by itself; if `values` are given, only where the field is one of them."""

    def convert(part: _Part, path: str, value: Any) -> None:
        if values and value not in values:
            part.left(path, f"it is {value!r} here, but {remark}", "Nothing can be chosen")

    return Rule("", remark, convert)


def _left(why: str, instead: str) -> Rule:
    return Rule(
        "", f"not carried over: {why}. {instead}.",
        lambda part, path, value: part.left(path, why, instead),
    )  # fmt: skip


def _walk(part: _Part, rules: Mapping[str, Rule], path: str, source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if value in (None, "", [], {}):
            continue
        if rule := rules.get(key):
            rule.convert(part, f"{path}.{key}", value)
        else:
            part.left(f"{path}.{key}", "this converter does not know it", "Look for it by hand")


def _inner(rules: Mapping[str, Rule]) -> Convert:
    return lambda part, path, value: _walk(part, rules, path, value)


def _set(values: Values, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def image_of(reference: str) -> Values:
    """The parts of an image's reference, as Docker reads it: `image` of the chart."""
    name, _, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    registry = "docker.io"
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, name = first, rest
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    if registry == "docker.io" and not slash:
        folder, slash = "library", "/"
    return {
        "registry": registry,
        "repository": f"{folder}{slash}{last}",
        "tag": tag or ("" if digest else "latest"),
        "digest": digest,
    }


def _told(image: Mapping[str, Any]) -> str:
    """Ray's version as a tag tells it, in the way of the chart; empty if it does not."""
    found = re.match(r"(\d+\.\d+\.\d+)(-|$)", image["tag"])
    return found[1] if found else ""


def _container(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """The Ray container: with KubeRay it is the first one."""
    first: Mapping[str, Any] = group["template"]["spec"]["containers"][0]
    return first


# The cluster as a whole.


def _version(part: _Part, path: str, value: Any) -> None:
    groups = [part.cluster["headGroupSpec"], *(part.cluster.get("workerGroupSpecs") or [])]
    told = {_told(image_of(_container(group)["image"])) for group in groups}
    if other := told - {"", str(value)}:
        part.left(
            path, f"it is {value}, but a tag says {max(other)}", "Give all images the same version"
        )
    elif "" in told:
        part.put("rayVersion", str(value))


def _credential(to: str, secret: str) -> Convert:
    """A user or password: its text goes to `to`, and the name of its Secret to `secret`."""

    def convert(part: _Part, path: str, value: Any) -> None:
        redis = "gcsFaultTolerance.redis"
        reference = (value.get("valueFrom") or {}).get("secretKeyRef")
        if reference and secret:
            part.put(f"{redis}.{secret}", reference["name"])
            part.put(f"{redis}.{secret}PasswordKey", reference["key"])
        elif "value" in value and not str(value["value"]).startswith("$"):
            part.put(f"{redis}.{to}", value["value"])
        else:
            part.left(path, "it is no text, and no key of a Secret", f"Set {redis}.{to}")

    return convert


def _redis_address(part: _Part, path: str, value: Any) -> None:
    part.put("gcsFaultTolerance.mode", "redis")
    part.put("gcsFaultTolerance.redis.address", str(value).removeprefix("redis://"))


def _auth_mode(part: _Part, path: str, value: Any) -> None:
    # `token` is what the chart does by itself.
    if value == "disabled":
        part.put("auth.token.enabled", False)


def _auth_secret(part: _Part, path: str, value: Any) -> None:
    part.put("auth.token.existingSecret", value)
    part.put("auth.token.existingSecretKey", "auth_token")


def _labels(to: str) -> Convert:
    """Labels but for those that the chart sets itself, or that only KubeRay understands."""

    def convert(part: _Part, path: str, value: Any) -> None:
        kept = {}
        for key, text in value.items():
            if key.startswith(("app.kubernetes.io/", "helm.sh/")):
                part.left(f"{path}.{key}", "the chart sets this label itself", "Use another name")
            elif key.startswith("ray.io/"):
                part.left(f"{path}.{key}", "it is for KubeRay", "Nothing acts on it here")
            else:
                kept[key] = text
        if kept:
            part.put(to, kept)

    return convert


def _annotations(part: _Part, path: str, value: Any) -> None:
    kept = {}
    for key, text in value.items():
        if key == "ray.io/ft-enabled":
            if str(text).lower() == "true":
                part.put("gcsFaultTolerance.mode", "redis")
        elif key == "ray.io/external-storage-namespace":
            part.put("gcsFaultTolerance.redis.storageNamespace", text)
        elif key.startswith("ray.io/"):
            part.left(f"{path}.{key}", "it is for KubeRay", "Nothing acts on it here")
        elif not key.startswith("kubectl.kubernetes.io/"):
            kept[key] = text
    if kept:
        part.put("commonAnnotations", kept)


def _head(part: _Part, path: str, value: Any) -> None:
    head = _Part(part.result, part.cluster, part.result.values.setdefault("head", {}), value)
    _node(head, path, GROUP | HEAD)


def _workers(part: _Part, path: str, value: Any) -> None:
    groups = part.result.values.setdefault("workerGroups", {})
    for index, source in enumerate(value):
        name = re.sub(r"[^a-z0-9-]+", "-", source["groupName"].lower())
        group = _Part(part.result, part.cluster, groups.setdefault(name, {}), source, name)
        if name != source["groupName"]:
            instead = f"It is called {name} here"
            group.left(f"{path}[{index}].groupName", "a name has a-z, 0-9 and - only", instead)
        _replicas(group, f"{path}[{index}]")
        _node(group, f"{path}[{index}]", GROUP | WORKER)


# Head and worker groups.


def _node(part: _Part, path: str, rules: Mapping[str, Rule]) -> None:
    template = f"{path}.template.spec"
    _resources(part, f"{template}.containers[0].resources")
    _image(part)
    _walk(part, rules, path, part.source)


def _replicas(part: _Part, path: str) -> None:
    """The number of pods, and who sets it."""
    hosts = part.source.get("numOfHosts") or 1
    least = part.source.get("minReplicas") or 0
    most = part.source.get("maxReplicas")
    number = max(part.source.get("replicas") or 0, least)
    if most is not None:
        number = min(number, most)
        part.put("NODE.autoscaling.maxReplicas", max(most * hosts, 1))
    part.put("NODE.autoscaling.minReplicas", max(least * hosts, 1))
    if not part.cluster.get("enableInTreeAutoscaling"):
        part.put("NODE.autoscaling.enabled", False)
        part.put("NODE.replicas", number * hosts)
        return
    if not least:
        part.left(
            f"{path}.minReplicas", "CPU and memory of a group without pods tell nothing",
            "It is 1 here; for 0 set NODE.autoscaling.demand or NODE.autoscaling.keda",
        )  # fmt: skip
    if number != least:
        part.left(
            f"{path}.replicas", "the autoscaler sets the number, and starts from the lowest",
            "Raise NODE.autoscaling.minReplicas if there have to be more",
        )  # fmt: skip
    if most is None:
        part.put("NODE.autoscaling.maxReplicas", max(number * hosts, 10))
        part.left(
            f"{path}.maxReplicas", "it is missing, which means no limit",
            f"It is {max(number * hosts, 10)} here: choose NODE.autoscaling.maxReplicas",
        )  # fmt: skip


def _resources(part: _Part, path: str) -> None:
    """Requests and limits, without what the chart's defaults would add to them.

    Ray's CPUs follow from them as KubeRay counts them: by the limit, where the chart takes the
    request.
    """
    given = _container(part.source).get("resources") or {}
    result = {kind: dict(given.get(kind) or {}) for kind in ("requests", "limits")}
    for name in ("cpu", "memory"):
        kinds = [kind for kind in result if result[kind].get(name) is not None]
        if not kinds:
            part.left(f"{path}.limits.{name}", "it is missing", f"The chart's {name} is taken")
            continue
        if name == "memory" and "limits" not in kinds:
            result["limits"][name] = result["requests"][name]
            part.left(
                f"{path}.limits.memory", "it is missing, and Ray has to know it here",
                "It is the request; choose NODE.resources.limits.memory",
            )  # fmt: skip
        for kind in result:
            result[kind].setdefault(name, None)  # null clears the default
    for kind, quantities in result.items():
        texts = {name: text if text is None else str(text) for name, text in quantities.items()}
        part.put(f"NODE.resources.{kind}", texts)
    if claims := given.get("claims"):
        part.put("NODE.resources.claims", claims)
    limit, request = (result[kind].get("cpu") for kind in ("limits", "requests"))
    counted, asked = (
        math.ceil(parse_quantity(cpu)) if cpu else 0 for cpu in (limit or request, request or limit)
    )
    part.put("NODE.numCpus", "auto" if counted == asked else counted)
    for resource, name in _ACCELERATORS.items():
        if count := result["limits"].get(resource):
            part.put(f"NODE.rayResources.{name}", int(parse_quantity(count)))


# Extended resources that KubeRay tells Ray about under another name.
_ACCELERATORS = {"google.com/tpu": "TPU", "aws.amazon.com/neuroncore": "neuron_cores"}


def _image(part: _Part) -> None:
    """The head's image is the cluster's; a group has what differs."""
    container = _container(part.source)
    image = image_of(container["image"])
    if policy := container.get("imagePullPolicy"):
        image["pullPolicy"] = policy
    shared = part.result.values.get("image")
    if not part.group:
        part.result.values["image"] = image
    elif shared:
        own = {key: value for key, value in image.items() if shared.get(key) != value}
        if own:
            part.put("NODE.image", own)


def _params(part: _Part, path: str, value: Any) -> None:
    for flag, text in value.items():
        if rule := PARAMS.get(flag):
            rule.convert(part, f"{path}.{flag}", str(text))
        elif text == "true" and flag not in _TAKING_BOOLEANS:
            part.put("NODE.rayStartParams", part.values.get("rayStartParams", {}) | {flag: ""})
        elif text != "false" or flag in _TAKING_BOOLEANS:
            # Kubernetes expands variables here, where KubeRay has a shell.
            text = re.sub(r"\$\{?([A-Za-z_]\w*)\}?", r"$(\1)", str(text))
            part.put("NODE.rayStartParams", part.values.get("rayStartParams", {}) | {flag: text})


# To KubeRay every other flag with a boolean is there or not.
_TAKING_BOOLEANS = {"include-dashboard", "include-log-monitor", "log-color"}


def _whole(to: str) -> Convert:
    def convert(part: _Part, path: str, value: Any) -> None:
        try:
            part.put(to, math.ceil(float(value)))
        except ValueError:
            part.left(path, f"{value} is no number", f"Write {to} as one")

    return convert


def _resources_flag(part: _Part, path: str, value: str) -> None:
    """JSON, which most manifests wrap into quotes once more, for KubeRay's shell."""
    text = value.strip().strip("'")
    try:
        parsed = json.loads(text)
        parsed = json.loads(parsed) if isinstance(parsed, str) else parsed
        part.put("NODE.rayResources", part.values.get("rayResources", {}) | parsed)
    except (TypeError, ValueError):
        part.left(path, f"{value} is no JSON", "Set NODE.rayResources")


def _labels_flag(part: _Part, path: str, value: str) -> None:
    pairs = [pair.partition("=") for pair in value.strip("'\"").split(",") if pair]
    part.put("NODE.rayLabels", {key: text for key, _, text in pairs})


def _usage_stats(part: _Part, path: str, value: Any) -> None:
    if value == "false":
        part.put("usageStats.enabled", True)


def _redis_flag(part: _Part, path: str, value: str) -> None:
    if not value.startswith("$"):  # a variable is among `env`, and converted there
        part.put(f"gcsFaultTolerance.redis.{path.rpartition('-')[2]}", value)


def _ray_resources(part: _Part, path: str, value: Any) -> None:
    """A group's `resources`, which win over `rayStartParams`."""
    for name, amount in value.items():
        if rule := _GROUP_RESOURCES.get(name):
            rule.convert(part, f"{path}.{name}", amount)
        else:
            _whole(f"NODE.rayResources.{name}")(part, f"{path}.{name}", amount)


def _external_service(part: _Part, path: str, value: Any) -> None:
    if value != "ClusterIP":
        part.put("head.externalService.enabled", True)
        part.put("head.externalService.type", value)


def _service_ports(part: _Part, path: str, value: Any) -> None:
    own = {"client", "dashboard", "gcs-server", "metrics", "serve"}
    if extra := [port for port in value if port.get("name") not in own]:
        part.put("head.service.extraPorts", extra)


# Pods.


def _volumes(part: _Part, path: str, value: Any) -> None:
    """Volumes but for those whose place is the chart's."""
    replaced = _replaced(part)
    if kept := [volume for volume in value if volume["name"] not in replaced]:
        part.put("NODE.volumes", kept)


def _replaced(part: _Part) -> dict[str, str]:
    """Volumes of the Ray container for which the chart has its own: their names there."""
    declared = part.source["template"]["spec"].get("volumes") or []
    volumes = {volume["name"]: volume for volume in declared}
    found = {}
    for mount in _container(part.source).get("volumeMounts") or []:
        own = _MOUNTS.get(mount["mountPath"].rstrip("/"))
        volume = volumes.get(mount["name"], {})
        claimed = own == "ray-tmp" and not part.group and "persistentVolumeClaim" in volume
        if own and ("emptyDir" in volume or claimed):
            found[mount["name"]] = own
    return found


_MOUNTS = {"/dev/shm": "shm", "/tmp/ray": "ray-tmp"}  # noqa: S108


def _mounts(part: _Part, path: str, value: Any) -> None:
    replaced, kept = _replaced(part), []
    for index, mount in enumerate(value):
        own = _MOUNTS.get(mount["mountPath"].rstrip("/"))
        if own and mount["name"] not in replaced:
            part.left(
                f"{path}[{index}]", f"the chart has a volume of its own at {mount['mountPath']}",
                "See head.persistence, or NODE.objectStoreMemory",
            )  # fmt: skip
        elif own:
            _replaced_mount(part, f"{path}[{index}]", mount)
        else:
            kept.append(mount | {"name": replaced.get(mount["name"], mount["name"])})
    if kept:
        part.put("NODE.volumeMounts", kept)


def _replaced_mount(part: _Part, path: str, mount: Mapping[str, Any]) -> None:
    spec = part.source["template"]["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == mount["name"])
    if claim := volume.get("persistentVolumeClaim"):
        part.put("head.persistence.enabled", True)
        part.put("head.persistence.existingClaim", claim["claimName"])
    elif size := (volume["emptyDir"] or {}).get("sizeLimit"):
        index = spec["volumes"].index(volume)
        part.left(
            f"{path.partition('.containers')[0]}.volumes[{index}].emptyDir.sizeLimit",
            f"the chart sizes its own volume at {mount['mountPath']}; it was {size}",
            "See NODE.objectStoreMemory and NODE.objectSpilling",
        )  # fmt: skip


def _containers(part: _Part, path: str, value: Any) -> None:
    first, *others = value
    _walk(part, CONTAINER, f"{path}[0]", first)
    if others:
        made = [_beside(part, f"{path}[{at}]", other) for at, other in enumerate(others, 1)]
        part.put("NODE.sidecars", made)


def _init_containers(part: _Part, path: str, value: Any) -> None:
    made = [_beside(part, f"{path}[{at}]", container) for at, container in enumerate(value)]
    part.put("NODE.initContainers", made)


def _beside(part: _Part, path: str, container: Mapping[str, Any]) -> Values:
    """Another container of the pod, with the chart's names for volumes."""
    replaced = _replaced(part)
    _say_labels(part, path, container)
    result = dict(container)
    if mounts := container.get("volumeMounts"):
        result["volumeMounts"] = [
            mount | {"name": replaced.get(mount["name"], mount["name"])} for mount in mounts
        ]
    return result


def _pod_security(part: _Part, path: str, value: Any) -> None:
    own = {"runAsNonRoot": False} if value.get("runAsUser") == 0 else {}
    part.put("NODE.podSecurityContext", own | value)


def _security(part: _Part, path: str, value: Any) -> None:
    own: Values = {}
    if value.get("runAsUser") == 0:
        own["runAsNonRoot"] = False
    if value.get("privileged"):
        own["allowPrivilegeEscalation"] = True  # Kubernetes takes no privileges without
    part.put("NODE.securityContext", own | value)


def _grace(part: _Part, path: str, value: Any) -> None:
    if not part.group:
        part.put("NODE.terminationGracePeriodSeconds", value)
    elif value > 300:
        part.put("NODE.drain.timeoutSeconds", value - 60)
    else:
        part.left(
            path, "a worker has 240 s here to finish its tasks, and 60 more",
            "Lower NODE.drain.timeoutSeconds if that is too long",
        )  # fmt: skip


def _pull_secrets(part: _Part, path: str, value: Any) -> None:
    known = part.result.values["image"].setdefault("pullSecrets", [])
    known += [secret for secret in value if secret not in known]


def _env(part: _Part, path: str, value: Any) -> None:
    kept = []
    for index, entry in enumerate(value):
        here = f"{path}[{index}]"
        if rule := _env_rule(part, entry["name"]):
            rule.convert(part, here, entry)
            continue
        kept.append(entry)
        _say_labels(part, here, entry)
    if kept:
        part.put("NODE.env", kept)


def _say_labels(part: _Part, path: str, value: Any) -> None:
    """Name what refers to a label that KubeRay gives its pods; it is carried over as it is."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _say_labels(part, path, key)
            _say_labels(part, f"{path}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _say_labels(part, f"{path}[{index}]", inner)
    elif found := re.search(
        r"ray\.io/(cluster|group|identifier|is-ray-node|node-type)", str(value)
    ):
        part.left(
            path, f"pods do not have the label {found[0]}",
            "It is there as it was; write app.kubernetes.io/instance for the cluster, "
            "app.kubernetes.io/component for head and worker, ray-cluster/worker-group for a group",
        )  # fmt: skip


def _selecting(part: _Part, path: str, value: Any) -> None:
    """What chooses among pods by label."""
    _say_labels(part, path, value)
    part.put(f"NODE.{path.rpartition('.')[2]}", value)


def _env_rule(part: _Part, name: str) -> Rule | None:
    # A password by this name means something only where an old manifest has a Redis.
    of_redis = any(entry["name"] == "RAY_REDIS_ADDRESS" for entry in _container(part.source)["env"])
    return None if name == "REDIS_PASSWORD" and not of_redis else ENV.get(name)


def _env_text(to: str, read: Callable[[str], Any] = str) -> Convert:
    def convert(part: _Part, path: str, entry: Any) -> None:
        if "value" in entry:
            part.put(to, read(entry["value"]))
        else:
            part.left(path, f"the chart sets {entry['name']} from its values", f"Set {to}")

    return convert


def _env_auth_mode(part: _Part, path: str, entry: Any) -> None:
    _auth_mode(part, path, entry.get("value"))


def _env_auth_token(part: _Part, path: str, entry: Any) -> None:
    if reference := (entry.get("valueFrom") or {}).get("secretKeyRef"):
        part.put("auth.token.existingSecret", reference["name"])
        part.put("auth.token.existingSecretKey", reference["key"])
    else:
        part.left(path, "a token lies in a Secret here", "Set auth.token.existingSecret")


def _env_address(part: _Part, path: str, entry: Any) -> None:
    if "value" in entry:
        _redis_address(part, path, entry["value"])
    else:
        part.left(path, "the address is a text here", "Set gcsFaultTolerance.redis.address")


def _ports(part: _Part, path: str, value: Any) -> None:
    kept = []
    for port in value:
        own, number = _PORTS.get(port.get("name", "")), port["containerPort"]
        if own == "gcs":  # the chart's own, unless rayStartParams say otherwise
            continue
        if own == "serve" and not part.group:
            part.put("serve.enabled", True)
        if own and (own == "serve" or not part.group):
            part.put(f"ports.{own}", number)
        elif not own:
            kept.append(port)
    if kept:
        part.put("NODE.extraPorts", kept)


# Ports by the names that KubeRay gives them, of which old manifests have more than one.
_PORTS = {
    "gcs": "gcs", "gcs-server": "gcs", "redis": "gcs",
    "client": "client", "dashboard": "dashboard", "metrics": "metrics",
    "serve": "serve", "serveport": "serve",
    "as-metrics": "autoscalerMetrics", "dash-metrics": "dashboardMetrics",
}  # fmt: skip


_ALREADY = "the chart sets it itself"
_RUNTIME = "what the cluster writes"

METADATA = {
    "name": _own("the name of the release: `helm install NAME`"),
    "namespace": _own("the namespace of the release: `--namespace`"),
    "labels": _changed(_labels("commonLabels"), "commonLabels", "without KubeRay's own"),
    "annotations": _changed(
        _annotations, "commonAnnotations, gcsFaultTolerance",
        "`ray.io/ft-enabled` and `ray.io/external-storage-namespace` are carried over, KubeRay's "
        "others are not",
    ),
    "finalizers": _own(_RUNTIME),
    **{
        name: _own(_RUNTIME)
        for name in ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
    },
}  # fmt: skip

_AUTOSCALER_CONTAINER = (
    "env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "version",
    "volumeMounts",
)  # fmt: skip
_AUTOSCALER = _left(
    "the container beside the head that scales on demand is the chart's own",
    "See worker.autoscaling.demand and head.demandSidecar",
)
AUTOSCALER = {
    "idleTimeoutSeconds": _left(
        "workers leave when they are little used, not when they are idle",
        "Set worker.autoscaling.behavior.scaleDown.stabilizationWindowSeconds, "
        "and with demand worker.autoscaling.demand.quietSeconds",
    ),
    "upscalingMode": _left(
        "how fast a group grows is a policy here", "Set worker.autoscaling.behavior.scaleUp"
    ),
    **dict.fromkeys(_AUTOSCALER_CONTAINER, _AUTOSCALER),
}  # fmt: skip
AUTH = {
    "mode": _changed(_auth_mode, "auth.token.enabled", "`token` is what the chart does by itself"),
    "secretName": _changed(
        _auth_secret, "auth.token.existingSecret", "with the key `auth_token`, which is KubeRay's"
    ),
    "enableK8sTokenAuth": _left(
        "the chart makes no cluster roles, which that kind of token needs", "See auth.token"
    ),
}
GCS = {
    "redisAddress": _changed(
        _redis_address, "gcsFaultTolerance.redis.address", "`gcsFaultTolerance.mode` is `redis`"
    ),
    "redisUsername": _changed(
        _credential("username", ""), "gcsFaultTolerance.redis.username", "a text only"
    ),
    "redisPassword": _changed(
        _credential("password", "existingSecret"), "gcsFaultTolerance.redis.existingSecret",
        "or `password`",
    ),
    "externalStorageNamespace": _same("gcsFaultTolerance.redis.storageNamespace"),
}  # fmt: skip
CLUSTER = {
    "rayVersion": _changed(_version, "rayVersion", "where the image's tag does not tell"),
    "enableInTreeAutoscaling": _own("see `minReplicas` and `replicas` of a group"),
    "autoscalerOptions": _changed(_inner(AUTOSCALER), "", "see below"),
    "authOptions": _changed(_inner(AUTH), "auth.token", "see below"),
    "gcsFaultToleranceOptions": _changed(_inner(GCS), "gcsFaultTolerance", "see below"),
    "headServiceAnnotations": _same("head.service.annotations"),
    "suspend": _same("suspend"),
    "managedBy": _left("there is no operator that another could stand in for", "Drop it"),
    "upgradeStrategy": _left(
        "Helm upgrades a release, group by group", "See worker.strategy and worker.drain"
    ),
    "headGroupSpec": _changed(_head, "head", "see below"),
    "workerGroupSpecs": _changed(_workers, "workerGroups", "see below"),
}

HEAD_SERVICE_METADATA = {
    "labels": _same("head.service.labels"),
    "annotations": _same("head.service.annotations"),
    "name": _left("objects are named after the release", "Set fullnameOverride"),
    "namespace": _own("the namespace of the release"),
}
HEAD_SERVICE_SPEC = {
    "type": _changed(
        _external_service, "head.externalService",
        "a second Service, since the head's own is headless",
    ),
    "ports": _changed(_service_ports, "head.service.extraPorts", "without those of Ray itself"),
    "publishNotReadyAddresses": _own("is always so", True),
    "clusterIP": _own("the head's Service is headless", "None"),
}  # fmt: skip
HEAD_SERVICE = {
    "apiVersion": _own(_ALREADY),
    "kind": _own(_ALREADY),
    "metadata": _changed(_inner(HEAD_SERVICE_METADATA), "head.service", "see below"),
    "spec": _changed(_inner(HEAD_SERVICE_SPEC), "head.service", "see below"),
}
HEAD = {
    "serviceType": _changed(
        _external_service, "head.externalService",
        "of another type than ClusterIP: a second Service, since the head's own is headless",
    ),
    "headService": _changed(_inner(HEAD_SERVICE), "head.service", "see below"),
    "enableIngress": _left(
        "an Ingress needs a host here, so that it answers for no other tenant's",
        "Set dashboard.ingress",
    ),
}  # fmt: skip
_NUMBER = "as `enableInTreeAutoscaling` says: limits of the autoscaler, or a number"
WORKER = {
    "groupName": _own("the key in `workerGroups`"),
    "replicas": Rule("NODE.replicas", f"{_NUMBER}; times `numOfHosts`", lambda *_: None),
    "minReplicas": Rule("NODE.autoscaling.minReplicas", "at least 1", lambda *_: None),
    "maxReplicas": Rule("NODE.autoscaling.maxReplicas", "", lambda *_: None),
    "numOfHosts": _changed(
        lambda part, path, value: (
            part.left(
                path, "a group has pods, not sets of hosts that come and go as one",
                "All numbers of pods are multiplied by it here",
            ) if value != 1 else None
        ), "", "the numbers are multiplied by it, but sets of hosts do not come and go as one",
    ),
    "suspend": _left("a group does not sleep alone", "Remove it from workerGroups, or set suspend"),
    "idleTimeoutSeconds": AUTOSCALER["idleTimeoutSeconds"],
    "priority": _left("groups scale each on their own", "See NODE.autoscaling"),
    "scaleStrategy": _own("what KubeRay's own autoscaler writes"),
}  # fmt: skip
_GROUP_RESOURCES = {
    "CPU": _changed(_whole("NODE.numCpus"), "NODE.numCpus", ""),
    "GPU": _changed(_whole("NODE.numGpus"), "NODE.numGpus", ""),
    "memory": _left(
        "it is the memory limit without the object store here", "Set NODE.resources.limits.memory"
    ),
    "object_store_memory": _same("NODE.objectStoreMemory"),
}
PARAMS = {
    "num-cpus": _changed(_whole("NODE.numCpus"), "NODE.numCpus", "in whole numbers"),
    "num-gpus": _changed(_whole("NODE.numGpus"), "NODE.numGpus", "not more than the limit"),
    "resources": _changed(_resources_flag, "NODE.rayResources", "as a map"),
    "labels": _changed(_labels_flag, "NODE.rayLabels", "as a map"),
    "object-store-memory": _same("NODE.objectStoreMemory"),
    "memory": _GROUP_RESOURCES["memory"],
    "disable-usage-stats": _changed(_usage_stats, "usageStats.enabled", "off by default"),
    "redis-password": _changed(_redis_flag, "gcsFaultTolerance.redis.password", ""),
    "redis-username": _changed(_redis_flag, "gcsFaultTolerance.redis.username", ""),
    "block": _own(_ALREADY),
    "head": _own(_ALREADY),
    "dashboard-host": _own(f"{_ALREADY}, to 0.0.0.0", "0.0.0.0"),  # noqa: S104
    "address": _left("workers find the head by its Service", "Drop it"),
    "node-ip-address": _left("it is the pod's", "Drop it"),
    "node-name": _left("it is the pod's name", "Drop it"),
    "temp-dir": _left("Ray's files lie in /tmp/ray", "See head.persistence"),
    "plasma-directory": _left("the object store lies in memory", "See NODE.objectStoreMemory"),
    "object-spilling-directory": _left(
        "spilled objects have a volume of their own", "See NODE.objectSpilling"
    ),
    "worker-port-list": _left("it is a range here", "Set ports.workerMin and ports.workerMax"),
    **{
        flag: _changed(_whole(f"ports.{port}"), f"ports.{port}", "")
        for flag, port in {
            "port": "gcs",
            "dashboard-port": "dashboard",
            "ray-client-server-port": "client",
            "metrics-export-port": "metrics",
            "dashboard-agent-listen-port": "dashboardAgentListen",
            "dashboard-agent-grpc-port": "dashboardAgentGrpc",
            "node-manager-port": "nodeManager",
            "object-manager-port": "objectManager",
            "runtime-env-agent-port": "runtimeEnvAgent",
            "min-worker-port": "workerMin",
            "max-worker-port": "workerMax",
        }.items()
    },
}
_HISTORY = {
    "RAY_maximum_gcs_destroyed_actor_cached_count": "actors",
    "RAY_maximum_gcs_dead_node_cached_count": "nodes",
    "RAY_task_events_max_num_task_in_gcs": "tasks",
    "RAY_DASHBOARD_MAX_EVENTS_TO_CACHE": "events",
}
_MONITORING = {
    "RAY_PROMETHEUS_HOST": "prometheus.host",
    "RAY_PROMETHEUS_NAME": "prometheus.name",
    "RAY_GRAFANA_HOST": "grafana.host",
    "RAY_GRAFANA_IFRAME_HOST": "grafana.iframeHost",
    "RAY_GRAFANA_ORG_ID": "grafana.orgId",
    "RAY_GRAFANA_CLUSTER_FILTER": "grafana.clusterFilter",
}
_CERTIFICATE = _left(
    "the certificates of a Redis come from a Secret", "Set gcsFaultTolerance.redis.tls"
)
_REDIS_PASSWORD = _changed(
    _credential("password", "existingSecret"), "gcsFaultTolerance.redis.existingSecret",
    "where a Redis is named among the variables",
)  # fmt: skip
ENV = {
    "RAY_REDIS_ADDRESS": _changed(_env_address, "gcsFaultTolerance.redis.address", ""),
    "REDIS_PASSWORD": _REDIS_PASSWORD,
    "RAY_REDIS_PASSWORD": _REDIS_PASSWORD,
    **{
        f"RAY_REDIS_{name}": _CERTIFICATE
        for name in ("CA_CERT", "CLIENT_CERT", "CLIENT_KEY", "SERVER_NAME")
    },
    "RAY_external_storage_namespace": _changed(
        _env_text("gcsFaultTolerance.redis.storageNamespace"),
        "gcsFaultTolerance.redis.storageNamespace", "",
    ),
    "RAY_gcs_rpc_server_reconnect_timeout_s": _changed(
        _env_text("gcsFaultTolerance.workerReconnectTimeoutSeconds", int),
        "gcsFaultTolerance.workerReconnectTimeoutSeconds", "",
    ),
    "RAY_gcs_storage": _changed(
        _env_text("gcsFaultTolerance.mode"), "gcsFaultTolerance.mode", ""
    ),
    "RAY_gcs_storage_path": _own("the chart's claim has its own place"),
    "RAY_prestart_worker_first_driver": _own("it is in the way of a drain"),
    "RAY_AUTH_MODE": _changed(_env_auth_mode, "auth.token.enabled", ""),
    "RAY_AUTH_TOKEN": _changed(_env_auth_token, "auth.token.existingSecret", ""),
    "RAY_AUTH_TOKEN_PATH": _left("a token lies in a Secret here", "See auth.token"),
    **{
        f"RAY_{name}": _left("each pod's certificate is made when it starts", "Set tls")
        for name in ("USE_TLS", "TLS_CA_CERT", "TLS_SERVER_CERT", "TLS_SERVER_KEY")
    },
    "RAY_ENABLE_K8S_TOKEN_AUTH": AUTH["enableK8sTokenAuth"],
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": _changed(
        _env_text("NODE.drain.timeoutSeconds", int), "NODE.drain.timeoutSeconds", ""
    ),
    "RAY_USAGE_STATS_ENABLED": _changed(
        _env_text("usageStats.enabled", lambda text: text == "1"), "usageStats.enabled", ""
    ),
    "RAY_USAGE_STATS_REPORT_URL": _own("nothing is reported unless `usageStats.enabled`"),
    "RAY_ROTATION_MAX_BYTES": _changed(
        _env_text("logRotation.maxSize"), "logRotation.maxSize", ""
    ),
    "RAY_ROTATION_BACKUP_COUNT": _changed(
        _env_text("logRotation.backupCount", int), "logRotation.backupCount", ""
    ),
    "RAY_SERVE_DEFAULT_HTTP_HOST": _own("with `serve.enabled` it is 0.0.0.0"),
    "RAY_CLOUD_INSTANCE_ID": _own(_ALREADY),
    "RAY_NODE_TYPE_NAME": _own(_ALREADY),
    "POD_IP": _own(_ALREADY),
    "POD_NAME": _own(_ALREADY),
    "CPU_REQUEST": _left("the chart uses that name", "Call it otherwise"),
    **{
        name: _changed(_env_text(f"head.history.{key}", int), f"head.history.{key}", "")
        for name, key in _HISTORY.items()
    },
    **{
        name: _changed(_env_text(f"monitoring.{key}"), f"monitoring.{key}", "")
        for name, key in _MONITORING.items()
    },
    "RAY_PROMETHEUS_HEADERS": _left(
        "the chart takes headers as a map", "Set monitoring.prometheus.headers"
    ),
    "AUTOSCALER_METRIC_PORT": _changed(
        _env_text("ports.autoscalerMetrics", int), "ports.autoscalerMetrics", ""
    ),
    "DASHBOARD_METRIC_PORT": _changed(
        _env_text("ports.dashboardMetrics", int), "ports.dashboardMetrics", ""
    ),
}  # fmt: skip
TEMPLATE_METADATA = {
    "labels": _changed(_labels("NODE.podLabels"), "NODE.podLabels", "without KubeRay's own"),
    "annotations": _same("NODE.podAnnotations"),
    "name": _own("pods are named after the release"),
    "namespace": _own("the namespace of the release"),
    "creationTimestamp": _own(_RUNTIME),
}
_UNKNOWN_TO_CHART = _left("the chart has no value for it", "Drop it, or ask for one")
_POD_WITHOUT_VALUE = (
    "activeDeadlineSeconds", "hostIPC", "hostPID", "hostname", "nodeName", "os", "overhead",
    "preemptionPolicy", "priority", "resources", "setHostnameAsFQDN", "subdomain",
)  # fmt: skip
_CONTAINER_WITHOUT_VALUE = (
    "restartPolicy", "stdin", "stdinOnce", "terminationMessagePath", "tty"
)  # fmt: skip
POD = {
    **{
        name: _same(f"NODE.{name}")
        for name in (
            "dnsConfig", "dnsPolicy", "hostAliases", "hostNetwork", "hostUsers", "nodeSelector",
            "priorityClassName", "readinessGates", "resourceClaims", "runtimeClassName",
            "schedulerName", "schedulingGates", "serviceAccountName", "shareProcessNamespace",
            "tolerations",
        )
    },
    **{
        name: _changed(_selecting, f"NODE.{name}", "KubeRay's labels in it are named")
        for name in ("affinity", "topologySpreadConstraints")
    },
    "containers": _changed(
        _containers, "NODE.sidecars", "the first is Ray's, the others go beside it"
    ),
    "initContainers": _changed(_init_containers, "NODE.initContainers", ""),
    "volumes": _changed(
        _volumes, "NODE.volumes",
        "the chart has its own at /dev/shm and /tmp/ray; a claim of the head there is "
        "`head.persistence.existingClaim`",
    ),
    "securityContext": _changed(
        _pod_security, "NODE.podSecurityContext", "over the chart's, which is *restricted*"
    ),
    "imagePullSecrets": _changed(_pull_secrets, "image.pullSecrets", ""),
    "terminationGracePeriodSeconds": _changed(
        _grace, "NODE.terminationGracePeriodSeconds, NODE.drain.timeoutSeconds",
        "of workers only what is more than the chart's 300",
    ),
    "automountServiceAccountToken": _same("serviceAccount.automount", "for all pods"),
    "serviceAccount": _same("NODE.serviceAccountName"),
    "restartPolicy": _own("pods of a Deployment always restart", "Always"),
    "enableServiceLinks": _own("is always off", False),
    **dict.fromkeys(_POD_WITHOUT_VALUE, _UNKNOWN_TO_CHART),
}  # fmt: skip
_COMMAND = _left(
    "`ray start` is the container's first process here, without a shell before it",
    "Put it into the image, or into NODE.initContainers or NODE.lifecycle.postStart",
)
CONTAINER = {
    "name": _own("`ray-head` or `ray-worker`"),
    "image": Rule("image, NODE.image", "registry, repository, tag, digest", lambda *_: None),
    "imagePullPolicy": Rule("image.pullPolicy", "", lambda *_: None),
    "resources": Rule(
        "NODE.resources, NODE.numCpus",
        "Ray's CPUs are those of the limit, as KubeRay counts them; a memory limit is required",
        lambda *_: None,
    ),
    "command": _COMMAND,
    "args": _COMMAND,
    "env": _changed(_env, "NODE.env", "but for what has a value of its own, see below"),
    "envFrom": _same("NODE.envFrom"),
    "volumeMounts": _changed(_mounts, "NODE.volumeMounts", "see `volumes`"),
    "volumeDevices": _same("NODE.volumeDevices"),
    "ports": _changed(
        _ports, "ports, serve.enabled, NODE.extraPorts",
        "Ray's own by their names; one called `serve` switches Ray Serve's Service on",
    ),
    "lifecycle": _same("NODE.lifecycle"),
    **{
        name: _same(f"NODE.{name}", "over the chart's, which has what it leaves out")
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    },
    "securityContext": _changed(
        _security, "NODE.securityContext", "over the chart's, which is *restricted*"
    ),
    "resizePolicy": _same("NODE.resizePolicy"),
    "terminationMessagePolicy": _same("NODE.terminationMessagePolicy"),
    "workingDir": _same("NODE.workingDir"),
    **dict.fromkeys(_CONTAINER_WITHOUT_VALUE, _UNKNOWN_TO_CHART),
}  # fmt: skip
TEMPLATE = {
    "metadata": _changed(_inner(TEMPLATE_METADATA), "", "see below"),
    "spec": _changed(_inner(POD), "", "see below"),
}
GROUP = {
    "template": _changed(_inner(TEMPLATE), "", "see below"),
    "rayStartParams": _changed(
        _params, "NODE.rayStartParams", "but for what has a value of its own, see below"
    ),
    "resources": _changed(
        _ray_resources, "NODE.numCpus, NODE.numGpus, NODE.objectStoreMemory, NODE.rayResources",
        "wins over `rayStartParams`",
    ),
    "labels": _same("NODE.rayLabels"),
}  # fmt: skip

# What of a RayJob or RayService is not its cluster: everything stays behind.
_JOB = ("A job is submitted to the cluster", "Use `ray job submit`, see the release's notes")
_APPLICATION = (
    "An application is deployed into the cluster",
    "Use `serve deploy` with its text; serve.* has the ways to it from outside",
)
_BESIDE = {"RayJob": _JOB, "RayService": _APPLICATION}

# The tables as docs/migration.md shows them: where they begin, and who has them.
SECTIONS: dict[str, Mapping[str, Rule]] = {
    "metadata": METADATA,
    "spec": CLUSTER,
    "spec.gcsFaultToleranceOptions": GCS,
    "spec.authOptions": AUTH,
    "spec.autoscalerOptions": AUTOSCALER,
    "spec.headGroupSpec": HEAD,
    "spec.headGroupSpec.headService.metadata": HEAD_SERVICE_METADATA,
    "spec.headGroupSpec.headService.spec": HEAD_SERVICE_SPEC,
    "spec.workerGroupSpecs[]": WORKER,
    "headGroupSpec and workerGroupSpecs[]": GROUP,
    "rayStartParams": PARAMS,
    "template.metadata": TEMPLATE_METADATA,
    "template.spec": POD,
    "template.spec.containers[0]": CONTAINER,
    "template.spec.containers[0].env[]": ENV,
}


def convert(document: Mapping[str, Any]) -> Converted:
    """The values for the cluster of a RayCluster, RayJob or RayService.

    Raises UserError if there is none in it.
    """
    kind = document.get("kind", "")
    metadata = document.get("metadata") or {}
    place = _CLUSTER_OF[kind].split(".")
    cluster: Any = document
    for key in place:
        cluster = (cluster or {}).get(key)
    if not cluster:
        raise UserError(f"The {kind} {metadata.get('name')} has no {_CLUSTER_OF[kind]}.")
    name = metadata.get("name") or metadata.get("generateName", "ray").rstrip("-")
    _check_complete(cluster, f"{kind} {name}")
    result = Converted(kind, name, metadata.get("namespace") or "")
    part = _Part(result, cluster, result.values, cluster)
    _walk(part, METADATA, "metadata", metadata)
    # The head first: its image is everybody's.
    ordered = {"headGroupSpec": cluster["headGroupSpec"], **cluster}
    _walk(part, CLUSTER, ".".join(place), ordered)
    if kind in _BESIDE:
        for key in document["spec"].keys() - {place[-1]}:
            result.notes.append(Note(f"spec.{key}", *_BESIDE[kind]))
    if kind == "RayService":
        result.values.setdefault("serve", {})["enabled"] = True
    if "default" not in result.values.setdefault("workerGroups", {}):
        result.values["workerGroups"]["default"] = None
    result.values = _ordered(_without_defaults(result.values), _defaults())
    result.notes.sort(key=lambda note: note.path)
    return result


def _check_complete(cluster: Mapping[str, Any], title: str) -> None:
    for group in [cluster.get("headGroupSpec"), *(cluster.get("workerGroupSpecs") or [])]:
        try:
            named = isinstance(_container(group or {})["image"], str)
        except (IndexError, KeyError, TypeError):
            named = False
        if not named:
            where = (group or {}).get("groupName", "its head")
            raise UserError(f"The {title} is not complete: {where} has no container with an image.")


@cache
def _defaults() -> Values:
    defaults: Values = yaml.safe_load((CHART / "values.yaml").read_text())
    return defaults


def _without_defaults(values: Values) -> Values:
    """`values` without what the chart does anyway; a group is compared with `worker`."""
    groups = {
        name: group and (_differing(group, _defaults()["worker"]) or {})
        for name, group in values["workerGroups"].items()
    }
    rest = {key: value for key, value in values.items() if key != "workerGroups"}
    differing = _differing(rest, _defaults()) or {}
    return differing if groups == {"default": {}} else differing | {"workerGroups": groups}


def _differing(value: Any, default: Any) -> Any:
    """What of `value` differs from `default`; None if nothing does."""
    if not isinstance(value, dict) or not isinstance(default, dict):
        return None if value == default else value
    result = {}
    for key, inner in value.items():
        if key not in default:
            if inner is not None:
                result[key] = inner
        elif inner is None:
            if default[key] is not None:
                result[key] = None
        elif (kept := _differing(inner, default[key])) is not None:
            result[key] = kept
    return result or None


def _ordered(values: Values, defaults: Any) -> Values:
    """`values` in the order in which the chart has them."""
    known = defaults if isinstance(defaults, dict) else {}
    keys = [*(key for key in known if key in values), *(key for key in values if key not in known)]
    return {
        key: _ordered(values[key], known.get(key)) if isinstance(values[key], dict) else values[key]
        for key in keys
    }


def text(converted: Converted) -> str:
    """The values as a file, with what is missing from them at its head."""
    namespace = f" --namespace {converted.namespace}" if converted.namespace else ""
    lines = [
        f"Values for the chart ray-cluster, from the {converted.kind} {converted.name}.",
        "",
        f"  helm install {converted.name} ./charts/ray-cluster{namespace} -f values.yaml",
    ]
    if converted.notes:
        lines += ["", "Not carried over:", *_items(converted.notes)]
    lines += ["", "What differs:", *_items(DIFFERENCES)]
    head = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return head + yaml.safe_dump(converted.values, sort_keys=False, width=_WIDTH)


def _items(entries: Any) -> Iterator[str]:
    for entry in entries:
        yield from textwrap.wrap(
            str(entry), _WIDTH, initial_indent="- ", subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def refusal(converted: Converted) -> str:
    """Why the chart does not take the values as they are; empty if it does."""
    try:
        helm.template(converted.values, release=_release(converted.name))
    except helm.TemplateError as error:
        return error.message.strip()
    return ""


def _release(name: str) -> str:
    """`name` as far as Helm takes it for a release."""
    return name[:53].rstrip("-.")


def documented(page: str) -> str:
    """`page`, which is docs/migration.md, with what this module says in its marked places."""
    differences = "\n".join(_items(DIFFERENCES))
    tables = "\n\n".join(_table(title, rules) for title, rules in SECTIONS.items())
    for mark, inner in (("differences", differences), ("fields", tables)):
        before, _, rest = page.partition(f"<!-- {mark} -->\n")
        after = rest.partition(f"<!-- /{mark} -->\n")[2]
        page = f"{before}<!-- {mark} -->\n{inner}\n<!-- /{mark} -->\n{after}"
    return page


def _table(title: str, rules: Mapping[str, Rule]) -> str:
    rows = ["| field | value here | |", "|---|---|---|"]
    for name, rule in rules.items():
        # What is both of all nodes and of one has its name but once.
        names = dict.fromkeys(to.removeprefix("NODE.") for to in rule.to.split(", ") if to)
        targets = ", ".join(f"`{name}`" for name in names)
        remark = rule.remark.replace("NODE.", "")
        rows.append(f"| `{name}` | {targets or '-'} | {remark} |")
    return "\n".join([f"#### `{title}`".replace(" and ", "` and `"), "", *rows])


def run() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="./scripts/from-kuberay", description=__doc__)
    parser.add_argument(
        "manifest", nargs="?", type=Path, help="file of the manifest (default: standard input)"
    )
    parser.add_argument("--name", help="only the cluster of this name, where there are several")
    arguments = parser.parse_args()
    out.stderr = True  # standard output is for the values
    documents = _documents(arguments.manifest)
    _say_what_is_no_cluster(documents)
    clusters = [
        document
        for document in documents
        if document.get("kind") in _CLUSTER_OF
        and arguments.name in (None, (document.get("metadata") or {}).get("name"))
    ]
    if not clusters:
        raise UserError(f"There is no {', '.join(_CLUSTER_OF)} in it, or none of that name.")
    tools.prefer_path()
    _write([convert(document) for document in clusters])


def _documents(file: Path | None) -> list[Values]:
    """The objects in `file`, or on standard input, those of lists one by one."""
    try:
        found = list(manifest.load_all(file.read_text() if file else sys.stdin.read()))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"This is no YAML: {error}") from error
    if not all(isinstance(document, dict) for document in found):
        raise UserError("This is no manifest: a Kubernetes object is a map.")
    return [inner for document in found for inner in document.get("items", [document])]


def _say_what_is_no_cluster(documents: list[Values]) -> None:
    for document in documents:
        if document.get("kind") not in _CLUSTER_OF:
            name = (document.get("metadata") or {}).get("name")
            _say(f"The {document.get('kind')} {name} is no cluster: apply it as before.")


def _write(clusters: list[Converted]) -> None:
    for index, converted in enumerate(clusters):
        title = f"{converted.kind} {converted.name}"
        for note in converted.notes:
            _say(f"{title}: {note}")
        if index:
            print("---")
        print(text(converted), end="")
        if reason := refusal(converted):
            _say(f"{title}: the chart does not take these values yet:\n{reason}")
    if len(clusters) > 1:
        _say("There are several clusters: write each to a file of its own with --name.")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main(run)
