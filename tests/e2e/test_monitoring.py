"""A real Prometheus finds the nodes of a real cluster, by each way there is."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, utils

from harness import helm, ray_api, state_metrics
from harness.cluster import Cluster

from . import pods, prometheus
from .prometheus import Prometheus
from .release import (
    JOBS,
    READY_TIMEOUT_SECONDS,
    SCALE_TIMEOUT_SECONDS,
    Release,
    small,
    wait_until,
)

CLAIM = "ray-prom-pvc"
# Neither where the head mounts it, nor where Ray's own file would be.
MOUNT = "/ray-targets"
FILE = {"job_name": "file", "file_sd_configs": [{"files": [f"{MOUNT}/*.json"]}]}
VOLUME = {"name": "targets", "persistentVolumeClaim": {"claimName": CLAIM}}
# What a head of old left on the claim, when all of its /tmp/ray lay there.
LEFT_BEHIND = f"""
import os, pathlib
session = pathlib.Path("{MOUNT}/session_2024-01-01_00-00-00_000000_1")
session.mkdir(mode=0o700)
(session / "big.log").write_text("x" * 1000)
os.symlink("/tmp/ray/session_2024-01-01_00-00-00_000000_1/prom_metrics_service_discovery.json",
           "{MOUNT}/prom_metrics_service_discovery.json")
"""


def watched(**monitoring: Any) -> dict[str, Any]:
    """Values of a release with one worker, and what its `monitoring` says."""
    return small(autoscaling={"enabled": False}) | {"monitoring": monitoring}


def claim(**values: Any) -> dict[str, Any]:
    """Values of a claim that a cluster with one machine can bind."""
    return {"enabled": True, "accessModes": ["ReadWriteOnce"], "size": "10Mi", **values}


def over_the_claim(
    testbed: Cluster, api: client.ApiClient, namespace: str, *jobs: dict[str, Any]
) -> Prometheus:
    """A Prometheus that mounts the claim, and may not write to it."""
    mount = {"name": "targets", "mountPath": MOUNT, "readOnly": True}
    return prometheus.start(
        testbed, api, namespace, FILE, *jobs, volumes=[VOLUME], volumeMounts=[mount]
    )


def assert_follows(watcher: Prometheus, release: Release, *jobs: str) -> None:
    """What `jobs` find is what is there: at first, with one more worker, and with another head."""
    watcher.wait_for_all_of(release, *jobs)
    release.cluster.kubectl(
        "scale", f"--namespace={release.namespace}", f"deployment/{release.worker_name()}",
        f"--replicas={len(release.pods('worker')) + 1}",
    )  # fmt: skip
    release.wait_for_workers()
    watcher.wait_for_all_of(release, *jobs)
    (head,) = release.pod_names("head")
    release.cluster.kubectl("delete", "pod", head, f"--namespace={release.namespace}")
    release.wait_for_workers()
    watcher.wait_for_all_of(release, *jobs)
    assert watcher.restarts() == 0


def assert_told_apart(watcher: Prometheus, release: Release, *jobs: str) -> None:
    """What `jobs` scrape says which cluster it is of."""
    wanted = {(release.namespace, f"{release.name}-ray-cluster")}
    for job in jobs:
        labels = [target["labels"] for target in watcher.of(job)]
        found = {(each.get("namespace"), each.get("ray_io_cluster")) for each in labels}
        assert found == wanted, f"{job}: {found}"


@pytest.mark.scenario("monitoring.pvc")
@pytest.mark.scenario("monitoring.http-sd")
def test_prometheus_finds_nodes_through_a_claim_and_by_http(
    install: Callable[..., Release], testbed: Cluster, api: client.ApiClient, namespace: str
) -> None:
    """The claim is one that held all of an old head's /tmp/ray; nothing is added but one file."""
    existing = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Mi"}},
        },
    }
    utils.create_from_dict(api, existing, namespace=namespace)
    mount = [{"name": "targets", "mountPath": MOUNT}]
    container = pods.ray_container(LEFT_BEHIND) | {"volumeMounts": mount}
    pods.start(api, namespace, "old-head", container, volumes=[VOLUME])
    pods.wait_for_phase(testbed, namespace, "old-head", "Succeeded")

    release = install(watched(claim=claim(existingClaim=CLAIM)))
    http = prometheus.http_discovery(release)
    watcher = over_the_claim(testbed, api, namespace, http)

    assert_follows(watcher, release, "file", "http")
    assert_told_apart(watcher, release, "file", "http")
    listed = testbed.kubectl("exec", f"--namespace={namespace}", watcher.pod, "--", "ls", MOUNT)
    assert listed.split() == [
        "prom_metrics_service_discovery.json",
        "session_2024-01-01_00-00-00_000000_1",
    ]


