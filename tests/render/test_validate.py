"""Contradictions between values: each has its message, and all arrive at once."""

import re
from typing import Any

import pytest
import yaml

from harness.helm import template
from harness.paths import CHART, ROOT

from .leaves import VALUES
from .objects import Object, deployments, env, flags, refusal

DIGEST = "sha256:" + "0" * 64


def worker(**values: Any) -> Object:
    """Values of a release whose default group has these."""
    return {"workerGroups": {"default": values}}


def redis(mode: str, **values: Any) -> Object:
    """Values of a release with this mode of fault tolerance and these values of the Redis."""
    return {"gcsFaultTolerance": {"mode": mode, "redis": values}}


def quota(hard: Object) -> Object:
    """Values of a release with this quota."""
    return {"tenant": {"resourceQuota": {"enabled": True, "hard": hard}}}


def projected_token(**token: str) -> Object:
    """A volume with a token of the pod's account."""
    sources = [{"serviceAccountToken": {"path": "token", **token}}]
    return {"name": "token", "projected": {"sources": sources}}


def keda(**values: Any) -> Object:
    """Values of a release whose default group is KEDA's; those of `keda` beside `enabled`."""
    own = {"idleReplicaCount", "fallback", "triggers"}
    of_keda = {"enabled": True} | {key: values.pop(key) for key in own & values.keys()}
    return worker(autoscaling={"keda": of_keda, **values})


GREEDY = {"resources": {"requests": {"memory": "1Gi"}}}
COMPONENT = {"app.kubernetes.io/component": "x"}
DEMAND: Object = {"autoscaling": {"demand": {"enabled": True}}}
OLD_KUBERNETES = "1.31.0"  # which lacks the most
CRON = {"type": "cron", "metadata": {"start": "0 8 * * *"}}
SECOND_AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "second"},
    "spec": {
        "maxReplicas": 2,
        "scaleTargetRef": {"kind": "Deployment", "name": "ray-ray-cluster-worker-default"},
    },
}
# Entries of lists with a name that the chart gives to one of its own.
OWN_NAMES: dict[str, Object] = {
    "volumes": {"name": "object-spilling", "emptyDir": {}},
    "sidecars": {"name": "ray-worker", "image": "i"},
    "initContainers": {"name": "remove-old-sessions", "image": "i"},
    "extraPorts": {"name": "serve", "containerPort": 1},
}

