"""Tenants: what they see at their quota, what an admin of a namespace may do, who runs where."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyhelm3
import pytest
import yaml
from kubernetes import client

from harness import ray_api
from harness.cluster import Cluster
from harness.paths import CHART, ROOT
from harness.process import run
from harness.tools import tool

from .release import JOBS, READY_TIMEOUT_SECONDS, Release, small, wait_until

WHERE = JOBS / "where.py"
BOUND = JOBS / "bound.py"
SHARED = ROOT / "examples" / "tenants" / "shared.yaml"
REDIS = CHART / "ci" / "07-redis-values.yaml"
DOCUMENTED = ROOT / "docs" / "tenants.md"
ADMIN = "installer"


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
    spec = client.V1ResourceQuotaSpec(hard={"requests.memory": "2560Mi"})
    quota = client.V1ResourceQuota(metadata=client.V1ObjectMeta(name="team"), spec=spec)
    core.create_namespaced_resource_quota(namespace, quota)
    wait_until(
        "a quota that counts",
        lambda: core.read_namespaced_resource_quota("team", namespace).status,
        lambda status: status.used is not None,
        timeout=READY_TIMEOUT_SECONDS,
    )
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
        pods = json.loads(log.splitlines()[-1])
        own = release.worker_name(user)
        assert all(pod.startswith(own) for pod in (pods["script"], *pods["tasks"])), (user, pods)


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
def test_admin_of_a_namespace_does_all_of_a_release_with_what_is_documented(
    own_cluster: Cluster, namespace: str, admin: Path, install: Callable[..., Release]
) -> None:
    """The API server tells what was asked of it, and the documents are held to that."""
    values = yaml.safe_load(REDIS.read_text()) | small()
    values |= {
        "serviceAccount": {"create": True},
        "dashboard": {"ingress": {"enabled": True, "hosts": [{"host": "ray.test"}]}},
    }
    values["head"] |= {"persistence": {"enabled": True, "size": "100Mi"}}
    release = install(values, kubeconfig=admin)
    release.wait_for_workers()
    install(values | {"commonLabels": {"example.com/upgrade": "1"}}, kubeconfig=admin)
    release.wait_for_workers()
    run([tool("helm"), "test", release.name, f"--namespace={namespace}", f"--kubeconfig={admin}"])
    release.uninstall()
    assert used(own_cluster, namespace) == documented()
    quota = {"resourceQuota": {"enabled": True, "hard": {"services": 9}}}
    with pytest.raises(pyhelm3.errors.Error) as refused:
        install(small() | {"tenant": quota}, kubeconfig=admin)
    assert 'cannot patch resource "resourcequotas"' in str(refused.value.stderr)


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


def documented() -> dict[str, set[str]]:
    """The same as docs/tenants.md has it."""
    section = DOCUMENTED.read_text().partition("## What an admin of a namespace may do")[2]
    table = section.partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9./]+)` \| ([a-z, ]+) \|", table, re.MULTILINE)
    return {resource: set(verbs.split(", ")) for resource, verbs in rows}
