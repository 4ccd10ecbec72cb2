"""The Redis of examples/redis.yaml, and what is in it."""

from typing import Any

import yaml
from kubernetes import client, utils

from harness.cluster import Cluster
from harness.paths import ROOT

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


def start(testbed: Cluster, namespace: str, *, lasting: bool = True) -> None:
    """Apply the example and wait until it is ready; without `lasting` it writes nothing to disk."""
    objects = list(yaml.safe_load_all((ROOT / "examples" / "redis.yaml").read_text()))
    if not lasting:
        (spec,) = (obj["spec"] for obj in objects if obj["kind"] == "StatefulSet")
        del spec["volumeClaimTemplates"]
        spec["template"]["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]
        arguments = spec["template"]["spec"]["containers"][0]["args"]
        arguments[arguments.index("yes")] = "no"
        arguments += ["--save", ""]
    testbed.kubectl(
        "apply", f"--namespace={namespace}", "-f", "-", stdin=yaml.safe_dump_all(objects)
    )
    testbed.kubectl(
        "rollout", "status", f"--namespace={namespace}", "statefulset/redis", "--timeout=120s"
    )


def remove(testbed: Cluster, namespace: str) -> None:
    """Take the Redis and its claim away."""
    testbed.kubectl(
        "delete", f"--namespace={namespace}", "service/redis", "statefulset/redis", "pod/redis-0",
        "pvc/data-redis-0", "--grace-period=1",
    )  # fmt: skip


def command(testbed: Cluster, namespace: str, *arguments: str) -> list[str]:
    """The lines that the Redis of `namespace` answers to a command."""
    answer = testbed.kubectl(
        "exec", f"--namespace={namespace}", "redis-0", "--",
        "redis-cli", "-a", PASSWORD, "--no-auth-warning", *arguments,
    )  # fmt: skip
    return answer.split()


def fault_tolerance(**redis: Any) -> dict[str, Any]:
    """Values of a release whose state is in the Redis of its namespace, or as `redis` says."""
    settings = {"address": "redis:6379", "existingSecret": "redis", **redis}
    return {"gcsFaultTolerance": {"mode": "redis", "redis": settings}}