CONTRADICTIONS: list[tuple[str, Object, str]] = [
    (
        "text that YAML cannot hold",
        {"head": {"podAnnotations": {"a": "x\u0084", "b": "c"}}},
        "head.podAnnotations.a contains a control character, which YAML cannot hold: remove it",
    ),
    (
        "text that YAML cannot hold",
        worker(env=[{"name": "A", "value": "\u007f"}]),
        "workerGroups.default.env.0.value contains a control character",
    ),
    (
        "service name begins with a digit",
        {"fullnameOverride": "1ray"},
        "fullnameOverride makes a Service called 1ray-head, but a Service's name starts with a "
        "letter and has letters, digits and hyphens only: choose another",
    ),
    *(
        (
            "label of the chart's own",
            values,
            f"{path} sets app.kubernetes.io/component, a label that the chart sets itself",
        )
        for path, values in (
            ("helmTest.podLabels", {"helmTest": {"podLabels": COMPONENT}}),
            (
                "gcsFaultTolerance.redis.cleanup.podLabels",
                {"gcsFaultTolerance": {"redis": {"cleanup": {"podLabels": COMPONENT}}}},
            ),
            (
                "gcsFaultTolerance.rocksdb.labels",
                {"gcsFaultTolerance": {"rocksdb": {"labels": COMPONENT}}},
            ),
        )
    ),
    *(
        (
            "name that no group may have",
            {"workerGroups": {name: {}}},
            f'workerGroups has a group called "{name}", but its name becomes a part of others',
        )
        for name in ("GPU", "gpu_a", "1a", "g" * 31)
    ),
    (
        "image's registry with a scheme",
        {"image": {"registry": "https://harbor.example.com/mirror"}},
        "image.registry is https://harbor.example.com/mirror, but an image's name has no scheme: "
        "write harbor.example.com/mirror.",
    ),
    (
        "image's registry with a scheme",
        {"global": {"imageRegistry": "https://harbor.example.com"}},
        "global.imageRegistry is https://harbor.example.com, but",
    ),
    (
        "image's tag in its repository",
        {"image": {"repository": "rayproject/ray:2.60.0"}},
        "image.repository is rayproject/ray:2.60.0, with a tag in it: write rayproject/ray, and "
        "2.60.0 as image.tag.",
    ),
    (
        "image's tag in its repository",
        {"rayVersion": "2.60.0"} | worker(image={"repository": "ray:gpu", "tag": "2.60.0"}),
        "workerGroups.default.image.repository is ray:gpu, with a tag in it",
    ),
    (
        "nodes of different versions",
        {"image": {"tag": "2.60.0-py312"}} | worker(image={"tag": "2.60.0-py311-gpu"}),
        "the images of head and worker groups have different Pythons by their tags, py311 and "
        "py312: all nodes need the same, choose another image.tag",
    ),
    (
        "label of the chart's own",
        {"commonLabels": {"helm.sh/chart": "x"}},
        "commonLabels sets helm.sh/chart, a label that the chart sets itself: remove it",
    ),
    (
        "label of the chart's own",
        worker(podLabels={"ray-cluster/worker-group": "x"}),
        "workerGroups.default.podLabels sets ray-cluster/worker-group, a label that the chart",
    ),
    (
        "image tells no version",
        {"image": {"tag": "nightly"}},
        "docker.io/rayproject/ray:nightly does not tell which Ray it contains: set rayVersion",
    ),
    (
        "image tells no version",
        {"image": {"tag": "2.60.12345678901234567890"}},
        "ray:2.60.12345678901234567890 does not tell which Ray it contains",
    ),
    (
        "image tells no version",
        {"image": {"tag": "2.60.0rc1"}},
        "ray:2.60.0rc1 does not tell which Ray it contains",
    ),
    (
        "image tells no version",
        {"image": {"digest": DIGEST}},
        f"docker.io/rayproject/ray@{DIGEST} does not tell which Ray it contains",
    ),
    (
        "image tells no version",
        worker(image={"tag": "nightly"}),
        "workerGroups.default.image is docker.io/rayproject/ray:nightly, which does not tell",
    ),
    (
        "image tells no version",
        worker(image={"digest": DIGEST}),
        f"workerGroups.default.image is docker.io/rayproject/ray@{DIGEST}, which does not tell",
    ),
    (
        "version that the tag denies",
        {"rayVersion": "2.59.0", "image": {"tag": "2.60.0-py312"}},
        "rayVersion is 2.59.0, but image.tag is 2.60.0-py312: remove rayVersion, or choose",
    ),
    (
        "Ray is too old",
        {"image": {"tag": "2.39.0"}},
        "Ray 2.39.0 is too old, this chart needs 2.40.0 or newer",
    ),
    (
        "value that needs a newer Ray",
        {"image": {"tag": "2.44.1"}, "worker": {"objectSpilling": {"enabled": True}}},
        "workerGroups.default.objectSpilling.enabled needs Ray 2.45.0 or newer, but the cluster's",
    ),
    (
        "value that needs a newer Ray",
        {
            "image": {"tag": "2.40.0"},
            **redis("redis", address="redis:6379", username="ray", existingSecret="redis"),
        },
        "gcsFaultTolerance.redis.username needs Ray 2.41.0 or newer, but the cluster's is 2.40.0",
    ),
    (
        "value that needs a newer Ray",
        {"image": {"tag": "2.51.2"}, "auth": {"token": {"existingSecret": "ray-token"}}},
        "auth.token.existingSecret needs Ray 2.52.0 or newer, but the cluster's is 2.51.2",
    ),
    (
        "value that needs a newer Ray",
        {"image": {"tag": "2.51.2"}, "auth": {"token": {"enabled": True}}},
        "auth.token.enabled needs Ray 2.52.0 or newer, but the cluster's is 2.51.2",
    ),
    (
        "Secret for a token that is off",
        {"auth": {"token": {"enabled": False, "existingSecret": "token"}}},
        "auth.token.existingSecret is set, but auth.token.enabled is false",
    ),
    (
        "TLS without an authority",
        {"tls": {"enabled": True}},
        "tls.enabled is true without tls.existingSecret: name the Secret with the authority",
    ),
    (
        "settings of TLS that is off",
        {"tls": {"existingSecret": "authority"}},
        "tls.existingSecret is set, but tls.enabled is false",
    ),
    (
        "settings of TLS that is off",
        {"tls": {"headNames": ["ray.example.com"]}},
        "tls.headNames is set, but tls.enabled is false",
    ),
    (
        "two ports are the same",
        {"ports": {"metrics": 8265}},
        "ports.metrics and ports.dashboard are both 8265: give each a port of its own",
    ),
    (
        "port lies in the workers' range",
        {"ports": {"client": 10002}},
        "ports.client is 10002, inside the range from ports.workerMin to ports.workerMax",
    ),
    (
        "range of ports is empty",
        {"ports": {"workerMin": 30000}},
        "ports.workerMax is 19999, but must be greater than ports.workerMin, which is 30000",
    ),
    (
        "Redis without address",
        redis("redis"),
        "gcsFaultTolerance.redis.address is empty, but gcsFaultTolerance.mode is redis",
    ),
    (
        "Redis user without password",
        redis("redis", address="redis:6379", username="ray"),
        "gcsFaultTolerance.redis.username is set without gcsFaultTolerance.redis.existingSecret",
    ),
    *(
        (
            "Redis settings without Redis",
            redis("none", **{key: value}),
            f"gcsFaultTolerance.redis.{key} is set, but gcsFaultTolerance.mode is none",
        )
        for key, value in {
            "address": "redis:6379",
            "username": "ray",
            "existingSecret": "redis",
            "password": "secret",
            "storageNamespace": "ns",
        }.items()
    ),
    (
        "two passwords for one Redis",
        redis("redis", address="r:6379", existingSecret="redis", password="x"),  # noqa: S106
        "gcsFaultTolerance.redis.password and gcsFaultTolerance.redis.existingSecret are both set",
    ),
    *(
        (
            "certificates without TLS",
            redis("redis", address="redis://redis:6379", tls={key: "redis"}),
            f"gcsFaultTolerance.redis.tls.{key} is set, but gcsFaultTolerance.redis.address does "
            "not begin with rediss://: write rediss://redis:6379",
        )
        for key in ("existingSecret", "serverName")
    ),
    *(
        (
            "certificate without its key",
            redis("redis", address="rediss://r:1", tls={"existingSecret": "redis", key: "x"}),
            f"gcsFaultTolerance.redis.tls.{key} is set without {missing}",
        )
        for key, missing in {"certKey": "keyKey", "keyKey": "certKey"}.items()
    ),
    (
        "certificate from nowhere",
        redis("redis", address="rediss://r:1", tls={"certKey": "tls.crt", "keyKey": "tls.key"}),
        "tls.certKey is set without gcsFaultTolerance.redis.tls.existingSecret",
    ),
    (
        "claim for RocksDB without RocksDB",
        {"gcsFaultTolerance": {"rocksdb": {"existingClaim": "state"}}},
        "rocksdb.existingClaim is set, but gcsFaultTolerance.mode is none",
    ),
    (
        "no task could run",
        {"workerGroups": {"default": None}},
        "head.numCpus comes to 0, and there is no worker group: no task could ever run",
    ),
    (
        "no task could run",
        worker(numCpus=0),
        "head.numCpus comes to 0, and so it does in every worker group: no task could ever run",
    ),
    (
        "no task could run",
        worker(
            resources={"requests": {"cpu": 0}}, autoscaling={"targetCPUUtilizationPercentage": 0}
        ),
        "head.numCpus comes to 0, and so it does in every worker group: no task could ever run",
    ),
    (
        "group called head",
        {"workerGroups": {"head": {}}},
        "workerGroups.head has the name that Ray knows the head by: choose another",
    ),
    (
        "fraction of a CPU",
        {"head": {"numCpus": 0.5}},
        "head.numCpus is 0.5, but Ray counts whole CPUs: write 1.",
    ),
    (
        "fraction of a CPU",
        worker(numCpus=1.5),
        "workerGroups.default.numCpus is 1.5, but Ray counts whole CPUs: write 2.",
    ),
    (
        "two heads",
        {"head": {"replicas": 2}},
        "head.replicas is 2, but a Ray cluster has one head: remove it",
    ),
    *(
        (
            "two autoscalers for one group",
            {"extraObjects": [second]},
            f"extraObjects has a {kind} for the Deployment ray-ray-cluster-worker-default, which "
            "workerGroups.default.autoscaling scales already: remove it, or write "
            "workerGroups.default.autoscaling.enabled: false",
        )
        for kind, second in (
            ("HorizontalPodAutoscaler", SECOND_AUTOSCALER),  # as a map
            (
                "ScaledObject",  # KEDA's, as a text of two documents with a template
                "kind: ConfigMap\n---\n"
                + yaml.safe_dump(SECOND_AUTOSCALER | {"kind": "ScaledObject"}).replace(
                    "ray-ray", "{{ .Release.Name }}-ray"
                ),
            ),
        )
    ),
    (
        "CPUs from a missing request",
        {"head": {"numCpus": "auto", "resources": {"requests": None, "limits": {"cpu": None}}}},
        "head.numCpus is auto, but there is no head.resources.requests.cpu to take it",
    ),
    *(
        (
            "request above its limit",
            {"head": {"resources": {"requests": {resource: request}, "limits": {resource: limit}}}},
            f"head.resources.requests.{resource} is {request}, more than "
            f"head.resources.limits.{resource}, which is {limit}: lower it, or raise the limit",
        )
        for resource, request, limit in (
            ("cpu", "800m", "0.5"),
            ("cpu", 10, 9),
            ("memory", "4Gi", "4G"),
            ("ephemeral-storage", "1.5Gi", "1Gi"),
        )
    ),
    (
        "no memory limit",
        {"head": {"resources": {"limits": {"memory": None}}}},
        "head.resources.limits.memory is missing: Ray needs to know how much memory it has",
    ),
    (
        "object store takes all memory",
        worker(objectStoreMemory="80%"),
        "workerGroups.default.objectStoreMemory is 80%, but must be less than 80 % of",
    ),
    (
        "object store takes all memory",
        {"head": {"objectStoreMemory": "4Gi"}},
        "head.objectStoreMemory is 4Gi, but must be less than 80 % of",
    ),
    (
        "object store is too small for Ray",
        worker(objectStoreMemory="1%"),
        "workerGroups.default.objectStoreMemory comes to 21474836 bytes, but Ray refuses less",
    ),
    (
        "flag of the chart's own",
        {"head": {"rayStartParams": {"num-cpus": "2"}}},
        "head.rayStartParams.num-cpus is set by the chart: use head.numCpus instead",
    ),
    (
        "flag of the chart's own",
        worker(rayStartParams={"block": ""}),
        "workerGroups.default.rayStartParams.block is set by the chart: remove it",
    ),
    (
        "flag of the head on a worker",
        worker(rayStartParams={"include-dashboard": "false"}),
        "workerGroups.default.rayStartParams.include-dashboard is a flag of the head",
    ),
    (
        "variable of the chart's own",
        worker(env=[{"name": "RAY_REDIS_ADDRESS", "value": "x"}]),
        "workerGroups.default.env sets RAY_REDIS_ADDRESS, which the chart sets itself: "
        "use gcsFaultTolerance.redis.address instead",
    ),
    (
        "variable of the chart's own",
        {"head": {"env": [{"name": "POD_IP", "value": "x"}]}},
        "head.env sets POD_IP, which the chart sets itself: remove it",
    ),
    (
        "name of the chart's own",
        {"head": {"volumes": [{"name": "shm", "emptyDir": {}}]}},
        "head.volumes has an entry called shm, a name that the chart uses itself",
    ),
    (
        "mount in the chart's place",
        {"head": {"volumeMounts": [{"name": "x", "mountPath": "/tmp/ray/"}]}},  # noqa: S108
        "head.volumeMounts mounts at /tmp/ray/, where the chart mounts already",
    ),
    (
        "label of the chart's own",
        {"head": {"persistence": {"labels": {"helm.sh/chart": "x"}}}},
        "head.persistence.labels sets helm.sh/chart, a label that the chart sets itself",
    ),
    (
        "label of the chart's own",
        {"serve": {"service": {"labels": {"ray-cluster/serve": "x"}}}},
        "serve.service.labels sets ray-cluster/serve, a label that the chart sets itself",
    ),
    (
        "port lies in the workers' range",
        {"ports": {"serve": 10500}},
        "ports.serve is 10500, inside the range from ports.workerMin to ports.workerMax",
    ),
    *(
        (
            "name of the chart's own",
            worker(**{key: [entry]}),
            f"workerGroups.default.{key} has an entry called {entry['name']}, a name that the",
        )
        for key, entry in OWN_NAMES.items()
    ),
    (
        "mount in the chart's place",
        worker(volumeMounts=[{"name": "x", "mountPath": "/object-spilling"}]),
        "mounts at /object-spilling, where the chart mounts already: use "
        "workerGroups.default.objectSpilling",
    ),
    (
        "GPUs that the pod does not have",
        worker(numGpus=1),
        "workerGroups.default.numGpus is 1, but workerGroups.default.resources.limits has no GPU",
    ),
    (
        "GPUs that the pod does not have",
        {"head": {"numGpus": 3, "resources": {"limits": {"amd.com/gpu": 2}}}},
        "head.numGpus is 3, but head.resources.limits has 2: set a limit such as nvidia.com/gpu",
    ),
    (
        "nodes of different versions",
        worker(image={"tag": "2.59.0-gpu"}),
        "workerGroups.default.image.tag is 2.59.0-gpu, but the cluster's Ray is 2.60.0",
    ),
    (
        "nodes of different versions",
        {"rayVersion": "2.59.0", "head": {"image": {"tag": "2.60.0"}}},
        "head.image.tag is 2.60.0, but the cluster's Ray is 2.59.0",
    ),
    (
        "volume with two sources",
        {
            "worker": {"objectSpilling": {"volume": {"hostPath": {"path": "/mnt"}}}},
            **worker(objectSpilling={"volume": {"ephemeral": {}}}),
        },
        "workerGroups.default.objectSpilling.volume comes to ephemeral and hostPath together",
    ),
    (
        "log that rotates all the time",
        {"logRotation": {"maxSize": "100m"}},
        "logRotation.maxSize comes to 1 bytes, less than a log needs: write at least 1Mi",
    ),
    *(
        (
            "update that replaces nothing",
            worker(strategy={"rollingUpdate": {"maxSurge": none}}),
            "workerGroups.default.strategy.rollingUpdate has maxSurge and maxUnavailable at 0",
        )
        for none in (0, "0%")
    ),
    (
        "update that cannot succeed",
        worker(minReadySeconds=600),
        "workerGroups.default.minReadySeconds is 600, but must be less than "
        "workerGroups.default.progressDeadlineSeconds, which is 600",
    ),
    (
        "budget without a number",
        worker(podDisruptionBudget={"maxUnavailable": None}),
        "workerGroups.default.podDisruptionBudget is enabled without minAvailable and",
    ),
    (
        "token without an account",
        {"serviceAccount": {"automount": True}},
        "serviceAccount.automount is true, but there is no account of its own",
    ),
    (
        "token without an account",
        {"serviceAccount": {"automount": True}, **worker(serviceAccountName="jobs")},
        "serviceAccount.automount is true, but there is no account of its own",
    ),
    (
        "annotations without an account",
        {"serviceAccount": {"annotations": {"role": "x"}, "name": "theirs"}},
        "serviceAccount.annotations are set, but the chart makes no account",
    ),
    (
        "Ray Serve without a node",
        {"serve": {"enabled": True}, "head": {"serveProxy": False}},
        "serve.enabled is true, but neither the head nor a worker group has serveProxy",
    ),
    (
        "nodes for Ray Serve without it",
        worker(serveProxy=True),
        "workerGroups.default.serveProxy is true, but serve.enabled is false",
    ),
    *(
        (
            "way to Ray Serve without it",
            {"serve": {kind: {"enabled": True, **values}}},
            f"serve.{kind} is enabled, but serve.enabled is false",
        )
        for kind, values in {
            "ingress": {"hosts": [{"host": "a.b"}]},
            "httpRoute": {"parentRefs": [{"name": "web"}]},
        }.items()
    ),
    (
        "killed while it still takes requests",
        {
            "serve": {"enabled": True},
            **worker(serveProxy=True, terminationGracePeriodSeconds=250),
        },
        "workerGroups.default.terminationGracePeriodSeconds is 250, but workerGroups.default "
        "receives requests for Ray Serve, and first goes on for serve.preStopSleepSeconds",
    ),
    (
        "killed while it still takes requests",
        {
            "serve": {"enabled": True, "preStopSleepSeconds": 30},
            "head": {"terminationGracePeriodSeconds": 30},
        },
        "head.terminationGracePeriodSeconds is 30, but head receives requests for Ray Serve",
    ),
    (
        "killed while it still takes requests",
        {"serve": {"enabled": True}, "head": {"terminationGracePeriodSeconds": 0}},
        "head.terminationGracePeriodSeconds is 0, but head receives requests for Ray Serve",
    ),
    (
        "Ingress without a host",
        {"dashboard": {"ingress": {"enabled": True}}},
        "dashboard.ingress is enabled without hosts: write the name that it answers to",
    ),
    (
        "Ingress without a host",
        {"serve": {"enabled": True, "ingress": {"enabled": True}}},
        "serve.ingress is enabled without hosts: write the name that it answers to",
    ),
    (
        "HTTPRoute without a gateway",
        {"dashboard": {"httpRoute": {"enabled": True}}},
        "dashboard.httpRoute is enabled without parentRefs: name the gateway that it belongs to",
    ),
    (
        "two Ingresses for one address",
        {
            "dashboard": {"ingress": {"enabled": True, "hosts": [{"host": "a.b"}]}},
            "serve": {
                "enabled": True,
                "ingress": {
                    "enabled": True,
                    "hosts": [{"host": "a.b", "paths": [{"path": "/x"}, {"path": "/"}]}],
                },
            },
        },
        "serve.ingress and dashboard.ingress both answer to a.b/: write another host or path",
    ),
    (
        "closed egress without a way to the Redis",
        {**redis("redis", address="r:1"), "networkPolicy": {"egress": {"restricted": True}}},
        "say in networkPolicy.egress.redis where the Redis is",
    ),
    (
        "opening where nothing is closed",
        {"networkPolicy": {"egress": {"to": [{"ports": [{"port": 443}]}]}}},
        "networkPolicy.egress.to is set, but nothing is closed that it could open",
    ),
    (
        "label of the chart's own",
        {"networkPolicy": {"labels": {"app.kubernetes.io/name": "mine"}}},
        "networkPolicy.labels sets app.kubernetes.io/name, a label that the chart sets itself",
    ),
    (
        "more than the quota has",
        quota({"requests.cpu": "1.9"}),
        "tenant.resourceQuota.hard.requests.cpu is 1.9, but the release comes to 2500m at its "
        "largest (head 1 x 500m, workerGroups.default (2 + 2 that drain) x 500m): raise the quota, "
        "or lower the number of workers, what each has of cpu, or maxSurge; or let new workers "
        "wait for those that drain, with tenant.resourceQuota.countDraining: false.",
    ),
    (
        "more than the quota has",
        {**quota({"pods": 3}), **worker(drain={"timeoutSeconds": 0})},
        "tenant.resourceQuota.hard.pods is 3, but the release comes to 4 at its largest "
        "(head 1 x 1, workerGroups.default (2 + 1 during an update) x 1): raise the quota, or "
        "lower the number of workers or maxSurge.",
    ),
    (
        "outside of the limit range",
        {
            "tenant": {
                "limitRange": {
                    "enabled": True,
                    "limits": [{"type": "Container", "max": {"memory": "2Gi"}}],
                }
            }
        },
        "container ray-head of head has limits.memory 3Gi, but tenant.limitRange.limits has a max "
        "of 2Gi for the memory of a Container, and Kubernetes would refuse it: change one of them.",
    ),
    (
        "quota on what a container does not state",
        {**quota({"limits.cpu": 9}), **worker(sidecars=[{"name": "logs", "image": "i"}])},
        "container logs of workerGroups.default states no limits.cpu, but "
        "tenant.resourceQuota.hard.limits.cpu makes Kubernetes refuse a pod without it",
    ),
    (
        "quota or limit range without a limit",
        quota({}),
        "tenant.resourceQuota is enabled, but tenant.resourceQuota.hard is empty",
    ),
    (
        "quota or limit range without a limit",
        {"tenant": {"limitRange": {"enabled": True}}},
        "tenant.limitRange is enabled, but tenant.limitRange.limits is empty",
    ),
    (
        "label of the chart's own",
        {"tenant": {"resourceQuota": {"labels": {"helm.sh/chart": "x"}}}},
        "tenant.resourceQuota.labels sets helm.sh/chart, a label that the chart sets itself",
    ),
    (
        "fewer workers at most than at least",
        worker(autoscaling={"minReplicas": 3}),
        "workerGroups.default.autoscaling.maxReplicas is 2, less than minReplicas, which is 3",
    ),
    (
        "nothing to scale on",
        worker(
            autoscaling={
                "targetCPUUtilizationPercentage": 0,
                "targetMemoryUtilizationPercentage": None,
            }
        ),
        "workerGroups.default.autoscaling is enabled without anything to follow",
    ),
    (
        "nothing to scale on",
        keda(targetCPUUtilizationPercentage=0, targetMemoryUtilizationPercentage=0),
        "set a target utilisation, metrics or keda.triggers, or write enabled: false",
    ),
    (
        "tolerance that Kubernetes would drop",
        worker(autoscaling={"behavior": {"scaleDown": {"tolerance": 0.05}}}),
        "workerGroups.default.autoscaling.behavior.scaleDown.tolerance needs Kubernetes 1.35, but",
    ),
    (
        "no workers without demand or KEDA",
        worker(autoscaling={"minReplicas": 0}),
        "autoscaling.minReplicas is 0, which takes demand or KEDA: set demand.enabled, or",
    ),
    (
        "demand without autoscaling",
        worker(autoscaling={"enabled": False, "demand": {"enabled": True}}),
        "workerGroups.default.autoscaling.demand.enabled is true, but "
        "workerGroups.default.autoscaling.enabled is false: write both true, or both false",
    ),
    (
        "deletion cost without demand",
        worker(autoscaling={"demand": {"podDeletionCost": True}}),
        "workerGroups.default.autoscaling.demand.podDeletionCost is true, but "
        "workerGroups.default.autoscaling.demand.enabled is false",
    ),
    (
        "token for jobs beside demand",
        worker(autoscaling={"demand": {"enabled": True}})
        | {"serviceAccount": {"automount": True, "create": True}},
        "with serviceAccount.automount jobs on the head can read the token that may scale",
    ),
    (
        "shared processes beside demand",
        worker(autoscaling={"demand": {"enabled": True}})
        | {"head": {"shareProcessNamespace": True}},
        "with head.shareProcessNamespace jobs on the head can read the token that may scale",
    ),
    *(
        (
            "account of everybody for demand",
            worker(**DEMAND) | values,
            "the head's account is default, and with it every pod of the namespace",
        )
        for values in (
            {"serviceAccount": {"name": "default"}},
            {"head": {"serviceAccountName": "default"}},
        )
    ),
    (
        "token for jobs beside demand",
        worker(**DEMAND)
        | {
            "head": {
                "volumes": [projected_token()],
                "volumeMounts": [{"name": "token", "mountPath": "/token"}],
            }
        },
        "head.volumeMounts gives jobs on the head the token in token, which may scale: remove it",
    ),
    (
        "volume that is kept from jobs",
        worker(**DEMAND)
        | {"head": {"volumeMounts": [{"name": "demand-account", "mountPath": "/a"}]}},
        "head.volumeMounts mounts demand-account, which the chart keeps from containers that run",
    ),
    (
        "volume that is kept from jobs",
        {"tls": {"enabled": True, "existingSecret": "authority"}}
        | worker(volumeMounts=[{"name": "tls-authority", "mountPath": "/a"}]),
        "workerGroups.default.volumeMounts mounts tls-authority, which the chart keeps from",
    ),
    (
        "demand without a way to the Kubernetes API",
        worker(autoscaling={"demand": {"enabled": True}})
        | {"networkPolicy": {"egress": {"restricted": True}}},
        "its sidecar cannot reach the Kubernetes API",
    ),
    *(
        (
            "KEDA without a trigger of its own",
            keda(**{"triggers": [{"type": "cpu", "metadata": {"value": "50"}}], **values}),
            f"workerGroups.default.autoscaling.{what}, which takes a trigger beside CPU and memory",
        )
        for values, what in (
            ({"minReplicas": 0}, "minReplicas is 0"),
            ({"idleReplicaCount": 0}, "keda.idleReplicaCount is set"),
            ({"fallback": {"failureThreshold": 3, "replicas": 2}}, "keda.fallback is set"),
        )
    ),
    (
        "as many idle workers as busy ones",
        keda(triggers=[CRON], idleReplicaCount=1),
        "autoscaling.keda.idleReplicaCount is 1, but must be less than minReplicas, which is 1",
    ),
    (
        "metrics for KEDA",
        keda(
            metrics=[
                {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "Value"}}}
            ]
        ),
        "workerGroups.default.autoscaling.metrics are for a HorizontalPodAutoscaler, but "
        "workerGroups.default.autoscaling.keda.enabled is true: write them as keda.triggers",
    ),
    (
        "KEDA without autoscaling",
        keda(enabled=False),
        "workerGroups.default.autoscaling.keda.enabled is true, but "
        "workerGroups.default.autoscaling.enabled is false: write both true, or both false",
    ),
    (
        "target without its request",
        worker(numCpus=1, resources={"requests": {"cpu": None}, "limits": {"cpu": None}}),
        "autoscaling.targetCPUUtilizationPercentage is a percentage of "
        "workerGroups.default.resources.requests.cpu, which is missing",
    ),
    (
        "target without its request",
        worker(numCpus=1, resources={"requests": {"cpu": 0}}),
        "workerGroups.default.resources.requests.cpu, which is 0: set the request",
    ),
    (
        "killed while draining",
        worker(terminationGracePeriodSeconds=240),
        "terminationGracePeriodSeconds is 240, but must be greater than "
        "workerGroups.default.drain.timeoutSeconds, which is 240",
    ),
    (
        "two monitors for one cluster",
        {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
        "monitoring.podMonitor and monitoring.serviceMonitor are both enabled",
    ),
    (
        "claim with two names",
        {"monitoring": {"claim": {"enabled": True, "existingClaim": "a", "name": "b"}}},
        "monitoring.claim.existingClaim and monitoring.claim.name are both set",
    ),
    (
        "headers in two places",
        {"monitoring": {"prometheus": {"existingSecret": "a", "headers": {"b": "c"}}}},
        "monitoring.prometheus.headers and monitoring.prometheus.existingSecret are both set",
    ),
    *(
        (
            "request above its limit",
            values,
            f"{path}.resources.requests.memory is 1Gi, more than {path}.resources.limits.memory",
        )
        for path, values in (
            ("helmTest", {"helmTest": GREEDY}),
            ("head.demandSidecar", {"head": {"demandSidecar": GREEDY}}),
            (
                "gcsFaultTolerance.redis.cleanup",
                {"gcsFaultTolerance": {"redis": {"cleanup": GREEDY}}},
            ),
        )
    ),
    *(
        (
            "extended resource without its limit",
            worker(resources={"requests": {"nvidia.com/gpu": 1}, **limits}),
            "workerGroups.default.resources.requests.nvidia.com/gpu is 1, but nobody shares such",
        )
        for limits in ({}, {"limits": {"nvidia.com/gpu": 2}})
    ),
    (
        "resource of Ray's own",
        {"head": {"rayResources": {"GPU": 1}}},
        "head.rayResources.GPU is a resource of Ray's own: use head.numGpus instead",
    ),
    *(
        (
            "two entries of one name",
            worker(**lists),
            f"workerGroups.default.{what}, or remove it",
        )
        for what, lists in (
            (
                "volumes have two entries with the name a: give one of them another name",
                {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "hostPath": {}}]},
            ),
            (
                "volumeMounts have two entries with the mountPath /a: give one of them another "
                "mountPath",
                {"volumeMounts": [{"name": name, "mountPath": "/a"} for name in ("a", "b")]},
            ),
            (
                "sidecars and initContainers have two entries with the name a: give one of them "
                "another name",
                {"sidecars": [{"name": "a"}], "initContainers": [{"name": "a"}]},
            ),
            (
                "env have two entries with the name A: give one of them another name",
                {"env": [{"name": "A", "value": value} for value in ("1", "2")]},
            ),
            (
                "extraPorts have two entries with the name a: give one of them another name",
                {"extraPorts": [{"name": "a", "containerPort": port} for port in (1, 2)]},
            ),
        )
    ),
    (
        "two handlers for one probe or hook",
        {"worker": {"readinessProbe": {"httpGet": {"path": "/", "port": 1}}}}
        | worker(readinessProbe={"exec": {"command": ["true"]}}),
        "workerGroups.default.readinessProbe comes to exec and httpGet together, but does one",
    ),
    (
        "two handlers for one probe or hook",
        {"worker": {"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}}
        | worker(lifecycle={"preStop": {"sleep": {"seconds": 1}}}),
        "workerGroups.default.lifecycle.preStop comes to exec and sleep together",
    ),
    *(
        (
            "root that may not be root",
            {"head": {context: {"runAsUser": 0}}},
            "head has runAsUser 0, but runAsNonRoot is true, and no container would start",
        )
        for context in ("podSecurityContext", "securityContext")
    ),
    (
        "closed egress without DNS",
        {"networkPolicy": {"egress": {"restricted": True, "dns": []}}},
        "networkPolicy.egress.dns and to are empty, so that no worker could find the head",
    ),
    (
        "two Ingresses for one address",
        {
            "serve": {
                "enabled": True,
                "ingress": {"enabled": True, "hosts": [{"host": "a.example.com"}] * 2},
            }
        },
        "serve.ingress answers twice to a.example.com/: write another host or path",
    ),
    (
        "two Ingresses for one address",
        {
            "dashboard": {"ingress": {"enabled": True, "hosts": [{"host": "a.b"}]}},
            "serve": {
                "enabled": True,
                "ingress": {
                    "enabled": True,
                    "hosts": [
                        {
                            "host": "a.b",
                            "paths": [{"path": "/", "pathType": "ImplementationSpecific"}],
                        }
                    ],
                },
            },
        },
        "serve.ingress and dashboard.ingress both answer to a.b/: write another host or path",
    ),
    (
        "GPUs that the pod does not have",
        worker(numGpus=1, resources={"limits": {"rdma/hca": 1}}),
        "workerGroups.default.numGpus is 1, but workerGroups.default.resources.limits has no GPU",
    ),
    (
        "outside of the limit range",
        {
            "monitoring": {"claim": {"enabled": True}},
            "tenant": {
                "limitRange": {
                    "enabled": True,
                    "limits": [{"type": "PersistentVolumeClaim", "min": {"storage": "5Gi"}}],
                }
            },
        },
        "the claim of monitoring.claim has requests.storage 1Gi, but tenant.limitRange.limits has",
    ),
]


@pytest.mark.parametrize(
    ("values", "message"),
    [pytest.param(values, message, id=title) for title, values, message in CONTRADICTIONS],
)
def test_contradiction_is_refused(values: Object, message: str) -> None:
    refused = refusal(values, kube_version=OLD_KUBERNETES)
    assert message in refused
    assert "in 1 place(s)" in refused


def test_every_contradiction_is_documented_and_no_other() -> None:
    table = (ROOT / "docs" / "refused-values.md").read_text()
    documented = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]
    assert documented == list(dict.fromkeys(documented)), "a row occurs twice"
    assert set(documented) == {title for title, _, _ in CONTRADICTIONS}


