"""What a cluster keeps when its head, or its Redis, goes: docs/fault-tolerance.md as tests."""

import subprocess
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from harness import cluster as clusters
from harness import kills, ray_api, redis
from harness.cluster import Cluster
from harness.ray_api import Dashboard
from harness.tools import tool

from .release import (
    JOBS,
    READY_TIMEOUT_SECONDS,
    Release,
    last_json,
    small,
    wait_for_log,
    wait_until,
)

COUNTER = JOBS / "counter.py"
SLEEPERS = JOBS / "sleepers.py"
SURVIVOR = JOBS / "survivor.py"
WHERE = JOBS / "where.py"
# A head is back within half a minute, and Ray's nodes find it within another one, on a machine that
# has nothing else to do.
RECOVERY_TIMEOUT_SECONDS = 480
# What Helm 3 does differently is tried in full runs.
BOTH_HELMS = pytest.mark.parametrize(
    "program", ["helm", pytest.param("helm3", marks=pytest.mark.slow)]
)
ROCKSDB = {"gcsFaultTolerance": {"mode": "rocksdb"}}
KEPT = {"task": "finished", "object": "kept", "new actor": "started"}

Values = dict[str, Any]
Install = Callable[..., Release]
Kill = Callable[[Release], None]


def values(fault_tolerance: Values | None = None, **worker: Any) -> Values:
    """A head and one worker, which has room for the counter and for a driver."""
    room = {"autoscaling": {"enabled": False}, "numCpus": 2, "rayResources": {"worker": 1}}
    return small(**room, **worker) | (fault_tolerance or {})


def head(release: Release) -> Any:
    """The head's pod."""
    (pod,) = release.pods("head")
    return pod


def kill_container(release: Release) -> None:
    """Kill the head's container."""
    kills.container(release.cluster, head(release))


def kill_gcs(release: Release) -> None:
    """Kill the GCS alone."""
    kills.process(release.cluster, head(release), "gcs_server")


def hang_gcs(release: Release) -> None:
    """Stop the GCS where it is: it keeps its connections, and answers nobody."""
    kills.process(release.cluster, head(release), "gcs_server", "STOP")


def kill_agent(release: Release) -> None:
    """Kill the raylet's agent, without which the raylet gives up."""
    kills.process(release.cluster, head(release), "ray::DashboardA")


def delete_pod(release: Release) -> None:
    """Delete the head's pod."""
    kills.delete(release.cluster, head(release))


def heads(release: Release) -> list[tuple[str, int, bool]]:
    """Of each head: its pod, how often its container has started, and whether it is ready."""
    return [
        (pod.metadata.name, status.restart_count, status.ready)
        for pod in release.pods("head")
        for status in pod.status.container_statuses or []
    ]


def wait_for_another_head(release: Release, before: list[tuple[str, int, bool]]) -> None:
    """Wait until another container is the head, and is ready."""
    wait_until(
        f"another head than {before}",
        lambda: heads(release),
        lambda seen: len(seen) == 1 and seen[0][:2] != before[0][:2] and seen[0][2],
        timeout=RECOVERY_TIMEOUT_SECONDS,
    )


def node_ids(release: Release) -> dict[str, str]:
    """Ray's ids of the workers by their pods' names."""
    nodes = release.wait_for_workers()
    return {node["node_name"]: node["node_id"] for node in nodes if not node["is_head_node"]}


def status(dashboard: Dashboard, job: str) -> str:
    """The status of a job, or 'unknown' if the Jobs API has never heard of it."""
    try:
        return str(ray_api.call(dashboard, f"/api/jobs/{job}")["status"])
    except urllib.error.HTTPError as error:
        return "unknown" if error.code == 404 else f"error {error.code}"
    except OSError as error:
        return str(error)


