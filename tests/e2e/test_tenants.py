"""Tenants: what they see at their quota, what an admin of a namespace may do, who runs where."""

import json
import re
import urllib.error
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyhelm3
import pytest
import yaml
from kubernetes import client

from harness import cluster as clusters
from harness import helm, network_policies, ray_api, redis
from harness.cluster import Cluster
from harness.paths import CHART, ROOT
from harness.process import run
from harness.ray_api import Dashboard
from harness.tools import tool

from . import pods
from .release import JOBS, READY_TIMEOUT_SECONDS, Release, last_json, small, wait_until

WHERE = JOBS / "where.py"
BOUND = JOBS / "bound.py"
SHARED = ROOT / "examples" / "tenants" / "shared.yaml"
REDIS = CHART / "ci" / "07-redis-values.yaml"
DOCUMENTED = ROOT / "docs" / "tenants.md"
ADMIN = "installer"
# For a head and its sidecar, and workers of 1 GiB each.
ROOM_FOR_ONE, ROOM_FOR_TWO = "2560Mi", "3584Mi"


@pytest.mark.scenario("tenant.quota")
@pytest.mark.needs(cpu=200, memory=3072)
def test_worker_that_the_quota_does_not_admit_comes_when_it_does(
    testbed: Cluster, api: client.ApiClient, namespace: str, install: Callable[..., Release]
) -> None:
    """The quota is the cluster admin's, of which the chart knows nothing.

    What is seen and done about it is in docs/tenants.md. A ReplicaSet that was refused a pod tries
    again less and less often, up to every 17 minutes, unless something about it changes.
    """
    core = client.CoreV1Api(api)
    add_quota(api, namespace, ROOM_FOR_ONE)
    release = install(small(autoscaling={"minReplicas": 2, "maxReplicas": 2}), wait=False)
    reason = (
        "exceeded quota: team, requested: requests.memory=1Gi, used: requests.memory=2Gi, "
        "limited: requests.memory=2560Mi"
    )
    wait_until(
        "an event that says why there is no second worker",
        lambda: failed_to_create(api, namespace),
        lambda messages: any(reason in message for message in messages),
        timeout=READY_TIMEOUT_SECONDS,
    )
    failure = wait_until(
        "a condition of the Deployment",
        lambda: conditions(api, release),
        lambda seen: "ReplicaFailure" in seen,
        timeout=READY_TIMEOUT_SECONDS,
    )["ReplicaFailure"]
    assert (failure.status, failure.reason) == ("True", "FailedCreate")
    assert reason in failure.message
    # `kubectl get hpa` shows what the autoscaler has asked for, not what there is.
    wait_until(
        "an autoscaler that takes the worker for there",
        lambda: release.autoscaler().status,
        lambda status: (status.current_replicas, status.desired_replicas) == (2, 2),
        timeout=READY_TIMEOUT_SECONDS,
    )
    release.wait_for_head()
    (worker,) = wait_until(
        "the worker that fits",
        release.joined,
        lambda names: len(names) == 1,
        timeout=READY_TIMEOUT_SECONDS,
    )
    assert worker in release.run_job(WHERE)
    core.patch_namespaced_resource_quota(
        "team", namespace, {"spec": {"hard": {"requests.memory": "3Gi"}}}
    )
    testbed.kubectl("annotate", "replicasets", "--all", "quota=raised", f"--namespace={namespace}")
    wait_until(
        "the second worker once there is room",
        release.joined,
        lambda names: len(names) == 2,
        timeout=READY_TIMEOUT_SECONDS,
    )


def add_quota(api: client.ApiClient, namespace: str, memory: str) -> None:
    """A quota `team` of requested memory, once it counts."""
    core = client.CoreV1Api(api)
    spec = client.V1ResourceQuotaSpec(hard={"requests.memory": memory})
    quota = client.V1ResourceQuota(metadata=client.V1ObjectMeta(name="team"), spec=spec)
    core.create_namespaced_resource_quota(namespace, quota)
    wait_until(
        "a quota that counts",
        lambda: core.read_namespaced_resource_quota("team", namespace).status,
        lambda status: status.used is not None,
        timeout=READY_TIMEOUT_SECONDS,
    )


def failed_to_create(api: client.ApiClient, namespace: str) -> list[str]:
    """What the events say of pods that could not be created."""
    events = client.CoreV1Api(api).list_namespaced_event(
        namespace, field_selector="reason=FailedCreate"
    )
    return [event.message for event in events.items]


def conditions(api: client.ApiClient, release: Release) -> dict[str, Any]:
    """The conditions of the workers' Deployment by type."""
    apps = client.AppsV1Api(api)
    found = apps.read_namespaced_deployment(release.worker_name(), release.namespace)
    return {condition.type: condition for condition in found.status.conditions or []}