def test_all_contradictions_arrive_in_one_message() -> None:
    refused = refusal(
        {
            "image": {"tag": "2.39.0"},
            "ports": {"metrics": 8265},
            "workerGroups": {
                "a": {"autoscaling": {"minReplicas": 3}},
                "b": {"objectStoreMemory": "90%"},
            },
        }
    )
    assert "in 4 place(s)" in refused
    for part in ("2.40.0", "ports.metrics", "workerGroups.a.auto", "workerGroups.b.objectStore"):
        assert part in refused


@pytest.mark.parametrize(
    "head",
    [
        {  # which the API would not take
            "volumes": [projected_token(audience="vault")],
            "volumeMounts": [{"name": "token", "mountPath": "/token"}],
        },
        {"volumes": [projected_token()]},  # for a sidecar of the user's
        {"volumes": [{"name": "a", "projected": {"sources": []}}]},
    ],
)
def test_token_that_no_job_can_scale_with_may_be_there_beside_demand(head: Object) -> None:
    template(worker(**DEMAND) | {"head": head})


@pytest.mark.parametrize("path", ["head", "worker"])
@pytest.mark.parametrize(
    "values",
    [
        {"readinessProbe": {"httpGet": None, "exec": {"command": ["true"]}}},
        {"podSecurityContext": {"runAsUser": 0}, "securityContext": {"runAsNonRoot": False}},
        {"podSecurityContext": {"runAsUser": 0, "runAsNonRoot": None}},
        {"resources": {"requests": {"kubernetes.io/batch-cpu": 1}}},
        {
            "resources": {
                "requests": {"sgx.intel.com/epc": "10Mi", "nvidia.com/gpu": None},
                "limits": {"sgx.intel.com/epc": 10485760, "nvidia.com/gpu": 1},
            }
        },
    ],
)
def test_what_looks_like_a_contradiction_but_is_none_is_rendered(path: str, values: Object) -> None:
    template({path: values})


