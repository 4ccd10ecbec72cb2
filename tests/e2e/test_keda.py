"""KEDA in place of the chart's own autoscaler: from and to zero, and on memory."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from harness import cluster as clusters
from harness import ray_api
from harness.cluster import Cluster

from . import pods
from .release import (
    JOBS,
    SCALE_TIMEOUT_SECONDS,
    START_SECONDS,
    Release,
    last_json,
    small,
    wait_until,
)

# Building KEDA takes minutes.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keda")]

# Answers every request with the number in a file, as an application's own queue would.
QUEUE = """
import http.server, json, pathlib

class Queue(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"waiting": int(LENGTH.read_text())}).encode())

LENGTH = pathlib.Path("/tmp/length")
LENGTH.write_text("0")
http.server.HTTPServer(("", 8000), Queue).serve_forever()
"""


@pytest.fixture
def queue(api: client.ApiClient, testbed: Cluster, namespace: str) -> str:
    """The address of a pod `queue` that tells how many are waiting: nobody, so far."""
    ready = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    container = pods.ray_container(QUEUE) | {"readinessProbe": ready}
    pods.start(api, namespace, "queue", container)
    return pods.wait_ready(api, testbed, namespace, "queue")


def scaled(keda: dict[str, Any], **autoscaling: Any) -> dict[str, Any]:
    """Values of a group that KEDA scales towards the chart's own targets, without long waits."""
    values = small(
        autoscaling={
            "keda": {"enabled": True, "pollingInterval": 2, "cooldownPeriod": 5, **keda},
            "behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 10},
                "scaleUp": {"stabilizationWindowSeconds": START_SECONDS},
            },
            **autoscaling,
        }
    )
    # What an idle worker takes of it is far from the target.
    values["worker"]["resources"] = {"requests": {"cpu": "300m", "memory": "1Gi"}}
    return values


def wait_for_nobody(release: Release) -> None:
    """Wait for the head, and until there is no worker."""
    release.wait_for_head()
    wait_until(
        "no worker, neither in Kubernetes nor in Ray's node table",
        lambda: (release.pod_names("worker"), release.joined()),
        lambda seen: not any(seen),
        timeout=SCALE_TIMEOUT_SECONDS,
    )


@pytest.mark.scenario("scale.keda")
@pytest.mark.needs(cpu=400, memory=2 * 1024)
def test_group_comes_from_zero_and_goes_back(
    install: Callable[..., Release], testbed: Cluster, namespace: str, queue: str
) -> None:
    """A task that no worker is there for runs once KEDA sees demand; without, nobody is left."""
    trigger = {
        "type": "metrics-api",
        "metadata": {"url": f"http://{queue}:8000", "valueLocation": "waiting", "targetValue": "1"},
    }
    values = scaled({"triggers": [trigger]}, minReplicas=0, maxReplicas=1)
    release = install(values, wait=False)

    def waiting(number: int) -> None:
        write = ("sh", "-c", f"echo {number} > /tmp/length")
        testbed.kubectl("exec", f"--namespace={namespace}", "queue", "--", *write)

    wait_for_nobody(release)
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "where.py")
        waiting(1)
        ran_on = last_json(ray_api.wait(dashboard, job))
    assert {ran_on} == release.pod_names("worker")

    waiting(0)
    wait_for_nobody(release)
    assert clusters.has_metrics(testbed)  # KEDA's metrics stand beside those of others


@pytest.mark.needs(cpu=450, memory=3 * 1024)
def test_kedas_group_comes_from_zero_on_demand_and_goes_back(
    install: Callable[..., Release],
) -> None:
    """By the sidecar's own word, without a trigger among the values."""
    demand = {"enabled": True, "quietSeconds": 5}
    release = install(scaled({}, minReplicas=0, maxReplicas=1, demand=demand), wait=False)
    wait_for_nobody(release)
    with release.dashboard() as dashboard:
        ran_on = last_json(ray_api.run_job(dashboard, JOBS / "where.py"))
    assert "-worker-default-" in ran_on
    wait_for_nobody(release)


@pytest.mark.needs(cpu=700, memory=3 * 1024)
def test_keda_scales_on_memory(install: Callable[..., Release], metrics: None) -> None:
    """A worker with a load is joined by a second, by the autoscaler that KEDA has made."""
    release = install(scaled({}))
    release.wait_for_workers()
    release.wait_for_calm()
    with release.dashboard() as dashboard:
        # Beside an idle Ray this is more than 80 % of 1Gi for one worker, and less for two.
        ray_api.submit(dashboard, JOBS / "load.py", "memory", "700")
        account = release.wait_for_rescale(1)
        assert "New size: 2; reason: memory resource utilization" in account
        release.wait_for_workers()
    assert len(release.joined()) == 2
