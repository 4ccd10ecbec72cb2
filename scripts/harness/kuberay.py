"""KubeRay at our side, for benchmarks: its operator, and a RayCluster equal to a release of ours.

Operator and CRDs come from its Go module when they are needed: nothing of them is kept here. The
operator runs outside the cluster, as a child of this process: so its image need not be made, and
it has all the CPU that the machine can spare.
"""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from harness import gobuild, up
from harness.cluster import Cluster
from harness.console import step, together
from harness.errors import UserError
from harness.paths import LOGS

Object = dict[str, Any]

_MODULE = "kuberay"
_READY_SECONDS = 60
_DELETE_SECONDS = 180
# What our pods say to Ray, so that neither side tries to report its use to the internet.
_SHARED_ENV = ("RAY_USAGE_STATS_ENABLED", "RAY_USAGE_STATS_REPORT_URL")
_SHARED_FLAGS = ("num-cpus", "object-store-memory")
_SHARED_POD_FIELDS = ("securityContext", "nodeSelector", "tolerations")
_HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
GCS_PORT = _HEAD_PORTS["gcs-server"]


def build() -> None:
    """Make the operator unless it is there; the first time takes minutes."""
    together(*gobuild.lanes(_MODULE))


def version() -> str:
    """KubeRay's version, for example 'v1.6.2'."""
    return gobuild.version(_MODULE)


@contextmanager
def operator(cluster: Cluster) -> Iterator[int]:
    """Have the operator at work on `cluster`, on all of its namespaces; yields its process id.

    Its own defaults, but for what a single process outside the cluster has no use for: webhooks and
    an election. What it says is in `.testbed/log/kuberay.log`. Raises UserError if it does not
    start.
    """
    build()
    _apply_definitions(cluster)
    metrics, health = _free_port(), _free_port()
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "kuberay.log"
    command = [
        str(gobuild.build(_MODULE) / "ray-operator"),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--metrics-addr=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        "--enable-leader-election=false",
    ]
    environment = {**os.environ, "ENABLE_WEBHOOKS": "false"}
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            with step(f"Start KubeRay's operator {version()}"):
                _wait_ready(process, f"http://127.0.0.1:{health}/readyz")
            yield process.pid
        finally:
            process.terminate()


