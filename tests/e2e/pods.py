"""Pods of the tests' own beside a release, under the restricted Pod Security Standard."""

from typing import Any

from kubernetes import client, utils

from harness import images, up
from harness.cluster import Cluster

from .release import READY_TIMEOUT_SECONDS, last_json, wait_until

# Prints which of the addresses among its arguments accept a connection. A packet that a policy
# refuses is answered by nobody, and a second one follows after a second.
_CONNECT = """
import concurrent.futures, json, socket, sys

def answers(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        return False
    return True

with concurrent.futures.ThreadPoolExecutor(32) as pool:
    targets = sys.argv[1:]
    print(json.dumps([t for t, yes in zip(targets, pool.map(answers, targets)) if yes]))
"""

_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def ray_container(program: str, *arguments: str) -> dict[str, Any]:
    """A container that runs the Python text `program` in Ray's image."""
    image = images.ray_reference(up.ray_version())
    return {"image": image, "command": ["python", "-c", program, *arguments]}


def start(
    api: client.ApiClient,
    namespace: str,
    name: str,
    container: dict[str, Any],
    **spec: Any,
) -> None:
    """Create the pod `name`; `spec` adds to its spec."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": name, "securityContext": _SECURITY} | container],
            **spec,
        },
    }
    utils.create_from_dict(api, pod, namespace=namespace)


def wait_ready(api: client.ApiClient, testbed: Cluster, namespace: str, name: str) -> str:
    """Wait until the pod `name` is ready and return its address."""
    testbed.kubectl(
        "wait", f"--namespace={namespace}", f"pod/{name}", "--for=condition=Ready",
        f"--timeout={READY_TIMEOUT_SECONDS}s",
    )  # fmt: skip
    return str(client.CoreV1Api(api).read_namespaced_pod(name, namespace).status.pod_ip)


def wait_for_phase(testbed: Cluster, namespace: str, name: str, phase: str) -> str:
    """Wait until the pod `name` has ended, in `phase` ('Succeeded', 'Failed'); return its log."""
    where = f"--namespace={namespace}"
    ended = wait_until(
        f"the end of the pod {name}",
        lambda: testbed.kubectl("get", "pod", where, name, "--output=jsonpath={.status.phase}"),
        lambda seen: seen in ("Succeeded", "Failed"),
        timeout=READY_TIMEOUT_SECONDS,
    )
    log = testbed.kubectl("logs", where, name)
    assert ended == phase, f"The pod {name} has {ended.lower()}, and said: {log}"
    return log


def answering(testbed: Cluster, namespace: str, pod: str, targets: set[str]) -> set[str]:
    """Which of the targets (host:port) accept a connection from a pod."""
    said = testbed.kubectl(
        "exec", f"--namespace={namespace}", pod, "--", "python", "-c", _CONNECT, *sorted(targets)
    )
    return set(last_json(said))
