"""examples/article.yaml says what the article's two hand-written YAML files say.

Each row below is a field of theirs. Where the chart renders something else, or something that they
do not have, the row gives the reason; a difference without a reason fails.
"""

from typing import Any

import pytest
import yaml

from harness.helm import template
from harness.paths import ROOT

from .objects import (
    Object,
    command,
    container,
    env,
    find,
    flags,
    head,
    inventory,
    of_component,
    pod,
    volume,
    worker,
)

HEAD, WORKER = "ray-ray-cluster-head", "ray-ray-cluster-worker-default"
GCS, CLEANUP = "ray-ray-cluster-gcs", "ray-ray-cluster-redis-cleanup"
NETWORK = "ray-ray-cluster-network"
ADDRESS = f"{GCS}.ray.svc.cluster.local:6380"

NAMES = "every name begins with the release's, so that tenants in one namespace do not meet"
LABELS = "Kubernetes' standard labels take the place of private ones"
VERSION = "Ray 2.3.0 is below the chart's floor; the article says to modify the image to match"
SHELL = "`ray start` is process 1 and receives SIGTERM, on which it drains; no shell is in between"
EXPANDED = "Kubernetes expands the variable, where there is no shell to do it"

SAME: Any = object()

# Where a field is, what the article says, what the chart renders, and why that differs.
FIELDS: list[tuple[str, Any, Any, str]] = [
    ("service.name", "service-ray-cluster", HEAD, NAMES),
    ("service.labels.app", "ray-cluster-head", None, LABELS),
    ("service.spec.selector.app", "ray-cluster-head", None, LABELS),
    ("service.spec.clusterIP", "None", SAME, ""),
    ("service.ports", {"client": 10001, "dashboard": 8265, "gcs-server": 6380}, SAME, ""),
    ("head.name", "deployment-ray-head", HEAD, NAMES),
    ("head.labels.app", "ray-cluster-head", None, LABELS),
    ("head.podLabels.component", "ray-head", None, LABELS),
    ("head.podLabels.type", "ray", None, LABELS),
    ("head.spec.replicas", 1, SAME, ""),
    ("head.spec.strategy.type", None, "Recreate", "two heads would write to one Redis"),
    ("head.pod.restartPolicy", "Always", SAME, ""),
    ("head.container.name", "ray-head", SAME, ""),
    (
        "head.container.image",
        "rayproject/ray:2.3.0",
        "harbor.example.com/rayproject/ray:2.60.0",
        VERSION,
    ),
    ("head.container.imagePullPolicy", "Always", SAME, ""),
    ("head.becomes", ["/bin/bash", "-c", "--"], ["ray", "start"], SHELL),
    ("head.flags.head", "", SAME, ""),
    ("head.flags.block", "", SAME, ""),
    ("head.flags.port", "6380", SAME, ""),
    ("head.flags.num-cpus", "$MY_CPU_REQUEST", "$(CPU_REQUEST)", EXPANDED),
    ("head.flags.dashboard-host", "0.0.0.0", SAME, ""),  # noqa: S104
    ("head.flags.object-manager-port", "8076", SAME, ""),
    ("head.flags.node-manager-port", "8077", SAME, ""),
    ("head.flags.dashboard-agent-grpc-port", "8078", SAME, ""),
    ("head.flags.dashboard-agent-listen-port", "52365", SAME, ""),
    (
        "head.flags.redis-password",
        "123456",
        "$(RAY_REDIS_PASSWORD)",
        "the password stays in its Secret",
    ),
    ("head.env.RAY_REDIS_ADDRESS", "redis:6379", SAME, ""),
    ("head.cpuRequest", "requests.cpu", SAME, ""),
    (
        "head.ports",
        [6380, 10001, 8265],
        [6380, 10001, 8265, 44217, 44227, 52365, 8080],
        "probes and Prometheus need theirs as well",
    ),
    ("head.container.resources.requests", {"cpu": "500m", "memory": "2G"}, SAME, ""),
    ("head.container.resources.limits", {"cpu": "2", "memory": "5G"}, SAME, ""),
    ("head.claims", ["ray-prom-pvc"], SAME, ""),
    (
        "head.mounts./tmp/ray",
        "ray-prom",
        "ray-tmp",
        "Prometheus' file there is a dead link from Ray 2.57 on: a copy of it is on the claim",
    ),
    ("head.shm", "Memory", SAME, ""),
    ("worker.name", "deployment-ray-worker", WORKER, NAMES),
    ("worker.labels.app", "ray-cluster-worker", None, LABELS),
    ("worker.podLabels.component", "ray-worker", None, LABELS),
    ("worker.podLabels.type", "ray", None, LABELS),
    ("worker.spec.replicas", None, SAME, ""),
    ("worker.pod.restartPolicy", "Always", SAME, ""),
    ("worker.container.name", "ray-worker", SAME, ""),
    (
        "worker.container.image",
        "rayproject/ray:2.3.0",
        "harbor.example.com/rayproject/ray:2.60.0",
        VERSION,
    ),
    ("worker.container.imagePullPolicy", "Always", SAME, ""),
    ("worker.becomes", ["/bin/bash", "-c", "--"], ["ray", "start"], SHELL),
    ("worker.flags.block", "", SAME, ""),
    ("worker.flags.num-cpus", "$MY_CPU_REQUEST", "$(CPU_REQUEST)", EXPANDED),
    (
        "worker.flags.address",
        "service-ray-cluster:6380",
        ADDRESS,
        "a short name is looked up upstream first, where workers may hang for minutes, and a "
        "headless one leads to a head that is gone for half a minute",
    ),
    ("worker.flags.object-manager-port", "8076", SAME, ""),
    ("worker.flags.node-manager-port", "8077", SAME, ""),
    ("worker.flags.dashboard-agent-grpc-port", "8078", SAME, ""),
    ("worker.flags.dashboard-agent-listen-port", "52365", SAME, ""),
    ("worker.cpuRequest", "requests.cpu", SAME, ""),
    ("worker.container.resources.requests", {"cpu": "500m", "memory": "1G"}, SAME, ""),
    ("worker.container.resources.limits", {"cpu": "1", "memory": "1G"}, SAME, ""),
    ("worker.shm", "Memory", SAME, ""),
    ("autoscaler.name", "ray-autoscaler", WORKER, NAMES),
    (
        "autoscaler.apiVersion",
        "autoscaling/v1",
        "autoscaling/v2",
        "v1 knows neither memory nor how fast to scale",
    ),
    ("autoscaler.spec.scaleTargetRef.name", "deployment-ray-worker", WORKER, NAMES),
    ("autoscaler.spec.minReplicas", 1, SAME, ""),
    ("autoscaler.spec.maxReplicas", 2, SAME, ""),
    ("autoscaler.targets", {"cpu": 60}, SAME, ""),
]

