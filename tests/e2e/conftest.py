"""Fixtures of the scenarios: a namespace each, releases through pyhelm3, a dump on failure.

Every namespace enforces the *restricted* Pod Security Standard, so every scenario also shows that
the chart's pods run under it.
"""

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyhelm3
import pytest
from kubernetes import client, config
from pytest_helm_charts.clusters import Cluster as KubeCluster
from pytest_helm_charts.k8s.deployment import wait_for_deployments_to_run
from pytest_helm_charts.k8s.fixtures import NamespaceFactoryFunc

from harness import helm, ray_api, report, up
from harness.cluster import Cluster
from harness.paths import CHART, REPORTS

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
READY_TIMEOUT_SECONDS = 240

_REPORT = pytest.StashKey[pytest.TestReport]()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the outcome where fixtures can see it."""
    outcome = yield
    if outcome.when == "call" or outcome.failed:
        item.stash[_REPORT] = outcome
    return outcome


@pytest.fixture(scope="session")
def testbed(pytestconfig: pytest.Config) -> Cluster:
    """The cluster under test; `node` is None where it is somebody's own."""
    kubeconfig = Path(pytestconfig.getoption("kubeconfig"))
    return Cluster("e2e", kubeconfig, os.environ.get("TESTBED_NODE") or None)


@pytest.fixture
def api(testbed: Cluster) -> client.ApiClient:
    """The Kubernetes API."""
    return config.new_client_from_config(str(testbed.kubeconfig))


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest,
    testbed: Cluster,
    namespace_factory_function_scope: NamespaceFactoryFunc,
) -> Iterator[str]:
    """A namespace of this test's own; its state is kept in the report if the test fails."""
    topic = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:30]
    name = f"e2e-{topic.strip('-')}-{secrets.token_hex(2)}"
    namespace_factory_function_scope(name, {"labels": RESTRICTED})
    yield name
    outcome = request.node.stash.get(_REPORT, None)
    if outcome is None or outcome.failed:
        folder = REPORTS / "e2e"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{request.node.name}.txt"
        file.write_text(report.dump(testbed, name))
        print(f"The state of {name} is in {file}")


@pytest.fixture
def install(
    testbed: Cluster, kube_cluster: KubeCluster, namespace: str
) -> Iterator[Callable[..., Release]]:
    """Install the chart with `values`, wait until its Deployments run, uninstall it at the end."""
    helm_client = helm.client(testbed.kubeconfig)
    installed: list[Release] = []

    def _install(values: dict[str, Any], name: str = "ray") -> Release:
        async def apply() -> Any:
            chart = await helm_client.get_chart(CHART)
            return await helm_client.install_or_upgrade_release(
                name, chart, values, namespace=namespace, create_namespace=False
            )

        release = Release(name, namespace, testbed)
        installed.append(release)
        asyncio.run(apply())
        deployments = [
            obj["metadata"]["name"]
            for obj in helm.template(values, release=name, namespace=namespace)
            if obj["kind"] == "Deployment"
        ]
        wait_for_deployments_to_run(
            kube_cluster.kube_client, deployments, namespace, READY_TIMEOUT_SECONDS
        )
        return release

    yield _install
    for release in installed:
        with contextlib.suppress(pyhelm3.errors.ReleaseNotFoundError):
            asyncio.run(helm_client.uninstall_release(release.name, namespace=namespace))