def test_hooks_of_a_lifecycle_may_stand_beside_its_signal() -> None:
    lifecycle = {"stopSignal": "SIGTERM", "preStop": {"sleep": {"seconds": 1}}}
    template({"head": {"lifecycle": lifecycle}}, kube_version="1.37.0")


def test_every_node_may_have_another_python_than_the_image_that_none_has() -> None:
    python = {"image": {"tag": "2.60.0-py311"}}
    template({"image": {"tag": "2.60.0-py312"}, "head": python, "worker": python})


def test_other_charts_may_use_the_same_keys_of_global() -> None:
    template({"global": {"registry": {"host": "a"}, "repository": "foo:1.2"}})


def test_registry_may_have_a_port_and_a_path() -> None:
    image = {"registry": "", "repository": "localhost:5000/mirror/ray"}
    values: list[Object] = [{"image": image}, {"image": {"registry": "localhost:5000/mirror"}}]
    for value in values:
        template(value)


@pytest.mark.parametrize(
    "values",
    [
        {"runtimeClassName": "nvidia"},
        {"resources": {"limits": {"volcano.sh/vgpu-number": 1}}},
    ],
)
def test_gpu_of_a_kind_that_the_chart_does_not_know_may_be_counted(values: Object) -> None:
    template(worker(numGpus=1, **values))


