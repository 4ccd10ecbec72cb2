"""What a cluster leaves behind: reports, logs, sessions, history, spilled objects."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.helm import template
from harness.paths import CHART

from .objects import Object, container, deployments, env, flags, head, pod, volume, worker

HISTORY = {
    "tasks": "RAY_task_events_max_num_task_in_gcs",
    "actors": "RAY_maximum_gcs_destroyed_actor_cached_count",
    "nodes": "RAY_maximum_gcs_dead_node_cached_count",
    "events": "RAY_DASHBOARD_MAX_EVENTS_TO_CACHE",
}
SPILLING = "/object-spilling"


def test_usage_statistics_can_be_on() -> None:
    for deployment in deployments(template({"usageStats": {"enabled": True}})):
        assert env(deployment)["RAY_USAGE_STATS_ENABLED"] == "1"
        assert "RAY_USAGE_STATS_REPORT_URL" not in env(deployment)


def test_logs_of_every_node_are_rotated(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        assert env(deployment)["RAY_ROTATION_MAX_BYTES"] == str(100 * 2**20)
        assert env(deployment)["RAY_ROTATION_BACKUP_COUNT"] == "3"


def test_size_and_number_of_logs_can_be_chosen() -> None:
    deployment = worker(template({"logRotation": {"maxSize": "1.5Gi", "backupCount": 1000000}}))
    assert env(deployment)["RAY_ROTATION_MAX_BYTES"] == "1610612736"
    assert env(deployment)["RAY_ROTATION_BACKUP_COUNT"] == "1000000"


def test_head_remembers_what_ray_thinks_is_right_by_default(defaults: list[Object]) -> None:
    assert not set(HISTORY.values()) & set(env(head(defaults)))


@pytest.mark.parametrize("kind", HISTORY)
def test_head_can_remember_less(kind: str) -> None:
    objects = template({"head": {"history": {kind: 1000000}}})
    assert env(head(objects))[HISTORY[kind]] == "1000000"
    assert HISTORY[kind] not in env(worker(objects))


def test_zero_history_is_not_taken_for_unset() -> None:
    assert env(head(template({"head": {"history": {"actors": 0}}})))[HISTORY["actors"]] == "0"


def clean_up(**persistence: object) -> list[Object]:
    """The init containers of a head with this claim."""
    deployment = head(template({"head": {"persistence": {"enabled": True, **persistence}}}))
    containers: list[Object] = pod(deployment).get("initContainers", [])
    return containers


def test_old_sessions_are_removed_from_a_claim_when_the_head_starts() -> None:
    (cleaner,) = clean_up(keepSessions=2)
    assert cleaner["args"][1:] == ["/tmp/ray", "2"]  # noqa: S108
    assert cleaner["volumeMounts"] == [{"name": "ray-tmp", "mountPath": "/tmp/ray"}]  # noqa: S108


def test_clean_up_makes_the_pod_no_larger_and_no_less_safe() -> None:
    values = {"head": {"persistence": {"enabled": True}}}
    deployment = head(template(values))
    (cleaner,) = pod(deployment)["initContainers"]
    for field in ("image", "imagePullPolicy", "resources", "securityContext"):
        assert cleaner[field] == container(deployment)[field]


def test_sessions_can_all_be_kept() -> None:
    assert clean_up(keepSessions=None) == []


def test_nothing_is_cleaned_up_where_nothing_outlives_the_pod(defaults: list[Object]) -> None:
    assert "initContainers" not in pod(head(defaults))


def test_users_init_containers_come_after_the_clean_up() -> None:
    mine = {"name": "mine", "image": "i"}
    values = {"persistence": {"enabled": True}, "initContainers": [mine]}
    assert pod(head(template({"head": values})))["initContainers"][1:] == [mine]


def test_clean_up_keeps_the_newest_sessions_and_everything_else(tmp_path: Path) -> None:
    for age, name in enumerate(["session_2026-03-01_new", "session_2026-01-01_reused"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (2_000_000 - age, 2_000_000 - age))
    for name in ("session_2026-02-01_old", "mine"):
        (tmp_path / name / "logs").mkdir(parents=True)
        os.utime(tmp_path / name, (1_000_000, 1_000_000))
    (tmp_path / "session_latest").symlink_to("session_2026-03-01_new")
    script = CHART / "files/remove_old_sessions.py"
    subprocess.run([sys.executable, script, tmp_path, "2"], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "mine",
        "session_2026-01-01_reused",
        "session_2026-03-01_new",
        "session_latest",
    }


def test_objects_are_spilled_beside_the_logs_by_default(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        assert "object-spilling-directory" not in flags(deployment)
        assert SPILLING not in {m["mountPath"] for m in container(deployment)["volumeMounts"]}


def spilling(**values: object) -> Object:
    """The default group's Deployment with this volume for spilled objects."""
    return worker(template({"worker": {"objectSpilling": {"enabled": True, **values}}}))


def test_spilled_objects_can_have_a_volume_of_their_own() -> None:
    deployment = spilling(sizeLimit="50Gi")
    assert flags(deployment)["object-spilling-directory"] == SPILLING
    mounts = container(deployment)["volumeMounts"]
    assert {"name": "object-spilling", "mountPath": SPILLING} in mounts
    assert volume(deployment, "object-spilling")["emptyDir"] == {"sizeLimit": "50Gi"}


def test_spilling_volume_can_be_a_claim() -> None:
    claim = {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Ti"}}}}}
    rendered = volume(spilling(volume={"ephemeral": claim}), "object-spilling")
    assert rendered == {"name": "object-spilling", "ephemeral": claim}


def test_group_without_a_volume_does_not_take_the_heads_directory() -> None:
    objects = template({"head": {"objectSpilling": {"enabled": True}}})
    assert flags(head(objects))["object-spilling-directory"] == SPILLING
    assert flags(worker(objects))["object-spilling-directory"] == "/tmp/ray/object-spilling"  # noqa: S108


def test_one_group_can_spill_elsewhere() -> None:
    groups = {"default": {}, "big": {"objectSpilling": {"enabled": True}}}
    objects = template({"workerGroups": groups})
    assert "object-spilling-directory" in flags(worker(objects, "big"))
    assert "object-spilling-directory" not in flags(worker(objects, "default"))
