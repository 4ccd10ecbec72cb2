"""The view of the node's connections and of policies: what is not understood is not passed over."""

from pathlib import Path
from typing import Any

import pytest

from harness.network_policies import Connection, Peer, connections, objection

EVENTS = """\
    [NEW] tcp      6 120 SYN_SENT src=10.244.0.8 dst=10.244.0.9 sport=45012 dport=8076 [UNREPLIED] \
src=10.244.0.9 dst=10.244.0.8 sport=8076 dport=45012
    [NEW] udp      17 30 src=10.244.0.8 dst=10.96.0.10 sport=40000 dport=53 [UNREPLIED] \
src=10.244.0.2 dst=10.244.0.8 sport=53 dport=40000
    [NEW] icmp     1 30 src=10.244.0.8 dst=10.244.0.9 type=8 code=0 id=1 [UNREPLIED] \
src=10.244.0.9 dst=10.244.0.8 type=0 code=0 id=1
"""
HEAD = Peer("10.0.0.1", "ray", {"app": "head"})
STRANGER = Peer("10.0.0.2", "other", {"app": "x"}, {"name": "other"})
CONNECTION = Connection("TCP", STRANGER.address, HEAD.address, 80)


def verdict(rule: dict[str, Any]) -> str | None:
    """What is said of the connection where a policy of the head's has this rule."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]}
    policy = {"metadata": {"namespace": "ray"}, "spec": spec}
    return objection([policy], CONNECTION, STRANGER, HEAD)


def test_connection_ends_where_a_service_leads(tmp_path: Path) -> None:
    log = tmp_path / "events"
    log.write_text(EVENTS)
    assert connections(log) == {
        Connection("TCP", "10.244.0.8", "10.244.0.9", 8076),
        Connection("UDP", "10.244.0.8", "10.244.0.2", 53),
    }


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ({}, True),
        ({"from": []}, True),  # everybody, for Kubernetes
        ({"from": [{"podSelector": {}}]}, False),  # of the policy's own namespace
        ({"from": [{"namespaceSelector": {}}]}, True),
        ({"from": [{"namespaceSelector": {"matchLabels": {"name": "other"}}}]}, True),
        (
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "y"}}}]},
            False,
        ),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.2/32"}}]}, True),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.3/32"}}]}, False),
        ({"ports": [{"port": 80}]}, True),
        ({"ports": [{"port": 80, "protocol": "UDP"}, {"port": 81}]}, False),
    ],
    ids=str,
)
def test_rule_means_what_it_means_to_kubernetes(rule: dict[str, Any], allowed: bool) -> None:
    assert (verdict(rule) is None) is allowed


@pytest.mark.parametrize(
    "rule",
    [
        {"ports": [{"port": "http"}]},
        {"ports": [{"port": 80, "endPort": 90}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": []}}]},
        {"from": [{"podSelector": {"matchExpressions": []}, "namespaceSelector": {}}]},
    ],
    ids=str,
)
def test_field_that_is_not_known_is_never_passed_over(rule: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        verdict(rule)
