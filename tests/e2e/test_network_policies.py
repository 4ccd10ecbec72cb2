"""NetworkPolicies keep others out, and nothing that Ray needs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from harness import cluster as clusters
from harness import helm, network_policies, redis
from harness.cluster import Cluster
from harness.network_policies import Peer
from harness.process import run

from . import pods
from .release import JOBS, Release, last_json, small, wait_until

GCS, CLIENT, DASHBOARD, OBJECTS, METRICS = 6380, 10001, 8265, 8076, 8080
HEAD_METRICS = (44217, 44227)  # autoscalerMetrics, dashboardMetrics
SERVER_PORT = 8000
# Where a cloud would tell a machine about itself. Ray asks, and does without an answer; closed
# egress is to keep jobs from it.
METADATA = "169.254.169.254"
SERVER = f"""
import http.server as s
s.ThreadingHTTPServer(("", {SERVER_PORT}), s.SimpleHTTPRequestHandler).serve_forever()
"""


@contextmanager
def neighbour(testbed: Cluster, api: client.ApiClient, name: str) -> Iterator[tuple[str, str]]:
    """Another namespace with a pod `probe` that serves HTTP: the namespace, the pod's address."""
    with clusters.namespace(testbed, name) as namespace:
        ready = {"tcpSocket": {"port": SERVER_PORT}, "periodSeconds": 1}
        container = pods.ray_container(SERVER) | {"readinessProbe": ready}
        pods.start(api, namespace, "probe", container)
        yield namespace, pods.wait_ready(api, testbed, namespace, "probe")


def exchange(release: Release) -> None:
    """Have the workers read each other's objects."""
    log = release.run_job(JOBS / "exchange.py")
    assert last_json(log) == {"workers": 2, "moved": 2}


def peers(api: client.ApiClient) -> dict[str, Peer]:
    """The cluster's pods by their addresses."""
    core = client.CoreV1Api(api)
    labels = {n.metadata.name: n.metadata.labels for n in core.list_namespace().items}
    return {
        pod.status.pod_ip: Peer(
            pod.status.pod_ip,
            pod.metadata.namespace,
            pod.metadata.labels or {},
            labels[pod.metadata.namespace],
        )
        for pod in core.list_pod_for_all_namespaces().items
        if pod.status.pod_ip and not pod.spec.host_network
    }


def assert_allowed(
    log: Path, policies: list[dict[str, Any]], release: Release, there: dict[str, Peer]
) -> None:
    """Every connection of the release's pods in `log` is allowed by `policies`.

    The node's own are not asked about: its kubelet's probes reach pods in any case. Neither are
    those to a Service which had nobody behind it yet, for they reached nobody.
    """
    services = client.CoreV1Api(release.api).list_service_for_all_namespaces().items
    nobody = {METADATA, *(service.spec.cluster_ip for service in services)}
    node = set(run(["docker", "exec", str(release.cluster.node), "hostname", "-I"]).split())
    own = {
        address
        for address, peer in there.items()
        if peer.labels.get("app.kubernetes.io/instance") == release.name
        and peer.namespace == release.namespace
    }
    seen: set[tuple[str, str, int]] = set()
    refused = {}
    for connection in network_policies.connections(log):
        if connection.source in node or not own & {connection.source, connection.target}:
            continue
        if connection.target in nobody:
            continue
        source, target = (
            there.get(address, Peer(address)) for address in (connection.source, connection.target)
        )
        seen.add((_title(source), _title(target), connection.port))
        if reason := network_policies.objection(policies, connection, source, target):
            refused[f"{_title(source)} to {_title(target)}:{connection.port}"] = reason
    assert not refused, f"the policies refuse what was seen: {refused}"
    expected = {
        ("worker", "worker", OBJECTS),
        ("worker", "head", GCS),
        ("head", "redis", 6379),
        ("worker", "kube-dns", 53),
        ("probe", "worker", METRICS),
    }
    assert expected <= seen, f"{expected - seen} were not among the connections seen: {seen}"


def _title(peer: Peer) -> str:
    """What people call it."""
    keys = ("app.kubernetes.io/component", "app.kubernetes.io/name", "k8s-app", "app")
    return next((peer.labels[key] for key in keys if key in peer.labels), peer.address)


@contextmanager
def without_own_pods(release: Release) -> Iterator[None]:
    """Break the policy: it lets nobody in, not even the release's own pods."""
    name = f"networkpolicy/{release.name}-ray-cluster-network"
    within = f"--namespace={release.namespace}"

    def let_in(rules: list[Any]) -> None:
        patch = json.dumps({"spec": {"ingress": rules}})
        release.cluster.kubectl("patch", within, name, "--type=merge", f"--patch={patch}")

    found = json.loads(release.cluster.kubectl("get", within, name, "--output=json"))
    let_in([])
    try:
        yield
    finally:
        let_in(found["spec"]["ingress"])