@pytest.mark.slow  # the image of the old Ray has to be made first
@pytest.mark.scenario("monitoring.pvc-old-ray")
def test_prometheus_finds_nodes_of_an_old_ray_through_a_claim(
    old_ray: str,
    install: Callable[..., Release],
    testbed: Cluster,
    api: client.ApiClient,
    namespace: str,
) -> None:
    """The claim is the chart's own, under the name that Prometheus knows."""
    release = install(watched(claim=claim(name=CLAIM)) | {"image": {"tag": old_ray}})
    assert_follows(over_the_claim(testbed, api, namespace), release, "file")


@pytest.mark.slow  # building the operator and its Prometheus takes minutes
@pytest.mark.scenario("monitoring.monitors")
@pytest.mark.usefixtures("monitors")
def test_operator_finds_nodes_by_a_pod_monitor_and_by_a_service_monitor(
    install: Callable[..., Release], testbed: Cluster, namespace: str
) -> None:
    """One Prometheus, configured by the operator alone, for both; it evaluates the alerts, too."""
    watcher = prometheus.operated(testbed, namespace)
    for kind in ("podMonitor", "serviceMonitor"):
        release = install(watched(**{kind: {"enabled": True}, "rules": {"enabled": True}}))
        assert release.token, "the nodes are to be found where a token is asked for"
        assert_follows(watcher, release, kind)
        assert_told_apart(watcher, release, kind)
        wait_until(
            "Prometheus to evaluate each alert",
            lambda: evaluated(watcher),
            lambda seen: seen == dict.fromkeys(ALERTS, "ok"),
            timeout=READY_TIMEOUT_SECONDS,
        )
        release.uninstall()
        release.wait_until_gone("head", "worker")


# --- alerts ----------------------------------------------------------------------------------

DEPLOYMENT = "kube_deployment_{}{{namespace='ray', deployment='ray-ray-cluster-{}'}}"
HPA = "kube_horizontalpodautoscaler_{}{{namespace='ray', horizontalpodautoscaler='{}'}}"
RAY = "ray_{}{{namespace='ray', ray_io_cluster='ray-ray-cluster', {}}}"
QUOTA = "kube_resourcequota{{namespace='ray', resource='requests.cpu', type='{}'}}"
GROUP = "ray-ray-cluster-worker-default"
POD = "namespace='ray', pod='ray-ray-cluster-head-a-b', container='ray-head'"
Series = dict[str, float | str]

