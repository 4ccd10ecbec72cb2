"""NOTES.txt says what matters for these values."""

from typing import Any

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


def test_helm_test_is_recommended(notes: str) -> None:
    assert "\n  helm test ray -n team-a\n" in notes


@pytest.mark.parametrize("notes", [{"suspend": True}], indirect=True)
@pytest.mark.parametrize("command", ["helm test", "kubectl", "ray job submit"])
def test_suspended_cluster_is_told_of_no_command_that_needs_its_pods(
    notes: str, command: str
) -> None:
    assert command not in notes


@pytest.mark.parametrize(
    "notes",
    [{"worker": {"replicas": 3, "autoscaling": {"enabled": False}}}],
    indirect=True,
)
def test_group_of_fixed_size_is_described_so(notes: str) -> None:
    assert "default: 3 worker(s), not scaled" in notes


@pytest.mark.parametrize("notes", [{"worker": {"autoscaling": {"enabled": False}}}], indirect=True)
def test_group_whose_size_is_left_alone_is_described_so(notes: str) -> None:
    assert "default: as many workers as it had, or one, not scaled" in notes


@pytest.mark.parametrize(
    "notes",
    [
        {
            "worker": {
                "autoscaling": {
                    "minReplicas": 0,
                    "keda": {"enabled": True, "triggers": [{"type": "cron", "metadata": {}}]},
                }
            }
        }
    ],
    indirect=True,
)
def test_group_of_keda_is_described_with_its_triggers(notes: str) -> None:
    scaled = "scaled by KEDA, CPU target 60 %, memory target 80 %, trigger cron"
    assert f"default: 0 to 2 workers, {scaled}" in notes


@pytest.mark.parametrize(
    "notes", [{"head": {"numCpus": 1}, "workerGroups": {"default": None}}], indirect=True
)
def test_cluster_without_groups_is_described_so(notes: str) -> None:
    assert "none: tasks run on the head" in notes


@pytest.mark.parametrize(
    "notes",
    [{"workerGroups": {"default": {"resources": {"limits": {"nvidia.com/gpu": 2}}}}}],
    indirect=True,
)
def test_gpus_of_a_group_are_mentioned(notes: str) -> None:
    assert "default: 1 to 2 workers with 2 GPU(s) each, CPU target" in notes


MEMORY = "the memory of these groups will not scale as it should"


def test_default_memory_needs_no_advice(notes: str) -> None:
    assert MEMORY not in notes


def memory(request: str, limit: str, **worker: object) -> dict[str, object]:
    """Values of workers with this memory."""
    resources = {"requests": {"memory": request}, "limits": {"memory": limit}}
    return {"worker": {"resources": resources, **worker}}


def between(least: int, most: int) -> dict[str, int]:
    """The limits of a group."""
    return {"minReplicas": least, "maxReplicas": most}


@pytest.mark.parametrize(
    ("notes", "held", "allowed"),
    [
        # 290 MB and 30 % of 2Gi are more than 2Gi x 80 % x 1/2.
        (memory("2Gi", "2Gi", objectStoreMemory="30%"), 891, 819),
        # From four workers to three there is more room: 2Gi x 80 % x 3/4.
        (memory("2Gi", "2Gi", objectStoreMemory="1Gi", autoscaling=between(3, 9)), 1301, 1229),
        # However many there are, the tolerance counts: 2Gi x 80 % x 0.9.
        (memory("2Gi", "4Gi", objectStoreMemory="1200Mi", autoscaling=between(30, 50)), 1477, 1475),
    ],
    indirect=["notes"],
)  # fmt: skip
def test_group_that_would_not_come_back_is_told(notes: str, held: int, allowed: int) -> None:
    assert MEMORY in notes
    assert f"An idle worker then holds {held} Mi" in notes
    assert f"less than {allowed} Mi" in notes


@pytest.mark.parametrize(
    "notes",
    [
        memory("2Gi", "2Gi", objectStoreMemory="30%", autoscaling={"minReplicas": 2}),
        memory("2Gi", "2Gi", objectStoreMemory="30%", autoscaling={"enabled": False}),
        memory(
            "2Gi",
            "2Gi",
            objectStoreMemory="30%",
            autoscaling={"targetMemoryUtilizationPercentage": 0},
        ),
    ],
    indirect=True,
)
def test_group_that_memory_does_not_scale_is_not_told(notes: str) -> None:
    assert MEMORY not in notes


@pytest.mark.parametrize(
    "notes",
    [memory("4Gi", "4Gi", autoscaling={"targetMemoryUtilizationPercentage": 95})],
    indirect=True,
)
def test_target_that_ray_never_lets_a_worker_reach_is_told(notes: str) -> None:
    assert "the memory target is 3891 Mi, but Ray kills tasks at 95 % of the memory limit" in notes


@pytest.mark.parametrize("notes", [{"suspend": True}], indirect=True)
def test_suspended_cluster_says_so(notes: str) -> None:
    assert "The cluster is suspended" in notes


def test_serve_is_not_mentioned_while_it_is_off(notes: str) -> None:
    assert "Ray Serve" not in notes