def last_word(release: Release, *arguments: str) -> str:
    """What a job of the counter prints at its end, once the cluster takes jobs again."""

    def ask() -> str:
        try:
            return str(last_json(release.run_job(COUNTER, *arguments)))
        except (OSError, ray_api.JobError) as error:
            return str(error)

    return wait_until(
        f"a job that says what the counter knows ({arguments})",
        ask,
        lambda word: word.isdigit() or word == "gone",
        timeout=RECOVERY_TIMEOUT_SECONDS,
    )


def start_jobs(release: Release) -> tuple[str, str]:
    """Start the counter, a driver on the head, and one on the worker; their jobs' ids."""
    with release.dashboard() as dashboard:
        assert last_json(ray_api.run_job(dashboard, COUNTER, "start")) == 3
        on_head = ray_api.submit(dashboard, SURVIVOR)
        on_worker = ray_api.submit(dashboard, SURVIVOR, num_cpus=1)
        for job in (on_head, on_worker):
            wait_for_log(dashboard, job, "ready")
    return on_head, on_worker


def assert_everything_is_kept_but_drivers_on_the_head(release: Release, kill: Kill) -> None:
    """Start work of every kind, kill, and compare what is left with the documentation."""
    workers = node_ids(release)
    on_head, on_worker = start_jobs(release)
    before = heads(release)

    kill(release)

    wait_for_another_head(release, before)
    assert last_word(release, "finish") == "3", "the actor has lost its state"
    assert node_ids(release) == workers, "the worker is another node of Ray's"
    with release.dashboard() as dashboard:
        log = ray_api.wait(dashboard, on_worker, timeout=RECOVERY_TIMEOUT_SECONDS)
        assert last_json(log) == KEPT
        wait_until(
            "the driver on the head being reported as lost",
            lambda: status(dashboard, on_head),
            lambda seen: seen == "FAILED",
            timeout=RECOVERY_TIMEOUT_SECONDS,
        )


def assert_nothing_is_kept(release: Release, kill: Kill) -> None:
    """Start work of every kind, kill, and find an empty cluster that works."""
    workers = node_ids(release)
    jobs = start_jobs(release)
    before = heads(release)

    kill(release)

    wait_for_another_head(release, before)
    wait_until(
        f"other nodes in the pods of {workers}",
        lambda: node_ids(release),
        lambda seen: seen.keys() == workers.keys() and seen != workers,
        timeout=RECOVERY_TIMEOUT_SECONDS,
    )
    assert last_word(release, "ask") == "gone"
    with release.dashboard() as dashboard:
        assert [status(dashboard, job) for job in jobs] == ["unknown", "unknown"]


@pytest.fixture
def own_redis(testbed: Cluster, namespace: str, api: client.ApiClient) -> Values:
    """Values of a release whose state is in a Redis of its own."""
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    return redis.fault_tolerance()


@pytest.fixture
def on_redis(install: Install, own_redis: Values) -> Release:
    """A release whose state is in a Redis of its own."""
    return install(values(own_redis))


@pytest.mark.scenario("head.container-killed")
@pytest.mark.usefixtures("own_cluster")
def test_cluster_goes_on_when_the_heads_container_is_killed(on_redis: Release) -> None:
    assert_everything_is_kept_but_drivers_on_the_head(on_redis, kill_container)


@pytest.mark.scenario("head.pod-deleted")
def test_cluster_goes_on_when_the_heads_pod_is_deleted(on_redis: Release) -> None:
    assert_everything_is_kept_but_drivers_on_the_head(on_redis, delete_pod)


