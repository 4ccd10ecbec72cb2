"""What differs between versions of Ray, each on both sides of the version that brought it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import OLDEST_RAY
from harness.helm import dry_run, template
from harness.paths import CHART

from .objects import Object, container, env, flags, head, pod, refusal, worker

AGENT = {"path": "/api/local_raylet_healthz", "port": "agent"}
GCS = {"path": "/api/gcs_healthz", "port": "dashboard"}
BOTH = {"path": "/api/healthz", "port": "agent"}
PROBES = ["startupProbe", "livenessProbe", "readinessProbe"]
DRAIN_TIMEOUT = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


def rendered(version: str, **values: Any) -> list[Object]:
    """The objects of a release of this Ray."""
    return template({"image": {"tag": version}, **values})


def endpoints(deployment: Object) -> list[Object]:
    """What the three probes ask."""
    return [container(deployment)[probe]["httpGet"] for probe in PROBES]


def hook(deployment: Object) -> list[str]:
    """The command of the preStop hook, which is the drain."""
    command: list[str] = container(deployment)["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:3] == ["python", "-c", (CHART / "files/drain.py").read_text()]
    return command


def test_oldest_ray_is_the_one_that_the_scenarios_run() -> None:
    rendered(OLDEST_RAY)
    major, minor, _ = OLDEST_RAY.split(".")
    assert f"needs {OLDEST_RAY} or newer" in refusal({"rayVersion": f"{major}.{int(minor) - 1}.99"})


@pytest.mark.parametrize(
    ("version", "on_head", "on_workers"),
    [
        (OLDEST_RAY, [AGENT, GCS, GCS], [AGENT] * 3),
        ("2.52.1", [AGENT, GCS, GCS], [AGENT] * 3),
        ("2.53.0", [BOTH] * 3, [BOTH] * 3),
    ],
)
def test_probes_ask_an_endpoint_that_is_there(
    version: str, on_head: list[Object], on_workers: list[Object]
) -> None:
    objects = rendered(version)
    assert endpoints(head(objects)) == on_head
    assert endpoints(worker(objects)) == on_workers


@pytest.mark.parametrize(
    ("version", "labels"),
    [
        (OLDEST_RAY, '{"market":"spot","zone":"a"}'),
        ("2.44.1", '{"market":"spot","zone":"a"}'),
        ("2.45.0", "market=spot,zone=a"),
    ],
)
def test_labels_are_written_as_this_ray_reads_them(version: str, labels: str) -> None:
    values = {"rayLabels": {"zone": "a", "market": "spot"}}
    objects = rendered(version, head=values, worker=values)
    assert flags(head(objects))["labels"] == flags(worker(objects))["labels"] == labels


@pytest.mark.parametrize(
    ("version", "by_hook"),
    [(OLDEST_RAY, True), ("2.56.1", True), ("2.57.0", False), ("2.60.0", False)],
)
def test_workers_drain_by_a_hook_where_ray_does_not_by_itself(version: str, by_hook: bool) -> None:
    objects = rendered(version)
    assert ("lifecycle" in container(worker(objects))) == by_hook
    assert (DRAIN_TIMEOUT in env(worker(objects))) != by_hook


def test_hook_is_told_where_the_head_and_the_raylet_are_and_how_long_it_has() -> None:
    objects = rendered(
        OLDEST_RAY,
        worker={"drain": {"timeoutSeconds": 90}},
        ports={"gcs": 7000, "nodeManager": 7001},
    )
    address = "ray-ray-cluster-head.ray.svc.cluster.local:7000"
    assert hook(worker(objects))[3:] == [address, "7001", "0", "90"]
    assert pod(worker(objects))["terminationGracePeriodSeconds"] == 150


def test_worker_that_need_not_drain_has_no_hook() -> None:
    objects = rendered(OLDEST_RAY, worker={"drain": {"timeoutSeconds": 0}})
    assert "lifecycle" not in container(worker(objects))


def test_node_that_receives_requests_goes_on_before_it_drains() -> None:
    objects = rendered(
        OLDEST_RAY, serve={"enabled": True, "preStopSleepSeconds": 7}, worker={"serveProxy": True}
    )
    assert hook(worker(objects))[5:] == ["7", "240"]
    assert container(head(objects))["lifecycle"]["preStop"]["exec"]["command"][-1] == "7"


def test_other_hooks_of_the_user_stay_beside_the_drain() -> None:
    mine = {"postStart": {"exec": {"command": ["true"]}}}
    deployment = worker(rendered(OLDEST_RAY, worker={"lifecycle": mine}))
    assert hook(deployment)
    assert container(deployment)["lifecycle"]["postStart"] == mine["postStart"]


def test_users_hook_is_welcome_where_nothing_drains_by_one() -> None:
    mine = {"preStop": {"exec": {"command": ["true"]}}}
    without = {"lifecycle": mine, "drain": {"timeoutSeconds": 0}}
    assert container(worker(rendered(OLDEST_RAY, worker=without)))["lifecycle"] == mine
    assert container(worker(rendered("2.57.0", worker={"lifecycle": mine})))["lifecycle"] == mine


REDIS = {"address": "redis:6379", "username": "ray", "existingSecret": "redis"}


@pytest.mark.parametrize(
    ("value", "values", "since", "before"),
    [
        (
            "workerGroups.default.objectSpilling.enabled",
            {"worker": {"objectSpilling": {"enabled": True}}},
            "2.45.0",
            "2.44.1",
        ),
        (
            "head.objectSpilling.enabled",
            {"head": {"objectSpilling": {"enabled": True}}},
            "2.45.0",
            "2.44.1",
        ),
        (
            "gcsFaultTolerance.redis.username",
            {"gcsFaultTolerance": {"mode": "redis", "redis": REDIS}},
            "2.41.0",
            OLDEST_RAY,
        ),
        (
            "gcsFaultTolerance.mode: rocksdb",
            {"gcsFaultTolerance": {"mode": "rocksdb"}},
            "2.57.0",
            "2.56.1",
        ),
    ],
)
def test_value_is_refused_where_ray_cannot_honour_it(
    value: str, values: Object, since: str, before: str
) -> None:
    message = refusal({"image": {"tag": before}, **values})
    assert f"{value} needs Ray {since} or newer, but the cluster's is {before}" in message
    rendered(since, **values)


@pytest.mark.parametrize(
    ("version", "warned"),
    [("2.53.0", False), ("2.54.0", True), ("2.54.1", True), ("2.55.0", False)],
)
def test_notes_warn_of_a_serve_that_listens_on_localhost(version: str, warned: bool) -> None:
    release = dry_run({"image": {"tag": version}, "serve": {"enabled": True}})
    assert ("listens on localhost alone" in release["info"]["notes"]) == warned


# What the hook asks of Ray: the head knows a dead node of the pod's name, the pod's, and another.
RAYLET = """
import types

