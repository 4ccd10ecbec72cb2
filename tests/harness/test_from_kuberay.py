"""KubeRay's manifests as values of the chart: by field, and over KubeRay's own samples."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from harness import from_kuberay, gobuild, manifest
from harness.errors import UserError
from harness.from_kuberay import Converted, convert, image_of
from harness.helm import values_of
from harness.paths import CHART

Values = dict[str, Any]

DEFAULTS: Values = values_of(CHART / "values.yaml")
RESOURCES = {"limits": {"cpu": "1", "memory": "4Gi"}, "requests": {"cpu": "1", "memory": "4Gi"}}


def group(
    container: Values | None = None, pod: Values | None = None, **fields: Any
) -> dict[str, Any]:
    """A head or worker group whose Ray container has these fields beside what every one has."""
    ray = {"name": "ray", "image": "rayproject/ray:2.60.0", "resources": RESOURCES}
    return {
        "rayStartParams": {},
        "template": {"spec": {"containers": [ray | (container or {})], **(pod or {})}},
        **fields,
    }


def workers(
    container: Values | None = None, pod: Values | None = None, **fields: Any
) -> dict[str, Any]:
    """A worker group called `small` of one to three pods."""
    numbers = {"groupName": "small", "replicas": 2, "minReplicas": 1, "maxReplicas": 3}
    return group(container, pod, **(numbers | fields))


def cluster(
    head: Values | None = None, *groups: Values, metadata: Values | None = None, **spec: Any
) -> Values:
    """A RayCluster."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "mine", **(metadata or {})},
        "spec": {"headGroupSpec": head or group(), "workerGroupSpecs": list(groups), **spec},
    }


def value(values: Values, path: str) -> Any:
    """The value at a dotted path, or None."""
    found: Any = values
    for key in path.split("."):
        found = (found or {}).get(key)
    return found


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("rayproject/ray:2.60.0", ("docker.io", "rayproject/ray", "2.60.0", "")),
        ("ray", ("docker.io", "library/ray", "latest", "")),
        ("localhost/ray:1", ("localhost", "ray", "1", "")),
        ("me:5000/a/b", ("me:5000", "a/b", "latest", "")),
        ("gcr.io/a/b:1@sha256:0", ("gcr.io", "a/b", "1", "sha256:0")),
        ("gcr.io/a@sha256:0", ("gcr.io", "a", "", "sha256:0")),
    ],
)
def test_image_reference_is_read_as_docker_reads_it(reference: str, parts: tuple[str, ...]) -> None:
    assert tuple(image_of(reference).values()) == parts


LABEL = {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}}
SECRET = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "word"}}}
LOGS = {"volumeMounts": [{"name": "logs", "mountPath": "/tmp/ray"}]}  # noqa: S108
CLAIM = {"volumes": [{"name": "logs", "persistentVolumeClaim": {"claimName": "mine"}}]}

