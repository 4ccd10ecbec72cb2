"""Workers join the head, also where no DNS server knows the outside world."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from kubernetes import client, utils

from harness.cluster import Cluster
from harness.paths import PACKAGE

from . import pods
from .release import Release, last_json, small

WORD_COUNT = PACKAGE / "jobs" / "word_count.py"
DNS_PORT = 5353


@pytest.mark.scenario("join.workers")
@pytest.mark.parametrize("program", ["helm", "helm3"])
def test_workers_join_and_do_the_work(install: Callable[..., Release], program: str) -> None:
    """Two groups' workers are in Ray's node table under their pods' names and share a real job."""
    values = small(autoscaling={"enabled": False})
    values["workerGroups"] = {"default": {"replicas": 2}, "other": {}}

    release = install(values, program=program)
    nodes = release.wait_for_workers()

    workers = release.pod_names("worker")
    joined = {node["node_name"] for node in nodes if not node["is_head_node"]}
    assert len(workers) == 3
    assert joined == workers
    result = last_json(release.run_job(WORD_COUNT))
    assert result["words"] == result["words_single_process"] > 1_000_000
    assert result["equal"], f"the workers counted other words: {result}"
    assert set(result["tasks_per_node"]) == workers


@dataclass(frozen=True)
class CoreDNS:
    """The DNS server of the cluster under test."""

    image: str
    address: str


@pytest.fixture
def coredns(api: client.ApiClient) -> CoreDNS:
    """Skips the test where the cluster's DNS server is another, or is called otherwise."""
    try:
        service = client.CoreV1Api(api).read_namespaced_service("kube-dns", "kube-system")
        deployment = client.AppsV1Api(api).read_namespaced_deployment("coredns", "kube-system")
    except client.ApiException as error:
        if error.status not in (403, 404):
            raise
        pytest.skip("the cluster shows no Service kube-dns and Deployment coredns in kube-system")
    image = deployment.spec.template.spec.containers[0].image
    return CoreDNS(image, service.spec.cluster_ip)


@pytest.mark.scenario("join.no-upstream-dns")
def test_workers_join_while_upstream_dns_is_silent(
    install: Callable[..., Release],
    testbed: Cluster,
    namespace: str,
    api: client.ApiClient,
    coredns: CoreDNS,
) -> None:
    """Workers never ask a DNS server beyond the cluster's, so one that is mute cannot delay them.

    With a short name for the head, Ray's resolver does ask it, for minutes.
    """
    pods.start(api, namespace, "upstream", pods.ray_container(_SILENT_DNS))
    upstream = pods.wait_ready(api, testbed, namespace, "upstream")
    resolver = _run_resolver(api, testbed, namespace, upstream, coredns)
    dns = {
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": [resolver],
            "searches": [f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"],
            "options": [{"name": "ndots", "value": "5"}],  # as the kubelet writes it
        },
    }
    values = small(autoscaling={"enabled": False}, **dns)
    values["head"] |= dns

    release = install(values)
    nodes = release.wait_for_workers()

    assert sum(not node["is_head_node"] for node in nodes) == 1
    # The way to the mute server works, or it would prove nothing that nobody asked it.
    (worker,) = release.pod_names("worker")
    testbed.kubectl("exec", f"--namespace={namespace}", worker, "--", "python", "-c", _LOOK_UP)
    asked = testbed.kubectl("logs", f"--namespace={namespace}", "upstream").split()
    assert "probe.example" in asked
    assert [name for name in asked if "ray-cluster" in name] == []
    assert [name for name in asked if name.endswith("ray.io")] == [], "Ray calls home"


# Answers nothing and prints the name in each query (length-prefixed labels from byte 12 on).
_SILENT_DNS = f"""
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", {DNS_PORT}))
while True:
    query, labels, at = server.recv(512), [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode())
        at += 1 + size
    print(".".join(labels), flush=True)
"""

_LOOK_UP = """
import socket
try:
    socket.getaddrinfo("probe.example", 80)
except OSError:
    pass
else:
    raise SystemExit("a name was resolved that nobody serves")
"""


def _run_resolver(
    api: client.ApiClient, testbed: Cluster, namespace: str, upstream: str, coredns: CoreDNS
) -> str:
    """A DNS server for pods: the cluster's for its own names, `upstream` for all others."""
    core = client.CoreV1Api(api)
    corefile = f"""
cluster.local:{DNS_PORT} in-addr.arpa:{DNS_PORT} {{
    forward . {coredns.address}
}}
.:{DNS_PORT} {{
    forward . {upstream}:{DNS_PORT}
}}
"""
    configmap = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "resolver"},
        "data": {"Corefile": corefile},
    }
    utils.create_from_dict(api, configmap, namespace=namespace)
    container = {
        "image": coredns.image,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    volume = {"name": "config", "configMap": {"name": "resolver"}}
    pods.start(api, namespace, "resolver", container, volumes=[volume])
    pods.wait_ready(api, testbed, namespace, "resolver")
    # resolv.conf has no room for a port: a Service brings the query from 53 to the pod.
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "resolver"},
        "spec": {
            "selector": {"app": "resolver"},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": DNS_PORT},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": DNS_PORT},
            ],
        },
    }
    utils.create_from_dict(api, service, namespace=namespace)
    return str(core.read_namespaced_service("resolver", namespace).spec.cluster_ip)