@pytest.mark.parametrize(
    "notes",
    [
        {
            "serve": {
                "enabled": True,
                "ingress": {"enabled": True, "hosts": [{"host": "api.example.com"}]},
            },
            "workerGroups": {"default": {"serveProxy": True}},
        }
    ],
    indirect=True,
)
def test_serve_is_described_with_its_addresses(notes: str) -> None:
    assert "http://ray-ray-cluster-serve.team-a.svc.cluster.local:8000" in notes
    assert "http://api.example.com" in notes
    assert "Workers of the group default receive requests as well" in notes


@pytest.mark.parametrize("notes", [{"ports": {"dashboard": 9999}}], indirect=True)
def test_commands_fit_the_release(notes: str) -> None:
    assert "kubectl -n team-a port-forward svc/ray-ray-cluster-head 8265:9999" in notes
    assert "ray job submit --address http://localhost:8265 -- python -c" in notes
    assert "ray://ray-ray-cluster-head.team-a.svc.cluster.local:10001" in notes


def test_missing_fault_tolerance_is_mentioned(notes: str) -> None:
    assert OFF in notes


def test_nothing_is_called_exposed_by_default(notes: str) -> None:
    assert "EXPOSE" not in notes


@pytest.mark.parametrize(
    ("notes", "way"),
    [
        (
            {
                "dashboard": {
                    "ingress": {
                        "enabled": True,
                        "hosts": [{"host": "ray.example.com"}],
                        "tls": [{"secretName": "cert"}],
                    }
                }
            },
            "through https://ray.example.com:",
        ),
        (
            {"dashboard": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "web"}]}}},
            "through http://<gateway>:",
        ),
        (
            {"head": {"externalService": {"enabled": True}}},
            "through the LoadBalancer Service ray-ray-cluster-head-external:",
        ),
    ],
    indirect=["notes"],
)
def test_every_way_to_the_dashboard_is_a_loud_warning(notes: str, way: str) -> None:
    assert f"EXPOSE the cluster, {way}" in notes


@pytest.mark.parametrize(
    "notes",
    [{"gcsFaultTolerance": {"mode": "redis", "redis": {"address": "redis.db:6379"}}}],
    indirect=True,
)
def test_fault_tolerance_names_its_redis(notes: str) -> None:
    assert OFF not in notes
    assert "redis.db:6379" in notes


@pytest.mark.parametrize("notes", [{"gcsFaultTolerance": {"mode": "rocksdb"}}], indirect=True)
def test_fault_tolerance_names_its_claim(notes: str) -> None:
    assert OFF not in notes
    assert "RocksDB on the claim ray-ray-cluster-gcs" in notes


INGRESS: dict[str, Any] = {"ingress": {"enabled": True, "hosts": [{"host": "ray.example.com"}]}}
ANYBODY: dict[str, Any] = {"from": [{"namespaceSelector": {}}]}


def test_who_is_let_in_is_listed(notes: str) -> None:
    listed = notes.partition("these are let in:\n")[2].partition("\n\n")[0].split("\n")
    assert listed == ["  dashboard: nobody", "  client: nobody", "  metrics: nobody"]


@pytest.mark.parametrize("notes", [{"networkPolicy": {"enabled": False}}], indirect=True)
def test_missing_network_policies_are_a_loud_warning(notes: str) -> None:
    assert "WARNING: networkPolicy.enabled is false" in notes


@pytest.mark.parametrize(
    ("notes", "way"),
    [
        ({"dashboard": INGRESS}, "through the Ingress to the dashboard: networkPolicy.dashboard"),
        (
            {"head": {"externalService": {"enabled": True, "ports": ["client"]}}},
            "through the LoadBalancer Service to Ray client: networkPolicy.client",
        ),
        (
            {"serve": {"enabled": True, "service": {"type": "NodePort"}}},
            "through the NodePort Service to Ray Serve: networkPolicy.serve",
        ),
        (
            {"monitoring": {"podMonitor": {"enabled": True}}},
            "through the PodMonitor to the metrics: networkPolicy.metrics",
        ),
        (
            {
                "worker": {
                    "autoscaling": {"demand": {"enabled": True}, "keda": {"enabled": True}},
                }
            },
            "through the KEDA trigger to the metrics: networkPolicy.metrics",
        ),
        (
            {"worker": {"hostNetwork": True}},
            "default on the machines' network NEVER reach the other pods: "
            "networkPolicy.extraIngress",
        ),
    ],
    indirect=["notes"],
)
def test_way_in_that_nobody_gets_through_is_a_loud_warning(notes: str, way: str) -> None:
    assert "WARNING: some that these values make a way for are kept out" in notes
    assert way in notes


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"dashboard": INGRESS, "networkPolicy": {"dashboard": ANYBODY}},
        {"dashboard": INGRESS, "networkPolicy": {"enabled": False}},
        {"serve": {"enabled": True}},
        {
            "monitoring": {"podMonitor": {"enabled": True}},
            "networkPolicy": {"extraIngress": [ANYBODY]},
        },
        {"worker": {"hostNetwork": True}, "networkPolicy": {"extraIngress": [ANYBODY]}},
    ],
    indirect=True,
)
def test_nobody_who_is_wanted_is_called_kept_out(notes: str) -> None:
    assert "are kept out by networkPolicy" not in notes