# Of each alert: after how many minutes it fires, what makes it fire, and what is nearly the same
# but all right.
ALERTS: dict[str, tuple[int, Series, Series]] = {
    "RayHeadDown": (
        5,
        {
            DEPLOYMENT.format("status_replicas_available", "head"): 0,
            DEPLOYMENT.format("spec_replicas", "head"): 1,
        },
        {
            DEPLOYMENT.format("status_replicas_available", "head"): 0,
            DEPLOYMENT.format("spec_replicas", "head"): 0,  # suspended
        },
    ),
    "RayGCSUnreachable": (
        5,
        {RAY.format("node_mem_used", "RayNodeType='worker'"): 1},
        {
            RAY.format("node_mem_used", "RayNodeType='worker'"): 1,
            RAY.format("gcs_actors_count", "State='Created'"): 0,
        },
    ),
    "RayWorkersMissing": (
        15,
        {
            DEPLOYMENT.format("status_replicas_available", "worker-default"): 1,
            DEPLOYMENT.format("spec_replicas", "worker-default"): 2,
        },
        {
            # Of another release in the namespace.
            DEPLOYMENT.format("status_replicas_available", "b-worker-default"): 1,
            DEPLOYMENT.format("spec_replicas", "b-worker-default"): 2,
        },
    ),
    "RayAutoscalerAtMaximum": (
        30,
        {
            HPA.format("status_desired_replicas", GROUP): 2,
            HPA.format("spec_max_replicas", GROUP): 2,
            HPA.format("spec_min_replicas", GROUP): 1,
        },
        {
            HPA.format("status_desired_replicas", GROUP): 2,
            HPA.format("spec_max_replicas", GROUP): 2,
            HPA.format("spec_min_replicas", GROUP): 2,  # which is no maximum to speak of
        },
    ),
    "RayTasksNotPlaced": (
        15,
        {RAY.format("tasks", "State='PENDING_NODE_ASSIGNMENT'"): 3},
        {
            RAY.format("tasks", "State='PENDING_NODE_ASSIGNMENT'"): 3,
            RAY.format("tasks", "State='RUNNING'"): 1,
        },
    ),
    "RayObjectStoreFull": (
        10,
        {
            RAY.format("object_store_used_memory", "ip='1'"): 90,
            RAY.format("object_store_available_memory", "ip='1'"): 10,
        },
        {
            RAY.format("object_store_used_memory", "ip='1'"): 89,
            RAY.format("object_store_available_memory", "ip='1'"): 11,
        },
    ),
    "RayObjectStoreSpilling": (
        10,
        {RAY.format("object_store_memory", "Location='SPILLED'"): 1},
        {
            RAY.format("object_store_memory", "Location='SPILLED'"): 0,
            RAY.format("object_store_memory", "Location='MMAP_SHM'"): 1,
        },
    ),
    "RayWorkerOutOfMemory": (
        0,
        {RAY.format("memory_manager_worker_eviction_total", "Name='f'"): "_x19 1"},
        {RAY.format("memory_manager_worker_eviction_total", "Name='f'"): "1x20"},
    ),
    "RayContainerOutOfMemory": (
        0,
        {
            f"kube_pod_container_status_restarts_total{{{POD}}}": "0x15 1x5",
            f"kube_pod_container_status_last_terminated_reason{{{POD}, reason='OOMKilled'}}": 1,
        },
        {
            f"kube_pod_container_status_restarts_total{{{POD}}}": "0x15 1x5",
            f"kube_pod_container_status_last_terminated_reason{{{POD}, reason='Error'}}": 1,
        },
    ),
    "RayQuotaNearlyUsed": (
        15,
        {QUOTA.format("used"): 9, QUOTA.format("hard"): 10},
        {QUOTA.format("used"): 0, QUOTA.format("hard"): 0},  # none of it may be used
    ),
}
# What happens once has happened between these minutes.
_BEFORE, _AFTER = 14, 20


def unit_test(alert: str, series: Series, minute: int, *, fires: bool) -> dict[str, Any]:
    """What promtool runs: whether `alert`, and no other, fires at `minute`."""
    sample = {"labels": f'{{alertname="{alert}"}}', "value": 1}
    return {
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values if isinstance(values, str) else f"{values}x60"}
            for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [sample] if fires else [],
            }
        ],
    }


def evaluated(watcher: Prometheus) -> dict[str, str]:
    """How the evaluation of each of its alerts goes: ok, unknown (not yet) or why not."""
    found = [rule for group in watcher.api("rules")["groups"] for rule in group["rules"]]
    return {rule["name"]: rule.get("lastError") or rule["health"] for rule in found}


