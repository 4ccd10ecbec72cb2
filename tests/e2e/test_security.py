"""Who gets in: docs/security.md as tests."""

import json
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from harness import ray_api
from harness.cluster import Cluster
from harness.process import run
from harness.ray_api import Dashboard
from harness.tools import tool

from . import pods
from .release import JOBS, READY_TIMEOUT_SECONDS, Release, last_json, small, wait_until

SECRET = "ray-ray-cluster-auth"  # noqa: S105

# What a port answers without a token, to a wrong one, and to the right one.
HTTP = [401, 403, 200]
GRPC = ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"]
OPEN = [200, 200, 200]
DOORS: dict[str, list[Any]] = {
    "state": HTTP,
    "jobs": HTTP,
    "job": HTTP,
    "job's end": [401, 403, 404],  # there is no such job
    "discovery": HTTP,
    "job by agent": HTTP,
    "environment": [401, 403, 500],  # the request is empty
    "client": [*GRPC[:2], "NOT_FOUND"],  # and names no client
    "GCS": GRPC,
    "raylet": GRPC,
    "objects": GRPC,
    "agent": GRPC,
    "page": OPEN,
    "health": OPEN,
    "metrics of the head": OPEN,
    "metrics of a worker": OPEN,
}

# A driver beyond the cluster, as people write it.
DRIVER = """
import sys, ray
ray.init(sys.argv[1])
print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


def with_token(container: dict[str, Any], name: str) -> dict[str, Any]:
    """The container with the cluster's token in the environment variable `name`."""
    source = {"secretKeyRef": {"name": SECRET, "key": "token"}}
    return container | {"env": [{"name": name, "valueFrom": source}]}


@pytest.mark.scenario("security.token")
def test_nobody_without_the_token_gets_in(
    install: Callable[..., Release], testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    """Every port asks for it but those of probes and metrics, and it is written down nowhere."""
    release = install(small(autoscaling={"enabled": False}))
    release.wait_for_workers()
    head, worker = (release.pods(component)[0] for component in ("head", "worker"))

    address = f"ray://{release.head_service}.{namespace}.svc.cluster.local:10001"
    driver = pods.ray_container(DRIVER, address)
    known = with_token(driver, "RAY_AUTH_TOKEN")
    known["env"].append({"name": "RAY_AUTH_MODE", "value": "token"})
    pods.start(api, namespace, "known", known)
    assert pods.wait_for_phase(testbed, namespace, "known", "Succeeded").endswith("42\n")

    pods.start(api, namespace, "stranger", driver)
    knock = pods.ray_container(
        (JOBS / "knock.py").read_text(), head.status.pod_ip, worker.status.pod_ip
    )
    pods.start(api, namespace, "knock", with_token(knock, "KNOCK_TOKEN"))
    answers = json.loads(pods.wait_for_phase(testbed, namespace, "knock", "Succeeded"))
    assert answers == DOORS
    # Which is all that Ray says to a client that it does not let in, after half a minute.
    assert "connection timeout" in pods.wait_for_phase(testbed, namespace, "stranger", "Failed")
    assert where_the_token_is(release) == []


def where_the_token_is(release: Release) -> list[str]:
    """The places beside the Secret and the environment of Ray's processes that hold the token."""
    kubectl, where = release.cluster.kubectl, f"--namespace={release.namespace}"
    with release.dashboard() as dashboard:
        token = str(dashboard.token)
    places = {
        "objects": kubectl("get", "all,configmaps,endpointslices,events", where, "--output=yaml"),
        "values": run([tool("helm"), "get", "values", release.name, "--all", where,
                       f"--kubeconfig={release.cluster.kubeconfig}"]),
    }  # fmt: skip
    for component in ("head", "worker"):
        (pod,) = release.pod_names(component)
        places[f"log of the {component}"] = kubectl("logs", where, pod)
        assert files_with_the_token(release, pod, "/proc/[0-9]*/environ"), "nothing is found at all"
        for paths in ("/proc/[0-9]*/cmdline", "/tmp/ray"):  # noqa: S108
            found = files_with_the_token(release, pod, paths)
            places |= dict.fromkeys((f"{pod}: {file}" for file in found), token)
    return [place for place, text in places.items() if token in text]


def files_with_the_token(release: Release, pod: str, paths: str) -> list[str]:
    """Those of the `paths` in the pod, as a shell writes them, that hold the token."""
    find = f"printenv RAY_AUTH_TOKEN | grep -rlF --devices=skip -f - {paths} 2>/dev/null || true"
    where = f"--namespace={release.namespace}"
    return release.cluster.kubectl("exec", where, pod, "--", "sh", "-c", find).split()


@pytest.mark.slow
@pytest.mark.scenario("security.token-rotation")
@pytest.mark.parametrize("program", ["helm", "helm3"])
def test_token_is_kept_until_it_is_rotated(install: Callable[..., Release], program: str) -> None:
    """An upgrade restarts nothing; a new token, as is documented, lets the old one in no more."""
    values = small(autoscaling={"enabled": False})
    release = install(values, program=program)
    release.wait_for_workers()
    first, before = release.token, pod_names(release)

    install(values, program=program)
    assert release.token == first
    assert pod_names(release) == before

    where = f"--namespace={release.namespace}"
    release.cluster.kubectl("delete", "secret", SECRET, where)
    install(values, program=program)
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    release.cluster.kubectl("rollout", "restart", "deployments", where, selector)
    wait_until(
        "other pods, and all of them there",
        lambda: pod_names(release),
        lambda names: len(names) == 2 and not names & before,
        timeout=READY_TIMEOUT_SECONDS,
    )
    release.wait_until_gone("head", "worker")
    release.wait_for_workers()

    assert release.token != first
    assert last_json(release.run_job(JOBS / "where.py")) in release.pod_names("worker")
    with (
        release.dashboard() as dashboard,
        pytest.raises(urllib.error.HTTPError, match="403"),
    ):
        ray_api.alive_nodes(Dashboard(dashboard.url, first))


def pod_names(release: Release) -> set[str]:
    """The names of all pods that are not on their way out."""
    return release.pod_names("head") | release.pod_names("worker")