# A manifest, where something of it goes, and what is there.
CARRIED: list[tuple[Values, str, Any]] = [
    (cluster(rayVersion="2.60.0"), "rayVersion", None),
    (cluster(group({"image": "a/b:nightly"}), rayVersion="2.60.0"), "rayVersion", "2.60.0"),
    (cluster(suspend=True), "suspend", True),
    (cluster(metadata={"labels": {"team": "a"}}), "commonLabels", {"team": "a"}),
    (cluster(metadata={"annotations": {"a/b": "c"}}), "commonAnnotations", {"a/b": "c"}),
    (
        cluster(metadata={"annotations": {"ray.io/external-storage-namespace": "x"}}),
        "gcsFaultTolerance.redis.storageNamespace",
        "x",
    ),
    (
        cluster(gcsFaultToleranceOptions={"redisAddress": "redis://r:6379"}),
        "gcsFaultTolerance",
        {"mode": "redis", "redis": {"address": "r:6379"}},
    ),
    (
        cluster(gcsFaultToleranceOptions={"redisPassword": SECRET}),
        "gcsFaultTolerance.redis",
        {"existingSecret": "redis", "existingSecretPasswordKey": "word"},
    ),
    (
        cluster(gcsFaultToleranceOptions={"redisUsername": {"value": "me"}}),
        "gcsFaultTolerance.redis.username",
        "me",
    ),
    (cluster(authOptions={"mode": "disabled"}), "auth.token.enabled", False),
    (cluster(authOptions={"mode": "token"}), "auth", None),
    (cluster(headServiceAnnotations={"a": "b"}), "head.service.annotations", {"a": "b"}),
    (cluster(group(serviceType="NodePort")), "head.externalService.type", "NodePort"),
    (cluster(group(serviceType="ClusterIP")), "head.externalService", None),
    (cluster(), "head.numCpus", "auto"),
    (cluster(group(rayStartParams={"num-cpus": "0"})), "head.numCpus", None),
    (cluster(group(rayStartParams={"num-cpus": "3"})), "head.numCpus", 3),
    (cluster(group(resources={"CPU": "4"}, rayStartParams={"num-cpus": "3"})), "head.numCpus", 4),
    (
        cluster(group({"resources": {"limits": {"cpu": "2", "memory": "4Gi"},
                                     "requests": {"cpu": "500m", "memory": "4Gi"}}})),
        "head.numCpus", 2,
    ),
    (
        cluster(group(rayStartParams={"resources": '"{\\"a\\": 2}"'})),
        "head.rayResources",
        {"a": 2},
    ),
    (cluster(group(labels={"a": "b"})), "head.rayLabels", {"a": "b"}),
    (
        cluster(group(rayStartParams={"labels": "a=b,c=d"})),
        "head.rayLabels",
        {"a": "b", "c": "d"},
    ),
    (
        cluster(group(rayStartParams={"object-store-memory": "1000000000"})),
        "head.objectStoreMemory",
        "1000000000",
    ),
    (cluster(group(rayStartParams={"block": "true"})), "head.rayStartParams", None),
    (
        cluster(group(rayStartParams={"no-monitor": "true", "log-color": "false", "v": "false"})),
        "head.rayStartParams",
        {"no-monitor": "", "log-color": "false"},
    ),
    (
        cluster(group(rayStartParams={"log-style": "$STYLE"})),
        "head.rayStartParams",
        {"log-style": "$(STYLE)"},
    ),
    (cluster(group(rayStartParams={"port": "6379"})), "ports.gcs", 6379),
    (cluster(group(rayStartParams={"disable-usage-stats": "false"})), "usageStats.enabled", True),
    (cluster(group({"envFrom": [{"secretRef": {"name": "a"}}]})), "head.envFrom",
     [{"secretRef": {"name": "a"}}]),
    (
        cluster(group({"env": [{"name": "RAY_REDIS_ADDRESS", "value": "r:1"},
                               {"name": "REDIS_PASSWORD", **SECRET}]})),
        "gcsFaultTolerance.redis",
        {"address": "r:1", "existingSecret": "redis", "existingSecretPasswordKey": "word"},
    ),
    (
        cluster(group({"env": [{"name": "REDIS_PASSWORD", **SECRET}]})),
        "head.env",
        [{"name": "REDIS_PASSWORD", **SECRET}],
    ),
    (
        cluster(group({"env": [{"name": "RAY_AUTH_TOKEN", **SECRET}]})),
        "auth.token",
        {"existingSecret": "redis", "existingSecretKey": "word"},
    ),
    (
        cluster(group({"env": [{"name": "RAY_DASHBOARD_MAX_EVENTS_TO_CACHE", "value": "7"}]})),
        "head.history.events",
        7,
    ),
    (cluster(group({"ports": [{"name": "serve", "containerPort": 9000}]})), "ports.serve", 9000),
    (cluster(group({"ports": [{"name": "serve", "containerPort": 8000}]})), "serve.enabled", True),
    (cluster(group({"ports": [{"name": "gcs", "containerPort": 6379}]})), "ports", None),
    (
        cluster(group({"ports": [{"name": "mine", "containerPort": 1}]})),
        "head.extraPorts",
        [{"name": "mine", "containerPort": 1}],
    ),
    (cluster(group(LOGS, {"volumes": [{"name": "logs", "emptyDir": {}}]})), "head.volumes", None),
    (cluster(group(LOGS, CLAIM)), "head.persistence", {"enabled": True, "existingClaim": "mine"}),
    (
        cluster(group(pod={"securityContext": {"runAsUser": 0}})),
        "head.podSecurityContext",
        {"runAsNonRoot": False, "runAsUser": 0},
    ),
    (
        cluster(group({"securityContext": {"privileged": True}})),
        "head.securityContext",
        {"allowPrivilegeEscalation": True, "privileged": True},
    ),
    (
        cluster(group(pod={"imagePullSecrets": [{"name": "a"}]})),
        "image.pullSecrets",
        [{"name": "a"}],
    ),
    (cluster(group(pod={"nodeSelector": {"a": "b"}})), "head.nodeSelector", {"a": "b"}),
    (
        cluster(group({"livenessProbe": {"periodSeconds": 9}})),
        "head.livenessProbe",
        {"periodSeconds": 9},
    ),
    (
        cluster(None, workers()),
        "workerGroups.small",
        {"replicas": 2, "autoscaling": {"enabled": False, "maxReplicas": 3},
         "resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}},
    ),
    (
        cluster(None, workers(), enableInTreeAutoscaling=True),
        "workerGroups.small.autoscaling",
        {"maxReplicas": 3},
    ),
    (cluster(None, workers(numOfHosts=2)), "workerGroups.small.replicas", 4),
    (cluster(None, workers(replicas=9)), "workerGroups.small.replicas", 3),
    (cluster(None, workers(groupName="Big_one")), "workerGroups.big-one.replicas", 2),
    (cluster(None, workers({"image": "rayproject/ray:2.60.0-gpu"})), "workerGroups.small.image",
     {"tag": "2.60.0-gpu"}),
    (
        cluster(None, workers(pod={"terminationGracePeriodSeconds": 3660})),
        "workerGroups.small.drain.timeoutSeconds",
        3600,
    ),
    (
        cluster(None, workers({"resources": {"limits": {"memory": "4Gi", "cpu": "1",
                                                        "google.com/tpu": "4"}}})),
        "workerGroups.small.rayResources",
        {"TPU": 4},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "expected"), CARRIED)
def test_field_is_carried_over(document: Values, path: str, expected: Any) -> None:
    assert value(convert(document).values, path) == expected


# A manifest, and the path of the field in it that is named.
NAMED: list[tuple[Values, str]] = [
    (cluster(managedBy="other"), "spec.managedBy"),
    (cluster(novelty=1), "spec.novelty"),
    (cluster(rayVersion="2.50.0"), "spec.rayVersion"),
    (cluster(upgradeStrategy={"type": "Recreate"}), "spec.upgradeStrategy"),
    (cluster(authOptions={"enableK8sTokenAuth": True}), "spec.authOptions.enableK8sTokenAuth"),
    (cluster(group(enableIngress=True)), "spec.headGroupSpec.enableIngress"),
    (
        cluster(autoscalerOptions={"idleTimeoutSeconds": 60}),
        "spec.autoscalerOptions.idleTimeoutSeconds",
    ),
    (
        cluster(metadata={"labels": {"ray.io/x": "y"}}),
        "metadata.labels.ray.io/x",
    ),
    (
        cluster(group({"command": ["sleep"]})),
        "spec.headGroupSpec.template.spec.containers[0].command",
    ),
    (
        cluster(group({"env": [{"name": "A", "valueFrom": LABEL}]})),
        "spec.headGroupSpec.template.spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
    ),
    (
        cluster(group({"resources": {"requests": {"cpu": "1", "memory": "4Gi"}}})),
        "spec.headGroupSpec.template.spec.containers[0].resources.limits.memory",
    ),
    (cluster(group(pod={"hostPID": True})), "spec.headGroupSpec.template.spec.hostPID"),
    (
        cluster(group(pod={"restartPolicy": "Never"})),
        "spec.headGroupSpec.template.spec.restartPolicy",
    ),
    (
        cluster(group(rayStartParams={"temp-dir": "/x"})),
        "spec.headGroupSpec.rayStartParams.temp-dir",
    ),
    (
        cluster(None, workers(minReplicas=0, replicas=0), enableInTreeAutoscaling=True),
        "spec.workerGroupSpecs[0].minReplicas",
    ),
    (cluster(None, workers(numOfHosts=2)), "spec.workerGroupSpecs[0].numOfHosts"),
]


@pytest.mark.parametrize(("document", "path"), NAMED, ids=lambda part: str(part)[-40:])
def test_field_that_is_not_carried_over_is_named(document: Values, path: str) -> None:
    assert [note.path for note in convert(document).notes] == [path]


def test_other_containers_find_the_logs_under_the_charts_name() -> None:
    logs = {"name": "logs", "mountPath": "/logs"}
    head = group(LOGS, {"volumes": [{"name": "logs", "emptyDir": {}}]})
    head["template"]["spec"]["containers"].append({"name": "b", "volumeMounts": [logs]})
    (sidecar,) = convert(cluster(head)).values["head"]["sidecars"]
    assert sidecar["volumeMounts"] == [logs | {"name": "ray-tmp"}]


def test_what_a_job_has_beside_its_cluster_stays_behind_and_is_named() -> None:
    job = {
        "kind": "RayJob",
        "metadata": {"name": "mine"},
        "spec": {"entrypoint": "python", "rayClusterSpec": cluster(managedBy="x")["spec"]},
    }
    paths = [note.path for note in convert(job).notes]
    assert paths == ["spec.entrypoint", "spec.rayClusterSpec.managedBy"]


def test_a_service_gets_a_service() -> None:
    service = {
        "kind": "RayService",
        "metadata": {"name": "mine"},
        "spec": {"serveConfigV2": "x", "rayClusterConfig": cluster()["spec"]},
    }
    converted = convert(service)
    assert converted.values["serve"] == {"enabled": True}
    assert [note.path for note in converted.notes] == ["spec.serveConfigV2"]


def test_incomplete_manifest_is_said() -> None:
    broken = cluster({"template": {}})
    with pytest.raises(UserError, match="RayCluster mine is not complete: its head has no"):
        convert(broken)


def test_every_flag_and_variable_of_the_chart_has_a_rule() -> None:
    """Or it would be carried over, and the chart refuse it."""
    source = (CHART / "templates" / "_ray.tpl").read_text()

    def keys(helper: str) -> set[str]:
        (body,) = re.findall(
            rf'define "ray-cluster\.ray\.{helper}" -}}}}(.*?)end -}}}}', source, re.S
        )
        return set(re.findall(r"^([\w-]+): ", body, re.M))

    assert keys("managedFlags") - from_kuberay.PARAMS.keys() == set()
    assert keys("managedEnv") - from_kuberay.ENV.keys() == set()


def command(stdin: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, with this on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "harness.from_kuberay", *arguments],
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_command_writes_values_alone_to_standard_output() -> None:
    done = command(yaml.safe_dump(cluster(None, workers(), managedBy="x")))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == convert(cluster(None, workers())).values
    assert "# - spec.managedBy: there is no operator" in done.stdout
    assert "RayCluster mine: spec.managedBy: there is no operator" in done.stderr


def test_one_cluster_of_a_list_is_chosen_by_its_name() -> None:
    other = cluster(suspend=True, metadata={"name": "other"})
    done = command(yaml.safe_dump({"kind": "List", "items": [cluster(), other]}), "--name=other")
    assert yaml.safe_load(done.stdout)["suspend"], done.stderr


@pytest.mark.parametrize(
    ("stdin", "arguments", "said"),
    [
        ("a: [", [], "This is no YAML"),
        ("text", [], "This is no manifest"),
        ("kind: Pod", [], "There is no RayCluster"),
        ("", ["/nowhere"], "/nowhere cannot be read: No such file"),
    ],
)
def test_what_cannot_be_read_is_said_beside_the_values(
    stdin: str, arguments: list[str], said: str
) -> None:
    done = command(stdin, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


# KubeRay's own samples.

MODULE = "github.com/ray-project/kuberay/ray-operator"


@pytest.fixture(scope="module")
def samples() -> list[tuple[str, Values]]:
    """File name and manifest of each cluster in KubeRay's samples."""
    try:
        folder = gobuild.download("kuberay", MODULE) / "config" / "samples"
    except Exception as error:  # whatever keeps it away: no network, a proxy that refuses
        pytest.skip(f"KubeRay's module cannot be had: {error}")
    found = [
        (file.name, document)
        for file in sorted(folder.rglob("*.yaml"))
        for document in manifest.load_all(file.read_text())
        if document.get("kind") in {"RayCluster", "RayJob", "RayService"}
        and "clusterSelector" not in document["spec"]
    ]
    assert len(found) > 70, f"only {len(found)} clusters in {folder}"
    return found


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything in `node` that is no map and no list."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from leaves(inner, f"{path}[{index}]")
    else:
        yield path, node


# What the chart has under another name: the end of the field's path, and of the value's.
RENAMED = {
    r"rayStartParams\.num-cpus|resources\.CPU": "numCpus",
    r"rayStartParams\.num-gpus|resources\.GPU": "numGpus",
    r"\.labels\.[^\[\]]+": None,
    r"\.annotations\.[^\[\]]+": None,
    r"headService\.spec\.type|serviceType": "externalService.type",
    r"gcsFaultToleranceOptions\.redisAddress": "redis.address",
    r"redisPassword\.valueFrom\.secretKeyRef\.name": "redis.existingSecret",
    r"redisPassword\.valueFrom\.secretKeyRef\.key": "redis.existingSecretPasswordKey",
    r"authOptions\.secretName": "token.existingSecret",
    r"imagePullPolicy": "pullPolicy",
    r"containers\[0\]\.env\[\d+\]\.(value|valueFrom\..*)": None,
}
# What needs no value, because the chart does the same, or the value says it in another way.
SAME = [
    r"metadata\.name",
    r"rayVersion",  # the image's tag
    r"enableInTreeAutoscaling",  # autoscaling.enabled
    r"authOptions\.mode",  # `token` is the default
    r"ray\.io/ft-enabled",  # gcsFaultTolerance.mode
    r"rayStartParams\.enable-resource-isolation",  # a flag without a value
    r"groupName",  # the key
    r"numOfHosts",  # 1; others are named
    r"serviceType",  # ClusterIP; others are a value
    r"containers\[0\]\.(name|image)",
    r"containers\[0\]\.ports\[\d+\]\..*",
    r"rayStartParams\.(dashboard-host|redis-password|disable-usage-stats|resources)",
    r"workerGroupSpecs\[\d+\]\.(replicas|minReplicas|maxReplicas)",  # tested by field
]
# The texts of what the chart has itself: volumes at /tmp/ray and /dev/shm, and variables.
OWN = {
    "ray-logs", "dshm", "/tmp/ray", "/dev/shm", "Memory",  # noqa: S108
    "RAY_AUTH_MODE", "token", "RAY_AUTH_TOKEN", "RAY_REDIS_ADDRESS", "REDIS_PASSWORD",
    "RAY_GRAFANA_HOST", "RAY_GRAFANA_IFRAME_HOST", "RAY_PROMETHEUS_HOST",
}  # fmt: skip


def unaccounted(document: Values, converted: Converted) -> Iterator[str]:
    """Everything in the manifest that is neither among the values nor named as missing."""
    merged = [
        *leaves(DEFAULTS),
        *leaves(converted.values),
    ]
    known: dict[str, set[str]] = {}
    for path, found in merged:
        for end in (path.rpartition(".")[2], ".".join(path.split(".")[-2:])):
            known.setdefault(re.sub(r"\[\d+\]", "", end), set()).add(str(found))
    texts = {str(found) for _, found in merged}
    named = tuple(note.path for note in converted.notes)
    for path, found in leaves({"metadata": document["metadata"], "spec": document["spec"]}):
        if path.startswith(named) or any(re.search(f"{end}$", path) for end in SAME):
            continue
        renamed = [to for end, to in RENAMED.items() if re.search(f"({end})$", path)]
        end = renamed[0] if renamed and renamed[0] else path.rpartition(".")[2]
        end = re.sub(r"\[\d+\]", "", end)
        wanted = str(found).removeprefix("redis://")
        anywhere = texts if renamed == [None] or end not in known else known[end]
        if wanted not in anywhere | OWN:
            yield f"{path}: {found}"


def test_everything_in_kuberays_samples_is_carried_over_or_named(
    samples: list[tuple[str, Values]],
) -> None:
    missing = [
        f"{name}: {line}"
        for name, document in samples
        for line in unaccounted(document, convert(document))
    ]
    assert not missing, "\n".join(missing)


# What the chart does not take of them, by the file's name, and what it says.
REFUSED = {
    "ray-cluster-label-selector.yaml": r"ray:nightly does not tell which Ray it contains",
    "ray-job.resources.yaml": r"head\.numGpus is 2, but head\.resources\.limits has no GPU",
    "ray-service.vllm-tpu-v6e-singlehost.yaml": r"'\$KSA_NAME' does not match",
}


def test_the_chart_takes_kuberays_samples_or_says_why_not(
    samples: list[tuple[str, Values]],
) -> None:
    wrong = []
    for name, document in samples:
        converted = convert(document)
        said = from_kuberay.refusal(converted)
        expected = REFUSED.get(name, "")
        if bool(said) != bool(expected) or not re.search(expected, said):
            wrong.append(f"{name}: {said or 'it is taken'}")
    assert not wrong, "\n".join(wrong)
