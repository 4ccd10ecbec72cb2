"""What becomes of a cluster whose head goes."""

import urllib.error
from collections.abc import Callable

import pytest
from kubernetes import client

from harness import ray_api

from .release import JOBS, READY_TIMEOUT_SECONDS, Release, last_json, small, wait_until

COUNTER = JOBS / "counter.py"


@pytest.mark.scenario("head.pod-deleted")
def test_deleted_head_is_replaced_and_its_state_is_lost(install: Callable[..., Release]) -> None:
    """Without fault tolerance the same workers come back to an empty cluster that works.

    Lost are the actors, detached ones too, and what the Jobs API knew.
    """
    release = install(small(autoscaling={"enabled": False}))
    before = release.wait_for_workers()
    (head,), workers = release.pod_names("head"), release.pod_names("worker")
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, COUNTER, "start")
        assert last_json(ray_api.wait(dashboard, job)) == 3
        assert last_json(ray_api.run_job(dashboard, COUNTER, "ask")) == 3

    client.CoreV1Api(release.api).delete_namespaced_pod(head, release.namespace)

    wait_until(
        "another head",
        lambda: release.pod_names("head"),
        lambda names: len(names) == 1 and head not in names,
        timeout=READY_TIMEOUT_SECONDS,
    )
    after = release.wait_for_workers()
    assert {node["node_name"] for node in after if not node["is_head_node"]} == workers
    # Their pods are the same, but as Ray's nodes they are new ones.
    assert not {node["node_id"] for node in before} & {node["node_id"] for node in after}
    with release.dashboard() as dashboard:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ray_api.call(dashboard, f"/api/jobs/{job}")
        assert last_json(ray_api.run_job(dashboard, COUNTER, "ask")) == "gone"
        assert last_json(ray_api.run_job(dashboard, COUNTER, "start")) == 3
