"""A release under test, and the small values that let several share one node."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config

from harness import ray_api, up
from harness.cluster import Cluster

READY_TIMEOUT_SECONDS = 240


def small(**worker: Any) -> dict[str, Any]:
    """Values for a release that shares two CPUs with others; `worker` adds to its worker values.

    Requests are small, so numCpus is explicit; a drain never lasts long, since nothing that these
    releases run at their end is worth waiting for.
    """
    return {
        "head": {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
        "worker": {
            "numCpus": 1,
            "resources": {"requests": {"cpu": "50m", "memory": "1Gi"}},
            "drain": {"timeoutSeconds": 5},
            **worker,
        },
    }


@dataclass(frozen=True)
class Release:
    """An installed release of the chart."""

    name: str
    namespace: str
    cluster: Cluster

    @property
    def head_service(self) -> str:
        """The name of the head's Service."""
        return up.head_service(self.cluster, self.namespace, self.name)

    def wait_for_workers(self) -> list[dict[str, Any]]:
        """The rows of Ray's node table once every worker has joined."""
        return up.wait_for_workers(
            self.cluster, self.namespace, self.name, timeout=READY_TIMEOUT_SECONDS
        )

    def run_job(self, script: Path) -> str:
        """The log of `script`, run through the Jobs API."""
        target = f"svc/{self.head_service}"
        with ray_api.dashboard(self.cluster, self.namespace, target) as url:
            return ray_api.run_job(url, script)

    def pods(self, component: str) -> list[Any]:
        """The release's pods of the component 'head' or 'worker'."""
        api = client.CoreV1Api(config.new_client_from_config(str(self.cluster.kubeconfig)))
        labels = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        items: list[Any] = api.list_namespaced_pod(self.namespace, label_selector=labels).items
        return items
