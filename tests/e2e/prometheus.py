"""A Prometheus of the tests' own in a release's namespace, and what it says."""

import json
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from kubernetes import client, utils

from harness import images, prometheus_operator
from harness.cluster import Cluster

from . import pods
from .release import READY_TIMEOUT_SECONDS, Release, wait_until

_PORT = 9090
_RULES = "/etc/prometheus/rules.yml"
# Another user than the head's, as it is where nobody has agreed upon one.
USER = 65534


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus in the pod `pod`."""

    cluster: Cluster
    namespace: str
    pod: str

    def api(self, path: str, **query: str) -> Any:
        """The data that its HTTP interface answers for `path` ('targets')."""
        url = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}:{_PORT}/proxy/api/v1/{path}"
        if query:
            url += f"?{urllib.parse.urlencode(query)}"
        answer = json.loads(self.cluster.kubectl("get", "--raw", url))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that `expression` has now."""
        found: list[dict[str, Any]] = self.api("query", query=expression)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes."""
        found: list[dict[str, Any]] = self.api("targets", state="active")["activeTargets"]
        return found

    def scraped(self, job: str) -> dict[str, str]:
        """The health of each target that it found by `job`, by the target's address."""
        return {
            target["labels"]["instance"]: f"{target['health']} {target['lastError']}".strip()
            for target in self.of(job)
        }

    def of(self, job: str) -> list[dict[str, Any]]:
        """What it scrapes for `job`; the operator's jobs go by their kind ('podMonitor')."""
        return [t for t in self.targets() if t["scrapePool"].split("/")[0] == job]

    def wait_for_all_of(self, release: Release, *jobs: str) -> None:
        """Wait until each of `jobs` scrapes every node of `release`, and nothing else."""
        wait_until(
            f"every node, and nothing else, to be scraped by each of {jobs}",
            lambda: (_addresses(release), {job: self.scraped(job) for job in jobs}),
            lambda seen: all(found == dict.fromkeys(seen[0], "up") for found in seen[1].values()),
            timeout=READY_TIMEOUT_SECONDS,
        )

    def check_rules(self, tests: dict[str, Any]) -> None:
        """Run promtool's unit tests over its rules; CommandError says what they saw instead."""
        self.cluster.kubectl(
            "exec", "--stdin", f"--namespace={self.namespace}", self.pod, "--",
            "sh", "-c", "cat > /tmp/tests.yml && promtool test rules /tmp/tests.yml 2>&1",
            stdin=yaml.safe_dump({"rule_files": [_RULES], **tests}),
        )  # fmt: skip

    def restarts(self) -> int:
        """How often its container was started again."""
        pod = json.loads(
            self.cluster.kubectl(
                "get", f"--namespace={self.namespace}", "pod", self.pod, "--output=json"
            )
        )
        return sum(status["restartCount"] for status in pod["status"]["containerStatuses"])


def _addresses(release: Release) -> set[str]:
    """Where the nodes of `release` have metrics, with the chart's default ports."""
    found = {f"{pod.status.pod_ip}:8080" for pod in _live(release)}
    heads = [pod.status.pod_ip for pod in release.pods("head")]
    return found | {f"{address}:{port}" for address in heads for port in (44217, 44227)}


def _live(release: Release) -> Iterable[Any]:
    return [*release.pods("head"), *release.pods("worker")]


def http_discovery(release: Release) -> dict[str, Any]:
    """The job `http`, which asks the head of `release` who is there, with its token."""
    discovery: dict[str, Any] = {
        "url": f"http://{release.head_service}.{release.namespace}.svc.cluster.local:8265"
        "/api/prometheus/sd",
        "refresh_interval": "2s",
    }
    if token := release.token:
        discovery["authorization"] = {"type": "Bearer", "credentials": token}
    cluster = f"{release.name}-ray-cluster"
    labels = {"namespace": release.namespace, "ray_io_cluster": cluster}
    relabel = [{"target_label": name, "replacement": value} for name, value in labels.items()]
    return {"job_name": "http", "http_sd_configs": [discovery], "relabel_configs": relabel}


def start(
    testbed: Cluster,
    api: client.ApiClient,
    namespace: str,
    *jobs: dict[str, Any],
    rules: dict[str, Any] | None = None,
    **spec: Any,
) -> Prometheus:
    """Start a Prometheus with these scrape jobs and rules; `spec` adds to its pod's spec."""
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [_RULES],
        "scrape_configs": list(jobs),
    }
    files = {"prometheus.yml": config, "rules.yml": rules or {"groups": []}}
    configuration = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "prometheus"},
        "data": {name: yaml.safe_dump(content) for name, content in files.items()},
    }
    utils.create_from_dict(api, configuration, namespace=namespace)
    container = {
        "image": images.PROMETHEUS_REFERENCE,
        "command": [
            "prometheus", "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/tmp/prometheus",
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": _PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/prometheus"},
            *spec.pop("volumeMounts", []),
        ],
    }  # fmt: skip
    volumes = [{"name": "configuration", "configMap": {"name": "prometheus"}}]
    security = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pods.start(
        api, namespace, "prometheus", container,
        volumes=[*volumes, *spec.pop("volumes", [])], securityContext=security, **spec,
    )  # fmt: skip
    pods.wait_ready(api, testbed, namespace, "prometheus")
    return Prometheus(testbed, namespace, "prometheus")


def operated(testbed: Cluster, namespace: str) -> Prometheus:
    """Have the operator start a Prometheus, for all monitors and rules in `namespace`."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "prometheus"},
        "rules": [
            {
                "apiGroups": ["", "discovery.k8s.io"],
                "resources": ["pods", "services", "endpoints", "endpointslices"],
                "verbs": ["get", "list", "watch"],
            }
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "prometheus"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "prometheus"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    watcher = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": "watcher"},
        "spec": {
            "image": prometheus_operator.prometheus_reference(),
            "version": prometheus_operator.prometheus_version(),
            "serviceAccountName": "default",
            "scrapeInterval": "2s",
            "evaluationInterval": "2s",
            "podMonitorSelector": {},
            "serviceMonitorSelector": {},
            "ruleSelector": {},
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }
    testbed.kubectl(
        "apply", f"--namespace={namespace}", "--filename=-",
        stdin=yaml.safe_dump_all([role, binding, watcher]),
    )  # fmt: skip
    testbed.kubectl(
        "wait", f"--namespace={namespace}", "prometheus/watcher", "--for=condition=Available",
        f"--timeout={READY_TIMEOUT_SECONDS}s",
    )  # fmt: skip
    return Prometheus(testbed, namespace, "prometheus-watcher-0")