@pytest.mark.slow  # what enforces the policies is a build of its own
@pytest.mark.scenario("security.network-policies")
@pytest.mark.scenario("monitoring.network-policies")
@pytest.mark.needs(cpu=200, memory=3 * 1024)
def test_network_policies_keep_others_out_and_ray_at_work(
    enforcer: Cluster,
    api: client.ApiClient,
    namespace: str,
    install: Callable[..., Release],
    tmp_path: Path,
) -> None:
    """What a cluster without policies is seen to connect is allowed by them, and they hold.

    Two workers exchange objects, with the cluster's state in a Redis and egress closed. Strangers
    reach no port, a Prometheus the metrics alone, and a worker nothing beyond its release; an
    uninstall still removes the keys.
    """
    redis.add_password(api, namespace)
    redis.start(enforcer, namespace, lasting=False)
    values = small(replicas=2, autoscaling={"enabled": False}) | redis.fault_tolerance()
    with (
        neighbour(enforcer, api, "stranger") as (stranger, stranger_address),
        neighbour(enforcer, api, "prometheus") as (prometheus, _),
    ):
        selector = {"matchLabels": {"kubernetes.io/metadata.name": prometheus}}
        closed = values | {
            "networkPolicy": {
                "metrics": {"from": [{"namespaceSelector": selector}]},
                "egress": {
                    "restricted": True,
                    "redis": [
                        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}
                    ],
                },
            }
        }
        # Without policies.
        connections = tmp_path / "connections.log"
        with network_policies.recorded(enforcer, connections):
            release = install(values | {"networkPolicy": {"enabled": False}})
            release.wait_for_workers()
            exchange(release)
            (head,) = (pod.status.pod_ip for pod in release.pods("head"))
            workers = {pod.status.pod_ip for pod in release.pods("worker")}
            metrics = {f"{address}:{METRICS}" for address in (head, *workers)}
            metrics |= {f"{head}:{port}" for port in HEAD_METRICS}
            everything = metrics | {f"{head}:{port}" for port in (GCS, CLIENT, DASHBOARD, OBJECTS)}
            assert pods.answering(enforcer, prometheus, "probe", metrics) == metrics
        objects = helm.template(closed, namespace=namespace)
        policies = [obj for obj in objects if obj["kind"] == "NetworkPolicy"]
        assert_allowed(connections, policies, release, peers(api))
        assert pods.answering(enforcer, stranger, "probe", everything) == everything
        outside = {f"{stranger_address}:{SERVER_PORT}"}
        worker = min(release.pod_names("worker"))
        assert pods.answering(enforcer, namespace, worker, outside) == outside

        install(closed)
        with network_policies.enforced(enforcer, namespace, tmp_path / "verdicts.log"):
            wait_until(
                "a stranger whom nothing answers",
                lambda: pods.answering(enforcer, stranger, "probe", everything),
                lambda seen: not seen,
                timeout=30,
            )
            # No port with metrics is open to another namespace than the one that is let in.
            assert pods.answering(enforcer, stranger, "probe", metrics) == set()
            assert pods.answering(enforcer, prometheus, "probe", everything) == metrics
            # A worker that joins now makes all of its connections under the policies.
            replaced = min(release.pod_names("worker"))
            enforcer.kubectl("delete", "pod", f"--namespace={namespace}", replaced)
            wait_until(
                f"another worker in the place of {replaced}",
                release.joined,
                lambda names: len(names) == 2 and replaced not in names,
                timeout=90,
            )
            exchange(release)
            worker = min(release.pod_names("worker"))
            inside = {f"{release.head_service}.{namespace}.svc.cluster.local:{GCS}"}
            assert pods.answering(enforcer, namespace, worker, outside | inside) == inside

            with without_own_pods(release):
                wait_until(
                    "a worker that does not reach its head",
                    lambda: pods.answering(enforcer, namespace, worker, inside),
                    lambda seen: not seen,
                    timeout=30,
                )
            wait_until(
                "a worker that reaches its head again",
                lambda: pods.answering(enforcer, namespace, worker, inside),
                lambda seen: seen == inside,
                timeout=30,
            )
            release.uninstall()
            assert not redis.command(enforcer, namespace, "KEYS", "RAY*")
            left = enforcer.kubectl(
                "get", "networkpolicies", f"--namespace={namespace}", "--output=name"
            )
            assert not left