@pytest.mark.slow
def test_worker_that_goes_with_the_head_finishes_what_it_runs(
    install: Install, own_redis: Values
) -> None:
    """It tells the next head that it drains: the Kubernetes node of both is emptied, say."""
    release = install(values(own_redis, drain={"timeoutSeconds": 240}))
    release.wait_for_workers()
    (worker,) = release.pods("worker")
    before = heads(release)
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, SLEEPERS, "1", "70", num_cpus=1)
        wait_until(
            "the task on the worker",
            lambda: ray_api.running_tasks(dashboard),
            lambda tasks: any(task["name"] == "sleep" for task in tasks),
            timeout=RECOVERY_TIMEOUT_SECONDS,
        )

    kills.delete(release.cluster, worker)
    delete_pod(release)

    wait_for_another_head(release, before)
    assert worker.metadata.name in release.leaving("worker")
    with release.dashboard() as dashboard:
        outcome = ray_api.ended(dashboard, job)
    assert outcome["status"] == "SUCCEEDED", outcome
    release.wait_until_gone("worker")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(kill_gcs, marks=pytest.mark.scenario("head.gcs-killed")),
        pytest.param(hang_gcs, marks=pytest.mark.scenario("head.gcs-hung")),
    ],
)
def test_cluster_goes_on_without_its_gcs(on_redis: Release, kill: Kill) -> None:
    assert_everything_is_kept_but_drivers_on_the_head(on_redis, kill)


@pytest.mark.scenario("head.agent-killed")
def test_cluster_goes_on_when_an_agent_takes_the_heads_raylet_along(
    install: Install, own_redis: Values
) -> None:
    """Ray would wait on without its raylet, and here no probe helps."""
    patient = values(own_redis)
    patient["head"] = patient["head"] | {"livenessProbe": {"failureThreshold": 1000}}
    release = install(patient)
    workers = node_ids(release)
    assert last_json(release.run_job(COUNTER, "start")) == 3
    before = heads(release)

    kill_agent(release)

    wait_for_another_head(release, before)
    assert last_word(release, "finish") == "3", "the actor has lost its state"
    assert node_ids(release) == workers, "the worker is another node of Ray's"


@pytest.mark.scenario("head.rocksdb")
@pytest.mark.parametrize("kill", [kill_container, delete_pod])
@pytest.mark.usefixtures("own_cluster")  # a claim of the default class, made for one pod
def test_cluster_on_rocksdb_goes_on(install: Install, kill: Kill) -> None:
    assert_everything_is_kept_but_drivers_on_the_head(install(values(ROCKSDB)), kill)


@pytest.mark.slow
@pytest.mark.scenario("head.rocksdb")
@pytest.mark.usefixtures("own_cluster")
def test_cluster_goes_on_with_a_claim_that_two_heads_can_mount(install: Install) -> None:
    """Both pods are on one machine, where ReadWriteOnce keeps none of them out, but a lock does."""
    rocksdb = {"mode": "rocksdb", "rocksdb": {"accessModes": ["ReadWriteOnce"]}}
    release = install(values({"gcsFaultTolerance": rocksdb}))
    assert_everything_is_kept_but_drivers_on_the_head(release, delete_pod)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(kill_container, marks=pytest.mark.scenario("head.container-killed")),
        pytest.param(kill_gcs, marks=pytest.mark.scenario("head.gcs-killed")),
    ],
)
@pytest.mark.usefixtures("own_cluster")
def test_without_fault_tolerance_nothing_is_kept(install: Install, kill: Kill) -> None:
    assert_nothing_is_kept(install(values()), kill)