# Flags that the article's `ray start` does not have.
ADDED_FLAGS = {
    "node-ip-address": "a worker that is faster than DNS would join as 127.0.0.1",
    "node-name": "the dashboard shows pods by name",
    "memory": "Ray is told the limit rather than left to guess it",
    "object-store-memory": "Ray is told the limit rather than left to guess it",
    "num-gpus": "Ray would count GPUs of the machine that are not the pod's",
    "dashboard-port": "no port is left to chance",
    "metrics-export-port": "no port is left to chance",
    "min-worker-port": "no port is left to chance",
    "max-worker-port": "no port is left to chance",
    "ray-client-server-port": "no port is left to chance",
    "runtime-env-agent-port": "no port is left to chance",
}
ADDED_OBJECTS = {
    ("Secret", "ray-ray-cluster-auth"): "nobody uses the cluster without its token",
    ("PodDisruptionBudget", WORKER): "the drain of a Kubernetes node takes one worker at a time",
    ("Service", GCS): "workers find the head by an address that outlives its pod",
    ("NetworkPolicy", NETWORK): "nobody else reaches a port at which code is run",
    ("Service", CLEANUP): "an uninstall waits for the head to leave before it removes its keys",
    ("Job", CLEANUP): "an uninstall leaves no keys in the Redis",
    ("Pod", "ray-ray-cluster-test"): "`helm test` says whether the cluster works",
}


