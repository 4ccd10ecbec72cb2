"""What differs between versions of Ray, each on both sides of the version that brought it."""

from typing import Any

import pytest

from harness.cluster import OLDEST_RAY
from harness.helm import dry_run, template

from .objects import DRAIN_TIMEOUT, Object, container, env, flags, head, pod, refusal, worker

AGENT = {"path": "/api/local_raylet_healthz", "port": "agent"}
GCS = {"path": "/api/gcs_healthz", "port": "dashboard"}
BOTH = {"path": "/api/healthz", "port": "agent"}
PROBES = ["startupProbe", "livenessProbe", "readinessProbe"]


def rendered(version: str, **values: Any) -> list[Object]:
    """The objects of a release of this Ray."""
    return template({"image": {"tag": version}, **values})


def endpoints(deployment: Object) -> list[Object]:
    """What the three probes ask."""
    return [container(deployment)[probe]["httpGet"] for probe in PROBES]


def test_oldest_ray_is_the_one_that_the_scenarios_run() -> None:
    rendered(OLDEST_RAY)
    major, minor, _ = OLDEST_RAY.split(".")
    assert f"needs {OLDEST_RAY} or newer" in refusal({"rayVersion": f"{major}.{int(minor) - 1}.99"})


@pytest.mark.parametrize(
    ("version", "on_head", "on_workers"),
    [
        (OLDEST_RAY, [GCS, GCS, AGENT], [AGENT] * 3),
        ("2.52.1", [GCS, GCS, AGENT], [AGENT] * 3),
        ("2.53.0", [GCS, BOTH, BOTH], [BOTH] * 3),
    ],
)
def test_probes_ask_an_endpoint_that_is_there(
    version: str, on_head: list[Object], on_workers: list[Object]
) -> None:
    objects = rendered(version)
    assert endpoints(head(objects)) == on_head
    assert endpoints(worker(objects)) == on_workers


@pytest.mark.parametrize("off", ["false", "False", "0", "no"])
@pytest.mark.parametrize(("version", "endpoint"), [(OLDEST_RAY, AGENT), ("2.60.0", BOTH)])
def test_no_probe_asks_a_dashboard_that_is_off(version: str, endpoint: Object, off: str) -> None:
    objects = rendered(version, head={"rayStartParams": {"include-dashboard": off}})
    assert endpoints(head(objects)) == [endpoint] * 3


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


@pytest.mark.parametrize("version", [OLDEST_RAY, "2.57.0", "2.60.0"])
def test_workers_of_all_versions_drain_the_same_way(version: str) -> None:
    objects = rendered(version, worker={"drain": {"timeoutSeconds": 90}})
    assert container(worker(objects))["lifecycle"] == {"preStop": {"sleep": {"seconds": 1}}}
    assert env(worker(objects))[DRAIN_TIMEOUT] == "90"
    assert env(head(objects))[DRAIN_TIMEOUT] == "0"
    assert pod(worker(objects))["terminationGracePeriodSeconds"] == 150


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
