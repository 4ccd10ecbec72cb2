"""The Redis of examples/redis.yaml, and what is in it."""

from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, utils

from harness.cluster import Cluster
from harness.paths import ROOT
from harness.process import run

PASSWORD = "only-for-tests"  # noqa: S105
_KEY = "redis-password"


def add_password(api: client.ApiClient, namespace: str, password: str = PASSWORD) -> None:
    """The Secret that releases in `namespace` and the Redis take the password from."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis"},
        "stringData": {_KEY: password},
    }
    utils.create_from_dict(api, secret, namespace=namespace)


def start(
    cluster: Cluster, namespace: str, *, lasting: bool = True, certificates: str | None = None
) -> None:
    """Apply the example and wait until it is ready.

    Without `lasting` it writes nothing to disk. With the name of a Secret in `certificates` it
    speaks TLS alone, and to nobody who has no certificate.
    """
    objects = list(yaml.safe_load_all((ROOT / "examples" / "redis.yaml").read_text()))
    (spec,) = (obj["spec"] for obj in objects if obj["kind"] == "StatefulSet")
    (container,) = spec["template"]["spec"]["containers"]
    volumes = spec["template"]["spec"]["volumes"] = []
    if not lasting:
        del spec["volumeClaimTemplates"]
        volumes.append({"name": "data", "emptyDir": {}})
        container["args"][container["args"].index("yes")] = "no"
        container["args"] += ["--save", ""]
    if certificates:
        volumes.append({"name": "certificates", "secret": {"secretName": certificates}})
        container["volumeMounts"].append({"name": "certificates", "mountPath": "/certificates"})
        container["args"] += [
            "--port", "0", "--tls-port", "6379", "--tls-ca-cert-file", "/certificates/ca.crt",
            "--tls-cert-file", "/certificates/tls.crt", "--tls-key-file", "/certificates/tls.key",
        ]  # fmt: skip
    cluster.kubectl(
        "apply", f"--namespace={namespace}", "-f", "-", stdin=yaml.safe_dump_all(objects)
    )
    cluster.kubectl(
        "rollout", "status", f"--namespace={namespace}", "statefulset/redis", "--timeout=120s"
    )


def add_certificates(api: client.ApiClient, namespace: str, folder: Path) -> str:
    """A Secret with a certificate that is authority, server and client; returns its name."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2",
         "-subj", "/CN=redis", "-addext", "subjectAltName=DNS:redis",
         "-keyout", key, "-out", certificate]
    )  # fmt: skip
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "certificates"},
        "stringData": {
            "ca.crt": certificate.read_text(),
            "tls.crt": certificate.read_text(),
            "tls.key": key.read_text(),
        },
    }
    utils.create_from_dict(api, secret, namespace=namespace)
    return "certificates"


def remove(cluster: Cluster, namespace: str) -> None:
    """Take the Redis and its claim away."""
    cluster.kubectl(
        "delete", f"--namespace={namespace}", "service/redis", "statefulset/redis", "pod/redis-0",
        "pvc/data-redis-0", "--grace-period=1",
    )  # fmt: skip


def command(cluster: Cluster, namespace: str, *arguments: str) -> list[str]:
    """The lines that the Redis of `namespace` answers to a command."""
    answer = cluster.kubectl(
        "exec", f"--namespace={namespace}", "redis-0", "--",
        "redis-cli", "-a", PASSWORD, "--no-auth-warning", *arguments,
    )  # fmt: skip
    return answer.split()


def fault_tolerance(**redis: Any) -> dict[str, Any]:
    """Values of a release whose state is in the Redis of its namespace, or as `redis` says."""
    settings = {"address": "redis:6379", "existingSecret": "redis", **redis}
    return {"gcsFaultTolerance": {"mode": "redis", "redis": settings}}