def node(deployment: Object) -> Object:
    """A Deployment in the terms of FIELDS."""
    words = command(deployment)
    ray = words[words.index("ray") :]
    return {
        "name": deployment["metadata"]["name"],
        "labels": deployment["metadata"]["labels"],
        "podLabels": deployment["spec"]["template"]["metadata"]["labels"],
        "spec": deployment["spec"],
        "pod": pod(deployment),
        "container": container(deployment),
        # A head tells Prometheus of nodes first, and waits until the one that it replaces is gone.
        "becomes": ["ray", *ray[ray.index("--") + 1 :]] if "--" in ray else ray,
        "flags": flags(deployment),
        "env": env(deployment),
        "cpuRequest": env(deployment)["CPU_REQUEST"]["resourceFieldRef"]["resource"],
        "ports": [port["containerPort"] for port in container(deployment)["ports"]],
        "mounts": {
            mount["mountPath"]: mount["name"] for mount in container(deployment)["volumeMounts"]
        },
        "claims": [
            entry["persistentVolumeClaim"]["claimName"]
            for entry in pod(deployment)["volumes"]
            if "persistentVolumeClaim" in entry
        ],
        "shm": volume(deployment, "shm")["emptyDir"]["medium"],
    }


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """What examples/article.yaml renders."""
    return template(yaml.safe_load((ROOT / "examples/article.yaml").read_text()))


@pytest.fixture(scope="module")
def rendered(objects: list[Object]) -> Object:
    """The same in the terms of FIELDS."""
    service = find(objects, "Service", HEAD)
    (autoscaler,) = of_component(objects, "HorizontalPodAutoscaler", "worker")
    resources = [metric["resource"] for metric in autoscaler["spec"]["metrics"]]
    return {
        "service": {
            "name": service["metadata"]["name"],
            "labels": service["metadata"]["labels"],
            "spec": service["spec"],
            "ports": {port["name"]: port["port"] for port in service["spec"]["ports"]},
        },
        "head": node(head(objects)),
        "worker": node(worker(objects)),
        "autoscaler": {
            "name": autoscaler["metadata"]["name"],
            "apiVersion": autoscaler["apiVersion"],
            "spec": autoscaler["spec"],
            "targets": {
                metric["name"]: metric["target"]["averageUtilization"] for metric in resources
            },
        },
    }


def look_up(rendered: Object, path: str) -> Any:
    """The value at a dotted path, None where there is nothing."""
    value: Any = rendered
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


@pytest.mark.parametrize(("path", "article", "ours", "reason"), FIELDS, ids=[f[0] for f in FIELDS])
def test_field_is_the_articles_or_differs_for_a_reason(
    rendered: Object, path: str, article: Any, ours: Any, reason: str
) -> None:
    expected = article if ours is SAME else ours
    assert look_up(rendered, path) == expected
    assert (expected != article) == bool(reason), f"{path}: a difference needs a reason"


@pytest.mark.parametrize("component", ["head", "worker"])
def test_every_further_flag_has_a_reason(rendered: Object, component: str) -> None:
    prefix = f"{component}.flags."
    article = {path.removeprefix(prefix) for path, *_ in FIELDS if path.startswith(prefix)}
    assert set(rendered[component]["flags"]) - article == set(ADDED_FLAGS)


def test_every_further_object_has_a_reason(objects: list[Object]) -> None:
    theirs = {("Service", HEAD), ("Deployment", HEAD), ("Deployment", WORKER)}
    theirs |= {("HorizontalPodAutoscaler", WORKER)}
    assert inventory(objects) - theirs == set(ADDED_OBJECTS)


def test_workers_of_the_article_offer_one_cpu_for_half_a_cpu_requested(rendered: Object) -> None:
    reference = rendered["worker"]["env"]["CPU_REQUEST"]["resourceFieldRef"]
    assert (reference["resource"], reference["divisor"]) == ("requests.cpu", "1")
