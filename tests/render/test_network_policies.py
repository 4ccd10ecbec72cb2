"""NetworkPolicies: who gets in and what gets out, by what the values say."""

from typing import Any

import pytest

from harness import network_policies
from harness.helm import template
from harness.network_policies import Connection, Peer

from .leaves import merged
from .objects import Object, find, inventory, pod_templates, refusal

RELEASE = {"app.kubernetes.io/name": "ray-cluster", "app.kubernetes.io/instance": "ray"}
HEAD = {**RELEASE, "app.kubernetes.io/component": "head"}
ELSEWHERE: Object = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}
REDIS_PEER: Object = {"podSelector": {"matchLabels": {"app": "redis"}}}
REDIS: Object = {
    "gcsFaultTolerance": {"mode": "redis", "redis": {"address": "rediss://redis.example.org:6390"}}
}
CLOSED: Object = {"networkPolicy": {"egress": {"restricted": True, "redis": [REDIS_PEER]}}}
# What each list lets its peers reach: ports, and on whom.
ADMISSIONS = {
    "dashboard": ([8265], HEAD),
    "client": ([10001], HEAD),
    "metrics": ([44217, 44227, 8080], RELEASE),
}

HEAD_POD = Peer("10.0.0.1", "ray", {**HEAD, "pod-template-hash": "a"})
WORKER_POD = Peer("10.0.0.2", "ray", {**RELEASE, "app.kubernetes.io/component": "worker"})
STRANGER = Peer("10.0.0.3", "other", {}, {"kubernetes.io/metadata.name": "other"})
NEIGHBOUR = Peer("10.0.0.4", "ray", {**HEAD, "app.kubernetes.io/instance": "ray-2"})
DNS_POD = Peer("10.0.0.5", "kube-system", {}, {"kubernetes.io/metadata.name": "kube-system"})
REDIS_POD = Peer("10.0.0.6", "ray", {"app": "redis"})
OUTSIDE = Peer("203.0.113.1")


def policies(values: Object, **options: Any) -> dict[str, Object]:
    """The specs of the NetworkPolicies, by what their names end with."""
    return {
        obj["metadata"]["name"].rpartition("ray-cluster-")[2]: obj["spec"]
        for obj in template(values, **options)
        if obj["kind"] == "NetworkPolicy"
    }


