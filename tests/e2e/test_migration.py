"""docs/migration.md as tests: what runs already goes on until its jobs have ended."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from harness import helm, images, kuberay, ray_api, redis, up
from harness.cluster import Cluster
from harness.paths import CHART, ROOT
from harness.process import CommandError, run
from harness.ray_api import Dashboard
from harness.tools import tool

from ..render.leaves import merged
from .release import JOBS, READY_TIMEOUT_SECONDS, Release, last_json, wait_for_log, wait_until

pytestmark = pytest.mark.slow

ARTICLE = Path(__file__).parent / "article"
STREAM = JOBS / "stream.py"
STOP = "/tmp/stop"  # noqa: S108
OLD_SERVICE = "service-ray-cluster"


@pytest.fixture
def lenient(testbed: Cluster, namespace: str) -> str:
    """The namespace, which does not enforce what pods of old do not keep."""
    standard = "pod-security.kubernetes.io/enforce=baseline"
    testbed.kubectl("label", "namespace", namespace, standard, "--overwrite")
    return namespace


@contextmanager
def dashboard(cluster: Cluster, namespace: str, target: str) -> Iterator[Dashboard]:
    """The dashboard of a cluster that asks for no token."""
    with ray_api.forwarded(cluster, namespace, target) as url:
        yield Dashboard(url)


def wait_for_nodes(cluster: Cluster, namespace: str, target: str, number: int) -> None:
    """Wait until a cluster without a token has so many nodes at least."""

    def nodes() -> int | str:
        try:
            with dashboard(cluster, namespace, target) as old:
                return len(ray_api.alive_nodes(old))
        except (CommandError, OSError) as error:
            return str(error)

    wait_until(
        f"{number} nodes",
        nodes,
        lambda seen: isinstance(seen, int) and seen >= number,
        timeout=READY_TIMEOUT_SECONDS,
    )


def begin(old: Dashboard) -> str:
    """Start tasks on the old cluster's workers, which may not be retried; their job."""
    job = ray_api.submit(old, STREAM, STOP)
    wait_for_log(old, job, "ready\n")
    return job


def end(cluster: Cluster, namespace: str, old: Dashboard, job: str, head: str) -> dict[str, Any]:
    """Let them end; what became of them."""
    cluster.kubectl("exec", f"--namespace={namespace}", head, "--", "touch", STOP)
    outcome: dict[str, Any] = last_json(ray_api.wait(old, job))
    return outcome


def hand_written() -> list[dict[str, Any]]:
    """The objects of the two files, with the test's image and requests."""
    files = ("ray-dev.yaml", "ray-autoscaler.yaml")
    objects = [obj for file in files for obj in yaml.safe_load_all((ARTICLE / file).read_text())]
    for obj in objects:
        if obj["kind"] == "Deployment":
            (container,) = obj["spec"]["template"]["spec"]["containers"]
            container["image"] = images.ray_reference(up.ray_version())
            container["resources"]["requests"]["cpu"] = "100m"
    return objects


@pytest.mark.scenario("lifecycle.migrate-article")
@pytest.mark.needs(cpu=600, memory=9 * 1024)
@pytest.mark.usefixtures("own_cluster")
def test_hand_written_cluster_becomes_a_release(
    testbed: Cluster, api: client.ApiClient, lenient: str, tmp_path: Path
) -> None:
    """Service and claim are adopted; the old pods stay until the last of their jobs has ended."""
    where = f"--namespace={lenient}"
    redis.add_password(api, lenient, "123456")
    redis.start(testbed, lenient)
    testbed.kubectl("apply", where, "-f", "-", stdin=yaml.safe_dump_all(hand_written()))
    wait_for_nodes(testbed, lenient, f"svc/{OLD_SERVICE}", 2)
    old_head = "deployment/deployment-ray-head"

    with dashboard(testbed, lenient, old_head) as old:
        job = begin(old)
        release = install_over(testbed, api, lenient, tmp_path)
        release.wait_for_workers()
        # Clients of the old address are with the new head, which asks them for a token.
        with (
            release.dashboard() as new,
            ray_api.forwarded(testbed, lenient, f"svc/{OLD_SERVICE}") as url,
        ):
            log = ray_api.run_job(Dashboard(url, new.token), JOBS / "where.py")
        assert last_json(log) in nodes(release)
        assert end(testbed, lenient, old, job, old_head)["lost"] == []

    testbed.kubectl(
        "delete", where, "hpa/ray-autoscaler", "deployment/deployment-ray-worker", old_head
    )
    assert last_json(release.run_job(JOBS / "where.py")) in nodes(release)
    (head,) = release.pods("head")
    told = testbed.kubectl("exec", where, head.metadata.name, "--", "cat", claim_file(head))
    assert head.status.pod_ip in told, "the claim's Prometheus is not told of the new nodes"
    release.uninstall()