def test_one_path_of_a_host_may_be_exact_and_a_prefix() -> None:
    paths = [{"path": "/api", "pathType": kind} for kind in ("Exact", "Prefix")]
    ingress = {"enabled": True, "hosts": [{"host": "a.example.com", "paths": paths}]}
    template({"serve": {"enabled": True, "ingress": ingress}})


@pytest.mark.parametrize("name", ["username", "password"])
def test_null_of_a_redis_is_nothing(name: str) -> None:
    values = redis("redis", address="redis:6379", **{name: None})
    assert "redis-password" not in str(template(values))
    assert None not in container_arguments(template(values))


def container_arguments(objects: list[Object]) -> list[Any]:
    """The arguments of the Job that removes the keys."""
    (job,) = (obj for obj in objects if obj["kind"] == "Job")
    arguments: list[Any] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return arguments


def test_one_head_may_be_written_down() -> None:
    template({"head": {"replicas": 1}})


def test_group_without_an_autoscaler_may_get_one_of_the_users() -> None:
    template({"extraObjects": [SECOND_AUTOSCALER], **worker(autoscaling={"enabled": False})})


@pytest.mark.parametrize(
    "spec", [None, "text", {"scaleTargetRef": "text"}, {"scaleTargetRef": {"name": 1}}]
)
def test_autoscaler_of_any_shape_stops_no_other_check(spec: Any) -> None:
    extra = {"extraObjects": [SECOND_AUTOSCALER | {"spec": spec}]}
    assert "in 1 place(s)" in refusal({**extra, "head": {"replicas": 2}})


