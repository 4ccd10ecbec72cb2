"""Ray Serve behind the chart's Service: no request is lost when a worker goes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from harness.cluster import Cluster

from . import pods
from .release import (
    JOBS,
    LEAVE_TIMEOUT_SECONDS,
    READY_TIMEOUT_SECONDS,
    Release,
    last_json,
    small,
    wait_until,
)

# Four clients that open a connection for each request, as most do, until a file appears. Prints how
# many requests each pod answered, and every failure.
CLIENT = """
import collections, concurrent.futures, json, os, sys, threading, time, urllib.request
url, limit = sys.argv[1], time.monotonic() + 600
answered, failures, lock = collections.Counter(), [], threading.Lock()

def ask():
    while not os.path.exists("/tmp/stop") and time.monotonic() < limit:
        try:
            pod = urllib.request.urlopen(url, timeout=30).read().decode()
        except Exception as error:
            with lock:
                failures.append(f"{time.time():.1f} {error}")
        else:
            with lock:
                answered[pod] += 1

def tell():
    while not os.path.exists("/tmp/stop"):
        time.sleep(1)
        with lock:
            print(json.dumps({"answered": answered, "failures": failures}), flush=True)

threading.Thread(target=tell, daemon=True).start()
with concurrent.futures.ThreadPoolExecutor() as pool:
    for done in [pool.submit(ask) for _ in range(4)]:
        done.result()
print(json.dumps({"answered": answered, "failures": failures}), flush=True)
"""


def serving() -> dict[str, Any]:
    """Values of a head and two workers that all receive requests."""
    values = small(
        autoscaling={"enabled": False},
        replicas=2,
        serveProxy=True,
        drain={"timeoutSeconds": 60},
    )
    return values | {"serve": {"enabled": True}}


@pytest.mark.scenario("serve.http")
def test_no_request_is_lost_when_a_worker_goes(
    install: Callable[..., Release], testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    """Requests arrive at the head and at both workers all through a scale-in; each is answered."""
    # A worker that receives requests is ready once Serve runs there, which it does not yet.
    release = install(serving(), wait=False)
    release.wait_for_workers()
    release.run_job(JOBS / "serve_app.py")
    workers = wait_until(
        "two workers that are ready for requests",
        lambda: {name for name, ready in readiness(release).items() if ready},
        lambda names: len(names) == 2,
        timeout=READY_TIMEOUT_SECONDS,
    )

    url = f"http://{release.name}-ray-cluster-serve.{namespace}.svc.cluster.local:8000/"
    pods.start(api, namespace, "client", pods.ray_container(CLIENT, url))
    pods.wait_ready(api, testbed, namespace, "client")
    look = seen_by(testbed, namespace)
    wait_until(
        "answers of both",
        look,
        lambda seen: workers <= set(seen["answered"]),
        timeout=READY_TIMEOUT_SECONDS,
    )

    testbed.kubectl("scale", f"--namespace={namespace}", "--replicas=1",
                    f"deployment/{release.worker_name()}")  # fmt: skip
    (left,) = wait_until(
        "one worker",
        lambda: release.pod_names("worker") | release.leaving("worker"),
        lambda names: len(names) == 1,
        timeout=LEAVE_TIMEOUT_SECONDS,
    )
    then = look()["answered"][left]
    wait_until(
        "more answers of the worker that is left",
        look,
        lambda seen: seen["answered"][left] > then + 50,
        timeout=READY_TIMEOUT_SECONDS,
    )
    testbed.kubectl("exec", f"--namespace={namespace}", "client", "--", "touch", "/tmp/stop")  # noqa: S108
    log = pods.wait_for_phase(testbed, namespace, "client", "Succeeded")

    result = last_json(log)
    assert result["failures"] == [], f"of {sum(result['answered'].values())} requests"
    assert set(result["answered"]) == workers


def readiness(release: Release) -> dict[str, bool]:
    """Whether each worker's pod is ready."""
    return {
        pod.metadata.name: any(c.type == "Ready" and c.status == "True" for c in conditions(pod))
        for pod in release.pods("worker")
    }


def conditions(pod: Any) -> list[Any]:
    """The pod's conditions, of which a new one has none."""
    return pod.status.conditions or []


def seen_by(testbed: Cluster, namespace: str) -> Callable[[], dict[str, Any]]:
    """What the client has seen up to now."""

    def look() -> dict[str, Any]:
        lines = testbed.kubectl("logs", f"--namespace={namespace}", "client", "--tail=1")
        return dict(json.loads(lines)) if lines.strip() else {"answered": {}, "failures": []}

    return look