def _apply_definitions(cluster: Cluster) -> None:
    folder = gobuild.source(_MODULE) / "config" / "crd" / "bases"
    # They are too large for the annotation of a client-side apply.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={folder}")
    cluster.kubectl(
        "wait", "--for=condition=Established", "crd/rayclusters.ray.io", "--timeout=60s"
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    tail = (LOGS / "kuberay.log").read_text()[-2000:]
    raise UserError(f"KubeRay's operator is not ready after {_READY_SECONDS} s:\n{tail}")


@contextmanager
def installed(cluster: Cluster, namespace: str, ray_cluster: Object) -> Iterator[None]:
    """Have a RayCluster in `namespace` while the operator runs; it is gone at the end.

    Its finalizer, which cleans a Redis up, would keep a namespace that goes first for good.
    """
    within = f"--namespace={namespace}"
    cluster.kubectl("apply", within, "-f", "-", stdin=yaml.safe_dump(ray_cluster))
    try:
        yield
    finally:
        name = ray_cluster["metadata"]["name"]
        cluster.kubectl("delete", within, f"raycluster/{name}", f"--timeout={_DELETE_SECONDS}s")


def head_service(name: str) -> str:
    """The name of the Service that the operator makes for the head of the RayCluster `name`."""
    return f"{name}-head-svc"


def head_selector(name: str) -> str:
    """The labels of the head's pod of the RayCluster `name`."""
    return f"ray.io/cluster={name},ray.io/node-type=head"


def worker_selector(name: str) -> str:
    """The labels of the workers' pods of the RayCluster `name`."""
    return f"ray.io/cluster={name},ray.io/node-type=worker"


def ray_cluster(name: str, release: list[Object], autoscaler: Object | None = None) -> Object:
    """A RayCluster equal to `release`, the rendered objects of the chart.

    The same image, resources, CPUs that Ray counts, object stores, number of workers, Redis, and
    security contexts; everything else is KubeRay's own. With `autoscaler`, its `autoscalerOptions`,
    it scales by Ray's demand within the limits of our autoscalers, else not at all.
    """
    deployments = {obj["metadata"]["name"]: obj for obj in release if obj["kind"] == "Deployment"}
    limits = {
        obj["spec"]["scaleTargetRef"]["name"]: obj["spec"]
        for obj in release
        if obj["kind"] == "HorizontalPodAutoscaler"
    }
    head = None
    groups = []
    for deployment, obj in deployments.items():
        spec = obj["spec"]
        template = spec["template"]
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "head":
            head = template["spec"]
            continue
        hpa = limits.get(deployment, {})
        replicas = hpa.get("minReplicas", spec.get("replicas", 1))
        groups.append(
            {
                "groupName": template["metadata"]["labels"]["ray-cluster/worker-group"],
                "replicas": replicas,
                "minReplicas": replicas,
                "maxReplicas": hpa.get("maxReplicas", replicas),
                **_group(template["spec"], "ray-worker", never=autoscaler is not None),
            }
        )
    assert head is not None
    fault_tolerance = _fault_tolerance(head)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name},
        "spec": {
            "rayVersion": up.ray_version(),
            "enableInTreeAutoscaling": autoscaler is not None,
            **({"autoscalerOptions": autoscaler} if autoscaler is not None else {}),
            **({"gcsFaultToleranceOptions": fault_tolerance} if fault_tolerance else {}),
            "headGroupSpec": _group(head, "ray-head", ports=_HEAD_PORTS),
            "workerGroupSpecs": groups,
        },
    }


def _group(
    pod: Object, name: str, *, ports: dict[str, int] | None = None, never: bool = False
) -> Object:
    """`rayStartParams` and pod template of a group whose pod the chart renders as `pod`."""
    ours = pod["containers"][0]
    container = {
        "name": name,
        "image": ours["image"],
        "imagePullPolicy": ours["imagePullPolicy"],
        "resources": ours["resources"],
        "env": [entry for entry in ours["env"] if entry["name"] in _SHARED_ENV],
        # As KubeRay's samples have it.
        "volumeMounts": [{"name": "ray-logs", "mountPath": "/tmp/ray"}],  # noqa: S108
        **{key: ours[key] for key in ("securityContext",) if key in ours},
    }
    if ports:
        container["ports"] = [{"name": n, "containerPort": port} for n, port in ports.items()]
    spec = {key: pod[key] for key in _SHARED_POD_FIELDS if key in pod}
    spec |= {
        "containers": [container],
        "volumes": [{"name": "ray-logs", "emptyDir": {}}],
    }
    if never:  # what its documentation asks of workers with the autoscaler's second version
        spec["restartPolicy"] = "Never"
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in ours["args"])
    # What Kubernetes puts in, our CPU request rounded up, KubeRay finds out by itself.
    params = {f: flags[f] for f in _SHARED_FLAGS if f in flags and "$" not in flags[f]}
    return {"rayStartParams": params, "template": {"spec": spec}}


def _fault_tolerance(head: Object) -> Object | None:
    """`gcsFaultToleranceOptions` for the Redis that our head uses, if it uses one."""
    env = {entry["name"]: entry for entry in head["containers"][0]["env"]}
    if "RAY_REDIS_ADDRESS" not in env:
        return None
    options: Object = {"redisAddress": env["RAY_REDIS_ADDRESS"]["value"]}
    if "RAY_REDIS_PASSWORD" in env:
        options["redisPassword"] = {"valueFrom": env["RAY_REDIS_PASSWORD"]["valueFrom"]}
    return options