def nodes(release: Release) -> set[str]:
    """The pods that tasks may run in, which in the article the head is."""
    return release.pod_names("head") | release.pod_names("worker")


def install_over(testbed: Cluster, api: client.ApiClient, namespace: str, folder: Path) -> Release:
    """Install the release `ray`, and give it the old Service; the claim stays the user's own."""
    where = f"--namespace={namespace}"
    # Helm adds its labels to a selector, and nobody has those of both heads.
    removed = [{"op": "remove", "path": "/spec/selector/app"}]
    testbed.kubectl(
        "patch", where, f"service/{OLD_SERVICE}", "--type=json", f"--patch={json.dumps(removed)}"
    )
    testbed.kubectl("label", where, f"service/{OLD_SERVICE}", "app.kubernetes.io/managed-by=Helm")
    testbed.kubectl(
        "annotate", where, f"service/{OLD_SERVICE}", "meta.helm.sh/release-name=ray",
        f"meta.helm.sh/release-namespace={namespace}",
    )  # fmt: skip
    example = yaml.safe_load((ROOT / "examples" / "article.yaml").read_text())
    ours = {
        "image": {"registry": "docker.io", "pullPolicy": "IfNotPresent"},
        "head": {"resources": {"requests": {"cpu": "100m"}}},
        "worker": {"resources": {"requests": {"cpu": "50m"}}, "drain": {"timeoutSeconds": 5}},
    }
    values = merged(example, ours)
    (file := folder / "values.yaml").write_text(yaml.safe_dump(values))
    run([tool("helm"), "install", "ray", CHART, where,
         f"--values={file}", f"--values={ARTICLE / 'values.yaml'}",
         f"--kubeconfig={testbed.kubeconfig}"])  # fmt: skip
    return Release("ray", namespace, testbed, api, helm.client(testbed.kubeconfig))


def claim_file(head: Any) -> str:
    """Where the head keeps the file for a Prometheus, on the claim."""
    (volume,) = (
        v.name
        for v in head.spec.volumes
        if v.persistent_volume_claim and v.persistent_volume_claim.claim_name == "ray-prom-pvc"
    )
    (mount,) = (m for m in head.spec.containers[0].volume_mounts if m.name == volume)
    return f"{mount.mount_path}/prom_metrics_service_discovery.json"


def manifest(name: str) -> dict[str, Any]:
    """A RayCluster as KubeRay's users write them."""
    image = images.ray_reference(up.ray_version())

    def group(container: str) -> dict[str, Any]:
        resources = {
            "requests": {"cpu": "100m", "memory": "1Gi"},
            "limits": {"cpu": "1", "memory": "2Gi"},
        }
        containers = [{"name": container, "image": image, "resources": resources}]
        return {"rayStartParams": {}, "template": {"spec": {"containers": containers}}}

    worker = {"groupName": "small", "replicas": 1, "minReplicas": 1, "maxReplicas": 1}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name},
        "spec": {
            "rayVersion": up.ray_version(),
            "headGroupSpec": group("ray-head") | {"rayStartParams": {"num-cpus": "0"}},
            "workerGroupSpecs": [group("ray-worker") | worker],
        },
    }


@pytest.mark.scenario("lifecycle.migrate-kuberay")
@pytest.mark.needs(cpu=600, memory=5 * 1024)
def test_ray_cluster_of_kuberay_becomes_a_release(
    own_cluster: Cluster, lenient: str, install: Callable[..., Release]
) -> None:
    """The release is installed beside it, and the RayCluster goes when its jobs have ended."""
    old_cluster = manifest("mine")
    service = f"svc/{kuberay.head_service('mine')}"
    with kuberay.operator(own_cluster):
        with kuberay.installed(own_cluster, lenient, old_cluster):
            wait_for_nodes(own_cluster, lenient, service, 2)
            with dashboard(own_cluster, lenient, service) as old:
                job = begin(old)
                seen = own_cluster.kubectl(
                    "get", "raycluster/mine", f"--namespace={lenient}", "-oyaml"
                )
                values = yaml.safe_load(run([ROOT / "scripts" / "from-kuberay"], stdin=seen))
                release = install(values, "mine")
                release.wait_for_workers()
                log = release.run_job(JOBS / "where.py")
                assert last_json(log) in release.pod_names("worker")
                (head,) = heads(own_cluster, lenient)
                outcome = end(own_cluster, lenient, old, job, head)
                assert outcome["lost"] == []
        assert last_json(release.run_job(JOBS / "where.py")) in release.pod_names("worker")


def heads(cluster: Cluster, namespace: str) -> list[str]:
    """The heads of the RayCluster `mine`."""
    selector = f"--selector={kuberay.head_selector('mine')}"
    return cluster.kubectl("get", "pods", f"--namespace={namespace}", selector, "-oname").split()