def allowed(values: Object, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a release `ray` in the namespace `ray` lets a connection pass."""
    rendered = [o for o in template(values, namespace="ray") if o["kind"] == "NetworkPolicy"]
    connection = Connection(protocol, source.address, target.address, port)
    return network_policies.objection(rendered, connection, source, target) is None


def test_pods_of_a_release_reach_each_other_on_every_port() -> None:
    (rule,) = policies({})["network"]["ingress"]
    assert rule == {"from": [{"podSelector": {"matchLabels": RELEASE}}]}


def test_policy_is_about_every_pod_of_the_release() -> None:
    selector = policies({})["network"]["podSelector"]["matchLabels"]
    for title, pod in pod_templates(template(merged(REDIS, CLOSED))):
        assert selector.items() <= pod["metadata"]["labels"].items(), title


def test_policies_can_be_switched_off() -> None:
    everybody = {topic: {"from": [ELSEWHERE]} for topic in ADMISSIONS}
    closed: Object = {"enabled": False, **everybody}
    assert not policies({"networkPolicy": closed, "serve": {"enabled": True}})


@pytest.mark.parametrize("topic", ADMISSIONS)
def test_peers_in_a_list_reach_its_ports_and_no_other(topic: str) -> None:
    ports, selector = ADMISSIONS[topic]
    rendered = policies({"networkPolicy": {topic: {"from": [ELSEWHERE]}}})
    assert rendered.keys() == {"network", f"network-{topic}"}
    assert rendered[f"network-{topic}"] == {
        "podSelector": {"matchLabels": selector},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [ELSEWHERE], "ports": [{"protocol": "TCP", "port": port} for port in ports]}
        ],
    }


def test_requests_for_ray_serve_reach_the_nodes_that_receive_them() -> None:
    values: Object = {"networkPolicy": {"serve": {"from": [ELSEWHERE]}}, "serve": {"enabled": True}}
    rendered = policies(values)["network-serve"]
    assert rendered["podSelector"]["matchLabels"] == {**RELEASE, "ray-cluster/serve": "true"}
    assert rendered["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8000}]


def test_peers_of_ray_serve_mean_nothing_without_it() -> None:
    assert policies({"networkPolicy": {"serve": {"from": [ELSEWHERE]}}}).keys() == {"network"}


def test_ports_of_the_policies_are_the_values() -> None:
    ports = {"dashboard": 8266, "client": 9998, "metrics": 9999}
    rendered = policies(
        {"ports": ports, "networkPolicy": {topic: {"from": [ELSEWHERE]} for topic in ports}}
    )
    for topic, port in ports.items():
        (rule,) = rendered[f"network-{topic}"]["ingress"]
        assert {"protocol": "TCP", "port": port} in rule["ports"]


@pytest.mark.parametrize("egress", [{"to": []}, {"dns": [], "to": [{"to": [ELSEWHERE]}]}])
def test_empty_list_of_peers_is_never_rendered(egress: Object) -> None:
    """Kubernetes would read it as everybody."""
    values: Object = merged(REDIS, CLOSED)
    values = merged(values, {"networkPolicy": {"egress": egress}})
    for name, spec in policies(values).items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("from") or rule.get("to"), name


def test_further_rules_are_rendered_as_they_are_given() -> None:
    rule = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 7777}]}
    assert rule in policies({"networkPolicy": {"extraIngress": [rule]}})["network"]["ingress"]


def test_egress_is_open_unless_it_is_restricted() -> None:
    assert not [spec for spec in policies(REDIS).values() if "Egress" in spec["policyTypes"]]


def test_restricted_egress_leads_to_dns_the_release_and_what_is_listed() -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443}]}
    values: Object = {"networkPolicy": {"egress": {"restricted": True, "to": [rule]}}}
    own, dns, listed = policies(values)["network-egress"]["egress"]
    assert own == {"to": [{"podSelector": {"matchLabels": RELEASE}}]}
    assert [(port["protocol"], port["port"]) for port in dns["ports"]] == [("UDP", 53), ("TCP", 53)]
    assert listed == rule


def test_restricted_head_alone_reaches_the_redis_on_the_port_of_its_address() -> None:
    rendered = policies(merged(REDIS, CLOSED))["network-redis"]
    assert rendered["podSelector"]["matchLabels"] == HEAD
    assert rendered["egress"] == [
        {"to": [REDIS_PEER], "ports": [{"protocol": "TCP", "port": 6390}]}
    ]


def test_restricted_cleanup_has_a_policy_of_its_own_beside_it() -> None:
    """The release's are gone before the hook begins."""
    objects = template(merged(REDIS, CLOSED))
    policy = find(objects, "NetworkPolicy", "ray-ray-cluster-redis-cleanup")
    job = find(objects, "Job", "ray-ray-cluster-redis-cleanup")
    hook, weight = "helm.sh/hook", "helm.sh/hook-weight"
    annotations, jobs = policy["metadata"]["annotations"], job["metadata"]["annotations"]
    assert annotations[hook] == jobs[hook] == "post-delete"
    assert int(annotations[weight]) < int(jobs[weight])
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert policies(merged(REDIS, CLOSED))["network-redis"]["egress"][0] in policy["spec"]["egress"]


def test_cleanup_without_restrictions_needs_no_policy() -> None:
    assert ("NetworkPolicy", "ray-ray-cluster-redis-cleanup") not in inventory(template(REDIS))


@pytest.mark.parametrize("release", ["ray", "r" * 53])
def test_policies_select_the_pods_of_one_release(release: str) -> None:
    objects = template(release=release)
    (policy,) = (obj for obj in objects if obj["kind"] == "NetworkPolicy")
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector["app.kubernetes.io/instance"] == release
    assert all(len(value) <= 63 for value in selector.values())


OPEN: Object = {"networkPolicy": {"metrics": {"from": [ELSEWHERE]}}}
RESTRICTED = merged(REDIS, CLOSED)


@pytest.mark.parametrize(
    ("values", "source", "target", "port", "verdict"),
    [
        ({}, WORKER_POD, HEAD_POD, 6380, True),
        ({}, HEAD_POD, WORKER_POD, 15000, True),
        ({}, STRANGER, HEAD_POD, 8265, False),
        ({}, OUTSIDE, HEAD_POD, 8265, False),
        ({}, NEIGHBOUR, HEAD_POD, 6380, False),
        ({}, WORKER_POD, STRANGER, 80, True),
        (OPEN, STRANGER, WORKER_POD, 8080, True),
        (OPEN, STRANGER, HEAD_POD, 8265, False),
        (RESTRICTED, WORKER_POD, HEAD_POD, 6380, True),
        (RESTRICTED, WORKER_POD, STRANGER, 80, False),
        (RESTRICTED, WORKER_POD, OUTSIDE, 443, False),
        (RESTRICTED, WORKER_POD, DNS_POD, 53, True),
        (RESTRICTED, WORKER_POD, DNS_POD, 443, False),
        (RESTRICTED, WORKER_POD, REDIS_POD, 6390, False),
        (RESTRICTED, HEAD_POD, REDIS_POD, 6390, True),
        ({"networkPolicy": {"enabled": False}}, STRANGER, HEAD_POD, 8265, True),
    ],
)
def test_connection_has_the_verdict_that_its_ends_call_for(
    values: Object, source: Peer, target: Peer, port: int, verdict: bool
) -> None:
    assert allowed(values, source, target, port) is verdict


@pytest.mark.parametrize(
    "peer", [{}, {"podselector": {}}, {"ipBlock": {"cidr": "10.0.0.0"}}, {"ipBlock": {}}], ids=str
)
def test_peer_that_kubernetes_would_refuse_is_refused_here(peer: Object) -> None:
    assert "/networkPolicy/client/from/0" in refusal(
        {"networkPolicy": {"client": {"from": [peer]}}}
    )
