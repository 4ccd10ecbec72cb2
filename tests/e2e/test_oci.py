"""A release of the chart: packaged, pushed, signed, and installed by its digest."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from harness import helm
from harness.cluster import Cluster
from harness.paths import CHART
from harness.process import CommandError, run
from harness.tools import tool

from ..registry import open_to_all, storage
from .release import JOBS, Release, last_json, small

pytestmark = pytest.mark.slow

HTTP = "--plain-http"  # as the registry speaks on the loopback interface


@pytest.fixture(scope="session")
def cosign() -> Path:
    """Made before a test takes its share of the cluster: that takes minutes."""
    return tool("cosign")


@pytest.fixture
def registry() -> Iterator[str]:
    """The HOST:PORT of an empty registry."""
    with storage() as folder, open_to_all(folder) as (host, _):
        yield host


def push(folder: Path, host: str, version: str) -> str:
    """Package the chart as `version` and push it; the reference by its digest."""
    run([tool("helm"), "package", CHART, f"--version={version}", f"--destination={folder}"])
    done = run(
        ["sh", "-c", '"$0" "$@" 2>&1', tool("helm"), "push", folder / f"ray-cluster-{version}.tgz",
         f"oci://{host}/charts", HTTP]
    )  # fmt: skip
    digest = re.search(r"sha256:[0-9a-f]{64}", done)
    assert digest, done
    return f"{host}/charts/ray-cluster@{digest[0]}"


@pytest.mark.scenario("lifecycle.oci")
def test_pushed_chart_is_verified_and_installed_by_its_digest(
    testbed: Cluster,
    api: client.ApiClient,
    cosign: Path,
    registry: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    """With a key, and nothing of it published; a chart that nobody signed is refused."""
    signed, other = (push(tmp_path, registry, version) for version in ("99.0.0", "99.0.1"))
    secret = {"COSIGN_PASSWORD": "only-for-tests"}
    run([cosign, "generate-key-pair"], cwd=tmp_path, env=secret)
    run([cosign, "sign", "--yes", "--key=cosign.key", "--tlog-upload=false",
         "--allow-http-registry", signed], cwd=tmp_path, env=secret)  # fmt: skip
    verify: list[str | Path] = [cosign, "verify", "--key=cosign.pub", "--insecure-ignore-tlog=true",
              "--allow-http-registry"]  # fmt: skip
    assert signed.partition("@")[2] in run([*verify, signed], cwd=tmp_path)
    with pytest.raises(CommandError, match="no signatures found"):
        run([*verify, other], cwd=tmp_path)

    values = tmp_path / "values.json"
    values.write_text(json.dumps(small(autoscaling={"enabled": False})))
    run([tool("helm"), "install", "ray", f"oci://{signed}", HTTP, f"--namespace={namespace}",
         f"--values={values}", f"--kubeconfig={testbed.kubeconfig}"])  # fmt: skip
    release = Release("ray", namespace, testbed, api, helm.client(testbed.kubeconfig))
    release.wait_for_workers()
    listed = run([tool("helm"), "list", f"--namespace={namespace}",
                  f"--kubeconfig={testbed.kubeconfig}"])  # fmt: skip
    assert "ray-cluster-99.0.0" in listed
    assert last_json(release.run_job(JOBS / "where.py")) in release.pod_names("worker")
    release.uninstall()