@pytest.mark.scenario("tenant.shared")
@pytest.mark.needs(cpu=200, memory=3072)
def test_job_of_a_user_runs_in_the_users_own_group(install: Callable[..., Release]) -> None:
    """As examples/tenants/shared.yaml says, with workers of one machine's size."""
    values = yaml.safe_load(SHARED.read_text())
    one = {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}}
    groups = {user: values["workerGroups"][user] | one for user in ("alice", "bob")}
    release = install(small() | {"workerGroups": {"default": None, **groups}})
    release.wait_for_workers()
    for user in groups:
        with release.dashboard() as dashboard:
            log = ray_api.wait(
                dashboard, ray_api.submit(dashboard, BOUND, user, resources={user: 1})
            )
        pods = last_json(log)
        own = release.worker_name(user)
        assert all(pod.startswith(own) for pod in (pods["script"], *pods["tasks"])), (user, pods)


@pytest.mark.slow  # what enforces the policies is a build of its own
@pytest.mark.scenario("tenant.neighbours")
@pytest.mark.needs(alone=True, cpu=600, memory=7 * 1024)
def test_hostile_neighbour_gets_nothing_of_the_other_tenants(
    enforcer: Cluster,
    api: client.ApiClient,
    namespace: str,
    install: Callable[..., Release],
    tmp_path: Path,
) -> None:
    """Alice and Bob have a release `ray` each, a quota, and a user of one Redis.

    Bob runs code in his own pods, with his own token and password.
    """
    core = client.CoreV1Api(api)
    with (
        clusters.namespace(enforcer, "e2e-platform") as platform,
        clusters.namespace(enforcer, "e2e-bob") as bobs,
    ):
        redis.add_password(api, platform)
        redis.start(enforcer, platform, lasting=False)
        tenants = []
        for where, memory in ((namespace, ROOM_FOR_TWO), (bobs, ROOM_FOR_ONE)):
            add_quota(api, where, memory)
            redis.add_password(api, where, where)
            user = documented_user().replace("team-a", where).replace("PASSWORD", where)
            assert redis.command(enforcer, platform, *user.split()) == ["OK"]
            tenants.append(install(neighbour(where, platform), namespace=where))
        alice, bob = tenants
        for tenant in tenants:
            tenant.wait_for_workers()
        prefix = f"RAY{namespace}.ray-ray-cluster@"

        # A password opens the keys of its own tenant alone.
        assert as_user(enforcer, platform, namespace, "HLEN", f"{prefix}KV").isdigit()
        for command in (["HGETALL", f"{prefix}KV"], ["DEL", f"{prefix}KV"], ["FLUSHALL"]):
            assert "NOPERM" in as_user(enforcer, platform, bobs, *command)

        # A token opens no other cluster.
        with (
            alice.dashboard() as dashboard,
            pytest.raises(urllib.error.HTTPError, match="403"),
        ):
            ray_api.submit(Dashboard(dashboard.url, bob.token), WHERE)

        # Nor is there a way to its ports, its metrics among them.
        (head,) = (pod.status.pod_ip for pod in alice.pods("head"))
        doors = {f"{head}:{port}" for port in (6380, 8080, 8265, 10001)}
        (at_bobs,) = bob.pod_names("worker")
        assert pods.answering(enforcer, bobs, at_bobs, doors) == doors
        with network_policies.enforced(enforcer, namespace, tmp_path / "verdicts.log"):
            wait_until(
                "a neighbour whom nothing answers",
                lambda: pods.answering(enforcer, bobs, at_bobs, doors),
                lambda seen: not seen,
                timeout=30,
            )
            # Alice's load is hers.
            ran_on = ask_for_two(alice, wait=True)
        assert len(ran_on) == 2
        assert bob.pod_names("worker") == {at_bobs}
        assert bob.autoscaler().spec.min_replicas == 1

        # Bob's is refused by his quota, and takes nothing of hers, which has room.
        used = core.read_namespaced_resource_quota("team", namespace).status.used
        ask_for_two(bob, wait=False)
        wait_until(
            "a worker that Bob's quota refuses",
            lambda: failed_to_create(api, bobs),
            lambda messages: any("exceeded quota: team" in message for message in messages),
            timeout=READY_TIMEOUT_SECONDS,
        )
        assert bob.pod_names("worker") == {at_bobs}
        assert core.read_namespaced_resource_quota("team", namespace).status.used == used
        assert not failed_to_create(api, namespace)
        bob.uninstall()
        left = redis.command(enforcer, platform, "KEYS", "*")
        assert {key.partition("@")[0] for key in left} == {prefix.removesuffix("@")}
        alice.uninstall()


def neighbour(user: str, platform: str) -> dict[str, Any]:
    """The values of a tenant with a user of the Redis in the namespace `platform`."""
    autoscaling = {"maxReplicas": 2, "demand": {"enabled": True, "quietSeconds": 600}}
    address = f"redis.{platform}.svc.cluster.local:6379"
    return small(autoscaling=autoscaling) | redis.fault_tolerance(address=address, username=user)


