"""Fixtures of the scenarios: a namespace each, releases through pyhelm3, a dump on failure.

Every namespace enforces the *restricted* Pod Security Standard, so every scenario also shows that
the chart's pods run under it. Scenarios share the cluster as `budget.py` says: one takes its share
(`needs`) before it begins, and `install` checks that its release fits in.
"""

import asyncio
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from pytest_helm_charts.clusters import Cluster as KubeCluster
from pytest_helm_charts.k8s.deployment import wait_for_deployments_to_run
from pytest_helm_charts.k8s.fixtures import NamespaceFactoryFunc

from harness import cluster as clusters
from harness import helm, network_policies, prometheus_operator, report
from harness import keda as addon
from harness import state_metrics as observer
from harness.cluster import Cluster
from harness.paths import CHART, REPORTS
from harness.registry import Registry

from .budget import Share, taken, wait_for_calm
from .release import READY_TIMEOUT_SECONDS, Release, free, requested

_REPORT = pytest.StashKey[pytest.TestReport]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `chaos.py`."""
    parser.addoption("--seed", type=int, default=secrets.randbelow(10**6), help="of the chances")
    parser.addoption("--kills", type=int, default=20, help="how many there are")


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


@pytest.fixture(scope="session")
def own_cluster(testbed: Cluster) -> Cluster:
    """The cluster under test; skips the test where it is not the harness's own.

    Of a higher scope than a share of the cluster, so that nobody waits for one in order to skip.
    """
    if testbed.node is None:
        pytest.skip("this is about the harness's own cluster, and the cluster here is another's")
    return testbed


@pytest.fixture(scope="session")
def enforcer(own_cluster: Cluster) -> Cluster:
    """The cluster, and the program that enforces policies in it.

    Of a higher scope than a share of the cluster, so that nobody holds one while it is built.
    """
    network_policies.build()
    return own_cluster


@pytest.fixture(scope="session")
def old_ray(pytestconfig: pytest.Config, testbed: Cluster) -> str:
    """The oldest Ray that the chart supports, made and loaded when a test first asks for it.

    Of a higher scope than a share of the cluster, so that nobody holds one meanwhile.
    """
    registry = os.environ.get("TESTBED_REGISTRY")
    source = Registry(**json.loads(registry)) if registry else None
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    # Only the standard error of a process of pytest-xdist is seen by anybody.
    with capture.global_and_fixture_disabled(), redirect_stdout(sys.stderr):
        clusters.add_ray(testbed, clusters.OLDEST_RAY, source)
    return clusters.OLDEST_RAY


@pytest.fixture
def api(testbed: Cluster) -> client.ApiClient:
    """The Kubernetes API."""
    return config.new_client_from_config(str(testbed.kubeconfig))


@pytest.fixture
def metrics(testbed: Cluster) -> None:
    """Skips the test where no metrics server tells autoscalers what pods use."""
    if testbed.node is None and not clusters.has_metrics(testbed):
        pytest.skip("the cluster has no metrics server, without which nothing scales")


@pytest.fixture(scope="session")
def keda(testbed: Cluster) -> None:
    """KEDA in the cluster under test; skips the test where somebody's own cluster has none."""
    if testbed.node:
        addon.ensure(testbed)
    elif not addon.is_there(testbed):
        pytest.skip("the cluster has no KEDA")


@pytest.fixture(scope="session")
def state_metrics(own_cluster: Cluster) -> None:
    """Metrics about Kubernetes' objects, where the tests know them to be."""
    observer.ensure(own_cluster)


@pytest.fixture(scope="session")
def monitors(testbed: Cluster) -> None:
    """The Prometheus operator; skips the test where somebody's own cluster has none."""
    if testbed.node:
        prometheus_operator.ensure(testbed)
    elif not prometheus_operator.is_there(testbed):
        pytest.skip("the cluster has no Prometheus operator")


@pytest.fixture(scope="session")
def room(testbed: Cluster) -> Share:
    """What the pods of all scenarios may request together."""
    return free(config.new_client_from_config(str(testbed.kubeconfig)))


@pytest.fixture
def share(request: pytest.FixtureRequest, testbed: Cluster, room: Share) -> Iterator[Share]:
    """This test's share of the cluster, held until its end."""
    marker = request.node.get_closest_marker("needs")
    needs = dict(marker.kwargs) if marker else {}
    alone = needs.pop("alone", False)
    wanted = Share(**needs)
    if testbed.node is None and not wanted.fits(room):
        pytest.skip(f"the cluster has {room} free, and this scenario needs {wanted}")
    folder = clusters.locks(testbed)
    with taken(room if alone else wanted, room, folder):
        if testbed.node:
            wait_for_calm(folder)
        yield wanted


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest,
    testbed: Cluster,
    share: Share,
    namespace_factory_function_scope: NamespaceFactoryFunc,
) -> Iterator[str]:
    """A namespace of this test's own; its state is kept in the report if the test fails."""
    topic = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:30]
    name = f"e2e-{topic.strip('-')}-{secrets.token_hex(2)}"
    namespace_factory_function_scope(name, {"labels": clusters.RESTRICTED | clusters.OURS})
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
    testbed: Cluster,
    api: client.ApiClient,
    kube_cluster: KubeCluster,
    namespace: str,
    share: Share,
) -> Iterator[Callable[..., Release]]:
    """Install the chart with `values`, wait until its Deployments run, uninstall it at the end.

    A release that is there already is upgraded. `wait=False` leaves the waiting to the test;
    `namespace` is another one than the test's own, `kubeconfig` that of another account.
    """
    installed: dict[tuple[str, str], Release] = {}

    def _install(
        values: dict[str, Any],
        name: str = "ray",
        *,
        program: str = "helm",
        wait: bool = True,
        namespace: str = namespace,
        kubeconfig: Path = testbed.kubeconfig,
    ) -> Release:
        objects = helm.template(values, release=name, namespace=namespace)
        asked = requested(objects)
        assert asked.fits(share), f"{asked} is more than this test's {share}: see `needs`"
        helm_client = helm.client(kubeconfig, helm=program)
        release = Release(name, namespace, testbed, api, helm_client)
        installed[namespace, name] = release

        async def apply() -> None:
            chart = await helm_client.get_chart(CHART)
            await helm_client.install_or_upgrade_release(
                name, chart, values, namespace=namespace, create_namespace=False
            )

        asyncio.run(apply())
        deployments = [obj["metadata"]["name"] for obj in objects if obj["kind"] == "Deployment"]
        if wait:
            wait_for_deployments_to_run(
                kube_cluster.kube_client, deployments, namespace, READY_TIMEOUT_SECONDS
            )
        return release

    yield _install
    for release in installed.values():
        release.uninstall()
    # Kubernetes looks after a namespace with pods that leave only once in half of the time that
    # they may take, which is minutes.
    for release in installed.values():
        release.wait_until_gone("head", "worker")