@pytest.mark.scenario("monitoring.rules")
@pytest.mark.needs(cpu=20, memory=64)
def test_alerts_fire_when_they_should_and_only_then(
    testbed: Cluster, api: client.ApiClient, namespace: str
) -> None:
    """Each fires in time and alone, not a minute before, and not for what is all right."""
    objects = helm.template({"monitoring": {"rules": {"enabled": True}}})
    (rules,) = (obj["spec"] for obj in objects if obj["kind"] == "PrometheusRule")
    watcher = prometheus.start(testbed, api, namespace, rules=rules)
    assert evaluated(watcher).keys() == ALERTS.keys()

    tests = []
    for alert, (minutes, wrong, right) in ALERTS.items():
        early, late = (minutes - 1, minutes) if minutes else (_BEFORE, _AFTER)
        tests.append(unit_test(alert, wrong, early, fires=False))
        tests.append(unit_test(alert, wrong, late, fires=True))
        tests.append(unit_test(alert, right, late, fires=False))
    watcher.check_rules({"evaluation_interval": "1m", "tests": tests})


# --- dashboards ------------------------------------------------------------------------------


@pytest.fixture
def all_metrics(
    testbed: Cluster, api: client.ApiClient, namespace: str
) -> Iterator[Callable[..., Prometheus]]:
    """Start a Prometheus that also scrapes kube-state-metrics and the kubelet's cAdvisor."""
    name = f"{namespace}-kubelet"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    for made in (role, binding):
        utils.create_from_dict(api, made)
    nodes = client.CoreV1Api(api).list_node().items
    kubelets = [
        f"{address.address}:10250"
        for node in nodes
        for address in node.status.addresses
        if address.type == "InternalIP"
    ]
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    cadvisor = {
        "job_name": "cadvisor",
        "scheme": "https",
        "metrics_path": "/metrics/cadvisor",
        "tls_config": {"insecure_skip_verify": True},
        "authorization": {"credentials_file": f"{account}/token"},
        "static_configs": [{"targets": kubelets}],
    }
    objects = {
        "job_name": "objects",
        "honor_labels": True,
        "static_configs": [{"targets": [state_metrics.ADDRESS]}],
    }
    yield lambda *jobs: prometheus.start(testbed, api, namespace, cadvisor, objects, *jobs)
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.delete_cluster_role_binding(name)
    rbac.delete_cluster_role(name)


def queries(dashboard: dict[str, Any], namespace: str, cluster: str) -> Iterator[tuple[str, str]]:
    """What a dashboard asks Prometheus for, with its title, as Grafana would for this cluster."""
    asked = [
        (variable["name"], re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["query"]))
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    for panel in dashboard["panels"]:
        asked += [(panel["title"], target["expr"]) for target in panel["targets"]]
    for title, query in asked:
        yield title, query.replace("$namespace", namespace).replace("$cluster", cluster)


@pytest.mark.slow  # building kube-state-metrics takes minutes
@pytest.mark.scenario("monitoring.dashboards")
@pytest.mark.usefixtures("metrics", "state_metrics")
def test_every_query_of_the_dashboards_has_an_answer(
    install: Callable[..., Release],
    namespace: str,
    all_metrics: Callable[..., Prometheus],
) -> None:
    """Of a cluster with an autoscaler, a quota, and a job that waits for more workers."""
    quota = {"enabled": True, "hard": {"requests.cpu": "2", "requests.memory": "16Gi"}}
    values = small(autoscaling={"maxReplicas": 2}) | {
        "monitoring": {"dashboards": {"enabled": True}},
        "tenant": {"resourceQuota": quota},
    }
    release = install(values)
    http = prometheus.http_discovery(release)
    watcher = all_metrics(http)
    with release.dashboard() as dashboard:
        ray_api.submit(dashboard, JOBS / "watched.py")
        dashboards = client.CoreV1Api(release.api).read_namespaced_config_map(
            f"{release.name}-ray-cluster-dashboards", namespace
        )
        asked = {
            (file, title, query)
            for file, text in dashboards.data.items()
            for title, query in queries(json.loads(text), namespace, f"{release.name}-ray-cluster")
        }
        wait_until(
            "every query to have an answer",
            lambda: [ask for ask in sorted(asked) if not watcher.query(ask[2])],
            lambda silent: not silent,
            timeout=SCALE_TIMEOUT_SECONDS,
        )