def documented_user() -> str:
    """The command that makes a tenant's user of a Redis, as docs/tenants.md has it for team-a."""
    (command,) = re.findall(r"ACL SETUSER team-a .*", DOCUMENTED.read_text())
    return str(command).replace("'", "")


def as_user(cluster: Cluster, namespace: str, user: str, *command: str) -> str:
    """What the Redis answers to a user whose password is as the name."""
    return " ".join(redis.command(cluster, namespace, "--user", user, "--pass", user, *command))


def ask_for_two(release: Release, *, wait: bool) -> set[str]:
    """Submit a job that needs two workers; the pods that it ran in, where that is waited for."""
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "asks.py", "2")
        return set(last_json(ray_api.wait(dashboard, job))) if wait else set()


@pytest.fixture
def admin(testbed: Cluster, api: client.ApiClient, namespace: str, tmp_path: Path) -> Path:
    """The kubeconfig of an account that is bound to the ClusterRole `admin` in the namespace."""
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": ADMIN}})
    client.RbacAuthorizationV1Api(api).create_namespaced_role_binding(
        namespace,
        {
            "metadata": {"name": ADMIN},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "admin",
            },
            "subjects": [{"kind": "ServiceAccount", "name": ADMIN, "namespace": namespace}],
        },
    )
    request = client.V1TokenRequestSpec(audiences=[])
    token = core.create_namespaced_service_account_token(
        ADMIN, namespace, client.AuthenticationV1TokenRequest(spec=request)
    )
    kubeconfig = yaml.safe_load(testbed.kubeconfig.read_text())
    for user in kubeconfig["users"]:
        user["user"] = {"token": token.status.token}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig))
    return file


@pytest.mark.scenario("tenant.namespace-admin")
@pytest.mark.needs(cpu=220, memory=3200)
@pytest.mark.parametrize("program", ["helm", pytest.param("helm3", marks=pytest.mark.slow)])
def test_admin_of_a_namespace_does_all_of_a_release_with_what_is_documented(
    own_cluster: Cluster, namespace: str, admin: Path, install: Callable[..., Release], program: str
) -> None:
    """The API server tells what was asked of it, and the documents are held to that."""
    values = yaml.safe_load(REDIS.read_text()) | small()
    values |= {
        "serviceAccount": {"create": True},
        "dashboard": {"ingress": {"enabled": True, "hosts": [{"host": "ray.test"}]}},
    }
    values["head"] |= {"persistence": {"enabled": True, "size": "100Mi"}}
    release = install(values, kubeconfig=admin, program=program)
    release.wait_for_workers()
    install(
        values | {"commonLabels": {"example.com/upgrade": "1"}}, kubeconfig=admin, program=program
    )
    release.wait_for_workers()
    run([tool(program), "test", release.name, f"--namespace={namespace}", f"--kubeconfig={admin}"])
    release.uninstall()
    assert used(own_cluster, namespace) == documented(program)
    quota = {"resourceQuota": {"enabled": True, "hard": {"services": 9}}}
    with pytest.raises(pyhelm3.errors.Error) as refused:
        install(small() | {"tenant": quota}, kubeconfig=admin, program=program)
    verb = {"helm": "patch", "helm3": "create"}[program]
    assert f'cannot {verb} resource "resourcequotas"' in str(refused.value.stderr)
    # Helm 3 leaves a release behind that only somebody who may delete quotas can uninstall.
    replace(release, helm=helm.client(own_cluster.kubeconfig, helm=program)).uninstall()


def used(cluster: Cluster, namespace: str) -> dict[str, set[str]]:
    """The permissions that the admin has used successfully: verbs by resource."""
    log = run(["docker", "exec", str(cluster.node), "cat", "/kind/audit/log"])
    name = f"system:serviceaccount:{namespace}:{ADMIN}"
    verbs: dict[str, set[str]] = defaultdict(set)
    for event in map(json.loads, log.splitlines()):
        asked = event.get("objectRef", {})
        if event["user"]["username"] != name or "resource" not in asked:
            continue
        if event["annotations"]["authorization.k8s.io/decision"] == "allow":
            parts = (asked["resource"], asked.get("apiGroup"))
            resource = ".".join(part for part in parts if part)
            path = "/".join(part for part in (resource, asked.get("subresource")) if part)
            verbs[path].add(event["verb"])
    return dict(verbs)


def documented(program: str) -> dict[str, set[str]]:
    """The same as docs/tenants.md has it."""
    section = DOCUMENTED.read_text().partition("## What an admin of a namespace may do")[2]
    table = section.partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9./]+)` \|([a-z, ]+)\|([a-z, ]+)\|", table, re.MULTILINE)
    verbs = {row[0]: row[1 if program == "helm" else 2].strip() for row in rows}
    return {resource: set(asked.split(", ")) for resource, asked in verbs.items() if asked}
