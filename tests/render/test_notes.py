"""NOTES.txt says what matters for these values."""

import pytest

from harness.helm import dry_run

OFF = "Head fault tolerance is off"


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> str:
    """What Helm prints after an install with the values in the test's parameter."""
    text: str = dry_run(getattr(request, "param", {}), namespace="team-a")["info"]["notes"]
    return text


def test_default_group_is_described_with_its_limits_and_targets(notes: str) -> None:
    assert "default: 1 to 2 workers, CPU target 60 %, memory target 80 %" in notes


@pytest.mark.parametrize(
    "notes",
    [{"worker": {"replicas": 3, "autoscaling": {"enabled": False}}}],
    indirect=True,
)
def test_group_of_fixed_size_is_described_so(notes: str) -> None:
    assert "default: 3 worker(s), not scaled" in notes


@pytest.mark.parametrize(
    "notes", [{"head": {"numCpus": 1}, "workerGroups": {"default": None}}], indirect=True
)
def test_cluster_without_groups_is_described_so(notes: str) -> None:
    assert "none: tasks run on the head" in notes


@pytest.mark.parametrize("notes", [{"ports": {"dashboard": 9999}}], indirect=True)
def test_commands_fit_the_release(notes: str) -> None:
    assert "kubectl -n team-a port-forward svc/ray-ray-cluster-head 8265:9999" in notes
    assert "ray job submit --address http://localhost:8265 -- python -c" in notes
    assert "ray://ray-ray-cluster-head.team-a.svc.cluster.local:10001" in notes


def test_missing_authentication_is_a_loud_warning(notes: str) -> None:
    assert "WARNING: dashboard, Jobs API and Ray client ask for no password" in notes


def test_missing_fault_tolerance_is_mentioned(notes: str) -> None:
    assert OFF in notes


@pytest.mark.parametrize(
    "notes",
    [{"gcsFaultTolerance": {"mode": "redis", "redis": {"address": "redis.db:6379"}}}],
    indirect=True,
)
def test_fault_tolerance_names_its_redis(notes: str) -> None:
    assert OFF not in notes
    assert "redis.db:6379" in notes