def restart_redis(release: Release) -> None:
    """Delete the pod of the Redis and wait for the next one."""
    release.cluster.kubectl("delete", f"--namespace={release.namespace}", "pod/redis-0")
    release.cluster.kubectl(
        "rollout", "status", f"--namespace={release.namespace}", "statefulset/redis",
        f"--timeout={READY_TIMEOUT_SECONDS}s",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.scenario("head.redis-restarted")
def test_cluster_goes_on_when_a_redis_with_a_claim_restarts(on_redis: Release) -> None:
    """The GCS dies with its Redis, and the head's container with the GCS."""
    assert_everything_is_kept_but_drivers_on_the_head(on_redis, restart_redis)


@pytest.mark.slow
@pytest.mark.scenario("head.redis-restarted")
def test_redis_that_forgets_is_as_good_as_none(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    redis.add_password(api, namespace)
    redis.start(testbed, namespace, lasting=False)
    assert_nothing_is_kept(install(values(redis.fault_tolerance())), restart_redis)


def head_log(release: Release) -> str:
    """What the head's container has printed, this one and the one before it."""
    (head,) = release.pod_names("head")
    logs = ["logs", f"--namespace={release.namespace}", head]
    seen = []
    for arguments in ([], ["--previous"]):
        done = subprocess.run(
            [tool("kubectl"), f"--kubeconfig={release.cluster.kubeconfig}", *logs, *arguments],
            capture_output=True,
            text=True,
        )
        seen.append(done.stdout)
    return "".join(seen)


@pytest.mark.scenario("head.redis-wrong-password")
def test_wrong_password_is_in_the_heads_log(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    """No worker joins, and the head is never ready; the right password mends it."""
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    wrong = redis.fault_tolerance(existingSecret="", password="wrong")  # noqa: S106

    release = install(values(wrong), wait=False)

    wait_until(
        "the reason in the head's log",
        lambda: head_log(release),
        lambda log: "WRONGPASS" in log,
        timeout=RECOVERY_TIMEOUT_SECONDS,
    )
    assert not any(ready for _, _, ready in heads(release))
    install(values(redis.fault_tolerance()))
    assert len(release.wait_for_workers()) == 2


@pytest.mark.slow
@pytest.mark.scenario("head.redis-unreachable")
def test_head_waits_for_a_redis_that_is_not_there_yet(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    """Its log says what it waits for."""
    redis.add_password(api, namespace)

    release = install(values(redis.fault_tolerance()), wait=False)

    wait_until(
        "the reason in the head's log",
        lambda: head_log(release),
        lambda log: "redis:6379" in log,
        timeout=RECOVERY_TIMEOUT_SECONDS,
    )
    assert not any(ready for _, _, ready in heads(release))
    redis.start(testbed, namespace)
    assert len(release.wait_for_workers()) == 2


@pytest.mark.slow
@pytest.mark.scenario("head.redis-shared")
@pytest.mark.needs(cpu=500, memory=5 * 1024)
def test_tenants_with_one_redis_and_equal_names_do_not_meet(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    """Each has its own counter, before and after its head is replaced and the other one is gone."""
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    shared = redis.fault_tolerance(address=f"redis.{namespace}.svc.cluster.local:6379")
    with clusters.namespace(testbed, "e2e-second-tenant") as second:
        redis.add_password(api, second)
        tenants = [install(values(shared), namespace=where) for where in (namespace, second)]
        for tenant in tenants:
            tenant.wait_for_workers()
        assert last_word(tenants[0], "start") == "3"
        assert last_word(tenants[1], "ask") == "gone"
        assert last_word(tenants[1], "start") == "3"
        assert last_word(tenants[1], "ask") == "3"

        uninstall(tenants[1])
        before = heads(tenants[0])
        delete_pod(tenants[0])

        wait_for_another_head(tenants[0], before)
        assert last_word(tenants[0], "ask") == "3"
        prefixes = {key.partition("@")[0] for key in redis.command(testbed, namespace, "KEYS", "*")}
        assert prefixes == {f"RAY{namespace}.ray-ray-cluster"}


def uninstall(release: Release, program: str = "helm") -> tuple[str, float]:
    """What Helm prints while it uninstalls, and the seconds it takes; it must not fail."""
    start = time.monotonic()
    done = subprocess.run(
        [tool(program), "uninstall", release.name, f"--namespace={release.namespace}",
         f"--kubeconfig={release.cluster.kubeconfig}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout, time.monotonic() - start


def hook_objects(release: Release) -> list[str]:
    """What the hook of an uninstall has left."""
    return release.cluster.kubectl(
        "get", "jobs,services,secrets,serviceaccounts", f"--namespace={release.namespace}",
        "--selector=app.kubernetes.io/component=cleanup", "--output=name",
    ).split()  # fmt: skip


@pytest.mark.scenario("head.cleanup")
@BOTH_HELMS
def test_uninstall_removes_the_releases_keys_and_no_others(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient, program: str
) -> None:
    """The password is the chart's own Secret, and so is the account: both are gone by then."""
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    own = f"RAY{namespace}.ray-ray-cluster"
    others = {f"{own}2@KV", f"{own[:-1]}@KV", own, f"x{own}@KV", "unrelated"}
    for key in others:
        redis.command(testbed, namespace, "SET", key, "theirs")
    with_secret = redis.fault_tolerance(existingSecret="", password=redis.PASSWORD)
    release = install(values(with_secret) | {"serviceAccount": {"create": True}}, program=program)
    release.wait_for_workers()
    assert set(redis.command(testbed, namespace, "KEYS", "*")) > others

    said, _ = uninstall(release, program)

    assert f"Removed the keys {own}@*" in said
    assert set(redis.command(testbed, namespace, "KEYS", "*")) == others
    assert hook_objects(release) == []


@pytest.mark.slow
@pytest.mark.scenario("head.cleanup")
def test_head_and_uninstall_show_their_certificate_to_a_redis_that_asks(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient, tmp_path: Path
) -> None:
    redis.add_password(api, namespace)
    certificates = redis.add_certificates(api, namespace, tmp_path)
    redis.start(testbed, namespace, certificates=certificates)
    tls = {"existingSecret": certificates, "certKey": "tls.crt", "keyKey": "tls.key"}
    release = install(values(redis.fault_tolerance(address="rediss://redis:6379", tls=tls)))
    assert len(release.wait_for_workers()) == 2

    said, _ = uninstall(release)

    assert f"Removed the keys RAY{namespace}.ray-ray-cluster@*" in said


@pytest.mark.slow
@pytest.mark.scenario("head.cleanup")
def test_uninstall_of_an_old_ray_removes_its_keys(
    old_ray: str, install: Install, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    release = install(values(redis.fault_tolerance()) | {"image": {"tag": old_ray}})
    release.wait_for_workers()
    assert redis.command(testbed, namespace, "KEYS", "*")

    said, _ = uninstall(release)

    assert f"Removed the keys RAY{namespace}.ray-ray-cluster@*" in said
    assert redis.command(testbed, namespace, "KEYS", "*") == []


@pytest.mark.scenario("head.cleanup-redis-gone")
@BOTH_HELMS
def test_uninstall_without_a_redis_warns_and_returns(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient, program: str
) -> None:
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    release = install(values(redis.fault_tolerance()), program=program)
    redis.remove(testbed, namespace)

    said, seconds = uninstall(release, program)

    keys = f"RAY{namespace}.ray-ray-cluster@*"
    assert f"WARNING: the keys {keys} stay: redis:6379 cannot be reached" in said
    assert (
        f"redis-cli -h redis -p 6379 --scan --pattern '{keys}' | "
        "xargs -r redis-cli -h redis -p 6379 unlink"
    ) in said
    assert seconds < 30, said
    assert hook_objects(release) == []


@pytest.mark.slow
@pytest.mark.scenario("head.cleanup")
@pytest.mark.needs(cpu=200, memory=2176)
def test_suspended_release_is_cleaned_up_too(
    install: Install, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    redis.add_password(api, namespace)
    redis.start(testbed, namespace)
    key = f"RAY{namespace}.ray-ray-cluster@KV"
    redis.command(testbed, namespace, "HSET", key, "a", "b")
    release = install(values(redis.fault_tolerance()) | {"suspend": True}, wait=False)

    uninstall(release)

    assert redis.command(testbed, namespace, "KEYS", "*") == []
