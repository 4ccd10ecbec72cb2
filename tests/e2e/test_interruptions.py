"""What an interrupted command leaves in a cluster does not stop the next one."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from harness import cluster as clusters
from harness import helm
from harness.cluster import Cluster
from harness.paths import CHART
from harness.process import run, succeeds
from harness.tools import tool

from .release import READY_TIMEOUT_SECONDS, Release, small, wait_until


@pytest.mark.parametrize("program", ["helm", "helm3"])
def test_release_whose_helm_was_killed_is_installed_by_the_next_run(
    own_cluster: Cluster,
    namespace: str,
    api: client.ApiClient,
    tmp_path: Path,
    program: str,
) -> None:
    """Helm itself refuses such a release: "another operation is in progress".

    In a cluster of somebody's own it is left alone: their Helm may still be at work.
    """
    values = tmp_path / "values.yaml"
    # A pod that never becomes ready keeps Helm waiting.
    never = {"readinessProbe": {"exec": {"command": ["false"]}}}
    values.write_text(yaml.safe_dump(small(autoscaling={"enabled": False}) | {"head": never}))
    interrupted = subprocess.Popen(
        [tool(program), "install", "ray", CHART, "--wait", f"--values={values}",
         f"--namespace={namespace}", f"--kubeconfig={own_cluster.kubeconfig}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    release = Release(
        "ray", namespace, own_cluster, api, helm.client(own_cluster.kubeconfig, helm=program)
    )
    with interrupted:
        wait_until("a head", lambda: release.pod_names("head"), len, timeout=READY_TIMEOUT_SECONDS)
        os.kill(interrupted.pid, signal.SIGKILL)

    values.write_text(yaml.safe_dump(small(autoscaling={"enabled": False})))
    helm.upgrade_install(
        own_cluster.kubeconfig, "ray", namespace=namespace, values_files=[values], settings=[],
        helm=program, recover=True,
    )  # fmt: skip

    release.wait_for_workers()
    # A worker of the interrupted release may still be leaving, and has joined the new head as well.
    wait_until(
        "the release's own worker in Ray's node table",
        lambda: (release.pod_names("worker"), release.joined()),
        lambda seen: len(seen[0]) == 1 and seen[0] <= seen[1],
        timeout=READY_TIMEOUT_SECONDS,
    )
    run([tool(program), "uninstall", "ray", f"--namespace={namespace}",
         f"--kubeconfig={own_cluster.kubeconfig}"])  # fmt: skip


def test_namespace_of_a_killed_test_run_is_removed_by_the_next(
    testbed: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only namespaces with this checkout's label go; the others stay."""
    # The namespaces of the tests beside this one have the real label, and must not go.
    real = clusters.OURS["ray-testbed"]
    with clusters.namespace(testbed, "left") as left, clusters.namespace(testbed, "kept") as kept:
        testbed.kubectl("label", "namespace", left, f"ray-testbed={real}-left", "--overwrite")
        monkeypatch.setattr(clusters, "OURS", {"ray-testbed": f"{real}-left"})

        clusters.remove_leftovers(testbed)

        names = testbed.kubectl("get", "namespaces", "--output=name").split()
        assert f"namespace/{left}" not in names
        assert f"namespace/{kept}" in names


def test_rule_and_network_without_a_cluster_are_removed(leftovers: str) -> None:
    """`down`, and `up` before it makes a cluster of that name, start from nothing."""
    clusters.delete(leftovers)

    assert leftovers not in run(["iptables", "--wait", "-S"])
    assert leftovers not in run(["docker", "network", "ls", "--format={{.Name}}"])


@pytest.fixture
def leftovers(own_cluster: Cluster) -> Iterator[str]:
    """What `up` leaves if it is killed between the seal and the creation of the cluster."""
    if os.geteuid() != 0:
        pytest.skip("only root can make rules for a network")
    name = f"left-{os.getpid()}"
    run(["docker", "network", "create", "--label=ray-testbed=killed", name])
    try:
        clusters._seal(name)
        assert run(["iptables", "--wait", "-S"]).count(f"ray-testbed:{name}") == 2
        yield name
    finally:
        clusters._unseal(name)
        succeeds(["docker", "network", "rm", name])
