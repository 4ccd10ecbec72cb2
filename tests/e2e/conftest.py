"""Fixtures of the scenarios: a namespace each, releases through pyhelm3, a dump on failure.

Every namespace enforces the *restricted* Pod Security Standard, so every scenario also shows that
the chart's pods run under it.
"""

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config
from pytest_helm_charts.clusters import Cluster as KubeCluster
from pytest_helm_charts.k8s.deployment import wait_for_deployments_to_run
from pytest_helm_charts.k8s.fixtures import NamespaceFactoryFunc

from harness import helm, report
from harness.cluster import Cluster
from harness.paths import CHART, REPORTS

from .release import READY_TIMEOUT_SECONDS, Release

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

_REPORT = pytest.StashKey[pytest.TestReport]()


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
def api(testbed: Cluster) -> Any:
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
        asyncio.run(helm_client.uninstall_release(release.name, namespace=namespace))