def test_request_may_be_all_of_its_limit() -> None:
    resources = {"requests": {"cpu": 1, "memory": "2048Mi"}, "limits": {"cpu": "1000m"}}
    template(worker(resources=resources))


def test_limit_stands_in_for_a_missing_request() -> None:
    template(worker(resources={"requests": {"cpu": None, "memory": None}}))


def test_metrics_of_ones_own_need_no_request() -> None:
    target = {"type": "AverageValue", "averageValue": 1}
    metric = {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": target}}
    resources = {"requests": {"cpu": None}, "limits": {"cpu": None}}
    template(worker(numCpus=1, resources=resources, autoscaling={"metrics": [metric]}))


def everything() -> list[Object]:
    """Releases that render every flag and every variable the chart knows."""
    certificates = {"caKey": "ca", "certKey": "c", "keyKey": "k", "serverName": "redis"}
    redis_values = {
        "address": "rediss://redis:6379",
        "username": "ray",
        "existingSecret": "redis",
        "tls": {"existingSecret": "redis", **certificates},
    }
    node = {
        "numCpus": "auto",
        "rayLabels": {"a": "b"},
        "rayResources": {"a": 1},
        "objectSpilling": {"enabled": True},
    }
    history = dict.fromkeys(["tasks", "actors", "nodes", "events"], 1)
    return template(
        {
            **redis("redis", **redis_values),
            "head": {**node, "history": history},
            "worker": node,
            "serve": {"enabled": True},
        }
    ) + template(redis("rocksdb"))


def refused_names(values: Object) -> str:
    """The refusal of a release whose head has these values."""
    return refusal({"head": values})


def test_every_flag_of_the_chart_is_refused_from_users() -> None:
    rendered = set().union(*(flags(deployment) for deployment in deployments(everything())))
    free = {"dashboard-host"}  # IPv6 clusters need another one
    refused = refused_names({"rayStartParams": dict.fromkeys(rendered, "x")})
    assert {flag for flag in rendered if f"rayStartParams.{flag} is" not in refused} == free


def test_every_variable_of_the_chart_is_refused_from_users() -> None:
    rendered = set().union(*(env(deployment) for deployment in deployments(everything())))
    overridden = set(re.findall(r'os\.environ\["(\w+)"\] =', (CHART / "files/ray.py").read_text()))
    assert overridden
    names = rendered | overridden
    refused = refused_names({"env": [{"name": name} for name in names]})
    assert {name for name in names if f"env sets {name}," not in refused} == set()


def test_replacement_values_exist(values_paths: set[str]) -> None:
    names = ["ray-cluster.ray.managedFlags", "ray-cluster.ray.managedEnv"]
    includes = "".join(f'{{{{ include "{name}" $ | indent 4 }}}}\n' for name in names)
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n{includes}"
    (data,) = (
        obj["data"] for obj in template({"extraObjects": [text]}) if obj["kind"] == "ConfigMap"
    )
    replacements = {value.replace("NODE", "worker") for value in data.values() if value}
    assert replacements <= values_paths


@pytest.fixture
def values_paths() -> set[str]:
    """Dotted paths of everything in values.yaml."""

    def paths(value: Any, prefix: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {prefix}
        return {prefix}.union(
            *(paths(child, f"{prefix}.{key}".lstrip(".")) for key, child in value.items())
        )

    return paths(VALUES)
