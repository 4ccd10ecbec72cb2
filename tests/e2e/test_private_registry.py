"""A registry of a site's own, which asks for a password and has a certificate of the site's."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from harness import images, up
from harness.cluster import Cluster
from harness.process import run

from ..registry import Private, open_to_all, private, push, storage
from .release import JOBS, READY_TIMEOUT_SECONDS, Release, small, wait_until

pytestmark = pytest.mark.slow

# A kubelet waits longer from time to time before it pulls again, and Ray is 600 MB.
PULL_TIMEOUT_SECONDS = 400
SECRET = "registry"  # noqa: S105


@pytest.fixture(scope="session")
def ray_elsewhere(own_cluster: Cluster) -> Iterator[tuple[Private, str]]:
    """A private registry that the node trusts, with Ray in it, and the digest of that."""
    version = up.ray_version()
    node = str(own_cluster.node)
    with storage() as folder:
        with open_to_all(folder) as (host, _):
            digest = push(images.ray(version).tag, f"{host}/rayproject/ray:{version}")
        with trusted_registry(node, folder) as registry:
            yield registry, digest
            reference = f"{registry.host}/rayproject/ray@{digest}"
            run(["docker", "exec", node, "ctr", "--namespace=k8s.io", "images", "rm", reference])


@contextmanager
def trusted_registry(node: str, folder: Path) -> Iterator[Private]:
    """A private registry whose certificate the node's containerd accepts."""
    network = node.removesuffix("-control-plane")
    with private(folder, network) as registry:
        trust = f"/etc/containerd/certs.d/{registry.host}"
        hosts = f'[host."https://{registry.host}"]\nca = "{trust}/ca.crt"\n'
        run(["docker", "exec", node, "mkdir", "-p", trust])
        run(["docker", "cp", registry.certificate, f"{node}:{trust}/ca.crt"])
        run(["docker", "exec", "--interactive", node, "tee", f"{trust}/hosts.toml"], stdin=hosts)
        try:
            yield registry
        finally:
            run(["docker", "exec", node, "rm", "-r", trust])


@pytest.mark.scenario("registry.private")
@pytest.mark.needs(cpu=150, memory=2048)
def test_image_is_pulled_by_its_digest_with_the_right_secret_alone(
    ray_elsewhere: tuple[Private, str],
    api: client.ApiClient,
    namespace: str,
    install: Callable[..., Release],
) -> None:
    registry, digest = ray_elsewhere
    core = client.CoreV1Api(api)
    core.create_namespaced_secret(namespace, pull_secret(registry, "wrong"))
    values = small(autoscaling={"maxReplicas": 1}) | {
        "global": {"imageRegistry": registry.host, "imagePullSecrets": [SECRET]},
        "image": {"digest": digest},
        "rayVersion": up.ray_version(),
    }
    release = install(values, wait=False)
    # docs/tenants.md tells people to look for these.
    wait_until(
        "an event that tells of the wrong password",
        lambda: failed_pulls(api, namespace),
        lambda messages: any("401 Unauthorized" in message for message in messages),
        timeout=READY_TIMEOUT_SECONDS,
    )
    wait_until(
        "pods that wait for their image",
        lambda: reasons(release),
        lambda seen: seen <= {"ErrImagePull", "ImagePullBackOff"},
        timeout=READY_TIMEOUT_SECONDS,
    )
    core.replace_namespaced_secret(SECRET, namespace, pull_secret(registry, registry.password))
    wait_until(
        "pods whose image is there",
        lambda: reasons(release),
        lambda seen: seen == {None},
        timeout=PULL_TIMEOUT_SECONDS,
    )
    release.wait_for_workers()
    assert {status.image_id for status in statuses(release)} == {
        f"{registry.host}/rayproject/ray@{digest}"
    }
    (worker,) = release.pod_names("worker")
    assert worker in release.run_job(JOBS / "where.py")


def pull_secret(registry: Private, password: str) -> client.V1Secret:
    """What `kubectl create secret docker-registry` makes."""
    login = base64.b64encode(f"{registry.user}:{password}".encode()).decode()
    config = json.dumps({"auths": {registry.host: {"auth": login}}})
    return client.V1Secret(
        metadata=client.V1ObjectMeta(name=SECRET),
        type="kubernetes.io/dockerconfigjson",
        string_data={".dockerconfigjson": config},
    )


def failed_pulls(api: client.ApiClient, namespace: str) -> list[str]:
    """What the events say of images that could not be pulled."""
    events = client.CoreV1Api(api).list_namespaced_event(namespace, field_selector="reason=Failed")
    return [event.message for event in events.items]


def statuses(release: Release) -> list[client.V1ContainerStatus]:
    """The containers of head and workers, as their kubelet sees them."""
    pods = [*release.pods("head"), *release.pods("worker")]
    return [status for pod in pods for status in pod.status.container_statuses or []]


def reasons(release: Release) -> set[str | None]:
    """Why the release's containers wait; None stands for one that does not."""
    return {
        status.state.waiting.reason if status.state.waiting else None
        for status in statuses(release)
    }
