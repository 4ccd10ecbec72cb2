"""Ray's processes speak TLS, with nobody but those who have a certificate of the cluster's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, utils

from harness import ray_api
from harness.cluster import Cluster
from harness.process import run

from . import pods
from .release import JOBS, SCALE_TIMEOUT_SECONDS, Release, last_json, small
from .test_security import DOORS, DRIVER, with_token

AUTHORITY = "ray-authority"
# Nobody without a certificate gets so far as to be asked for the token.
SHUT = dict.fromkeys(("client", "GCS", "raylet", "objects", "agent"), ["UNAVAILABLE"] * 3)
CERTIFICATE = {
    "RAY_USE_TLS": "1",
    "RAY_TLS_CA_CERT": "/alice/ca.crt",
    "RAY_TLS_SERVER_CERT": "/alice/tls.crt",
    "RAY_TLS_SERVER_KEY": "/alice/tls.key",
}


def add_secret(api: client.ApiClient, namespace: str, name: str, **files: Path) -> None:
    """A Secret of these files; `_` in a key stands for a dot."""
    data = {key.replace("_", "."): file.read_text() for key, file in files.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
    utils.create_from_dict(api, secret, namespace=namespace)


@pytest.fixture
def authority(api: client.ApiClient, namespace: str, tmp_path: Path) -> Path:
    """The authority's key. Its Secret is there, and one with a client's certificate, `alice`."""
    ca, ca_key, csr, certificate, key = (
        tmp_path / name for name in ("ca.crt", "ca.key", "alice.csr", "alice.crt", "alice.key")
    )
    new = ["openssl", "req", "-nodes", "-newkey", "rsa:2048"]
    run(
        [
            *new,
            "-x509",
            "-days",
            "3650",
            "-subj",
            "/CN=ray-authority",
            "-keyout",
            ca_key,
            "-out",
            ca,
        ]
    )
    run([*new, "-subj", "/CN=alice", "-keyout", key, "-out", csr])
    run(["openssl", "x509", "-req", "-in", csr, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
         "-days", "90", "-out", certificate])  # fmt: skip
    add_secret(api, namespace, AUTHORITY, tls_crt=ca, tls_key=ca_key)
    add_secret(api, namespace, "alice", ca_crt=ca, tls_crt=certificate, tls_key=key)
    return ca_key


def driver(address: str, variables: dict[str, str]) -> dict[str, Any]:
    """A container with a driver of Ray client's that has the token, and these variables."""
    container = with_token(pods.ray_container(DRIVER, address), "RAY_AUTH_TOKEN")
    variables = {"RAY_AUTH_MODE": "token", **variables}
    container["env"] += [{"name": name, "value": value} for name, value in variables.items()]
    return container


@pytest.mark.slow
@pytest.mark.scenario("security.tls")
@pytest.mark.needs(cpu=250, memory=4 * 1024)
def test_nobody_without_a_certificate_gets_in_and_a_later_worker_has_one(
    install: Callable[..., Release],
    testbed: Cluster,
    namespace: str,
    api: client.ApiClient,
    authority: Path,
) -> None:
    """The sidecar that scales asks the GCS by TLS, and what it adds joins by TLS.

    A key of the authority's is nowhere where jobs run.
    """
    demand = {"enabled": True, "quietSeconds": 60}
    autoscaling = {"minReplicas": 1, "maxReplicas": 2, "demand": demand}
    tls = {"tls": {"enabled": True, "existingSecret": AUTHORITY}}
    release = install(small(autoscaling=autoscaling) | tls)
    release.wait_for_workers()
    first = release.pod_names("worker")
    head, worker = (release.pods(component)[0] for component in ("head", "worker"))

    # Two tasks that need a worker each.
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "asks.py", "2")
        log = ray_api.wait(dashboard, job, timeout=SCALE_TIMEOUT_SECONDS)
    ran_on = set(last_json(log))
    assert len(ran_on) == 2
    assert ran_on > first

    address = f"ray://{release.head_service}.{namespace}.svc.cluster.local:10001"
    mount = {"volumeMounts": [{"name": "alice", "mountPath": "/alice"}]}
    volume = {"name": "alice", "secret": {"secretName": "alice"}}
    pods.start(api, namespace, "alice", driver(address, CERTIFICATE) | mount, volumes=[volume])
    assert pods.wait_for_phase(testbed, namespace, "alice", "Succeeded").endswith("42\n")

    pods.start(api, namespace, "stranger", driver(address, {}))
    knock = pods.ray_container(
        (JOBS / "knock.py").read_text(), head.status.pod_ip, worker.status.pod_ip
    )
    pods.start(api, namespace, "knock", with_token(knock, "KNOCK_TOKEN"))
    answers = json.loads(pods.wait_for_phase(testbed, namespace, "knock", "Succeeded"))
    assert answers == DOORS | SHUT
    # Which is all that Ray says to a client that it does not understand, after half a minute.
    assert "connection timeout" in pods.wait_for_phase(testbed, namespace, "stranger", "Failed")

    line = authority.read_text().splitlines()[1]
    for component in ("head", "worker"):
        assert files_with(release, component, line, "/ray-tls /tmp /proc/[0-9]*/environ") == []
        assert files_with(release, component, "PRIVATE KEY", "/ray-tls") == ["/ray-tls/tls.key"]


def files_with(release: Release, component: str, text: str, paths: str) -> list[str]:
    """Those of the `paths` in a Ray container, as a shell writes them, that hold the text."""
    find = f"grep -rlF --devices=skip -f - {paths} 2>/dev/null || true"
    where = (f"--namespace={release.namespace}", f"--container=ray-{component}")
    command = (min(release.pod_names(component)), "--", "sh", "-c", find)
    return release.cluster.kubectl("exec", "--stdin", *where, *command, stdin=text).split()