class GcsClient:
    def __init__(self, address):
        self.address = address

    def get_all_node_info(self, timeout):
        names = {"dead": "pod", "own": "pod", "other": "another"}
        return {key: node(key, name) for key, name in names.items()}

    def drain_node(self, *request):
        print(self.address, *request[:2])

def node(key, name):
    node_id = types.SimpleNamespace(hex=lambda: key)
    state = "DEAD" if key == "dead" else "ALIVE"
    return types.SimpleNamespace(node_name=name, node_id=node_id, state=state, ALIVE="ALIVE")
"""


@pytest.fixture
def drain(tmp_path: Path) -> Any:
    """Run the hook beside a stand-in for Ray, in the pod `name`, with a second for its tasks."""
    generated = tmp_path / "ray" / "core" / "generated"
    generated.mkdir(parents=True)
    (tmp_path / "ray" / "_raylet.py").write_text(RAYLET)
    (generated / "autoscaler_pb2.py").write_text("DRAIN_NODE_REASON_PREEMPTION = 'PREEMPTION'")

    def run(name: str, port: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", (CHART / "files/drain.py").read_text(),
             "head:6380", str(port), "0", "1"],
            env=os.environ | {"PYTHONPATH": str(tmp_path), "POD_NAME": name, "POD_IP": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip

    return run


def test_hook_drains_the_pods_own_node_and_returns_when_its_raylet_is_gone(drain: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = drain("pod", port)
    assert (done.returncode, done.stdout) == (0, "head:6380 own PREEMPTION\n"), done.stderr


def test_hook_returns_when_its_time_is_over(drain: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        began = time.monotonic()
        assert drain("pod", raylet.getsockname()[1]).returncode == 0
        assert time.monotonic() - began > 1


def test_hook_does_not_wait_for_a_node_that_the_head_does_not_know(drain: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        done = drain("stranger", raylet.getsockname()[1])
    assert done.stdout == ""
    assert "The head does not know this node." in done.stderr
