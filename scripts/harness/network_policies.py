"""NetworkPolicies in the tests' cluster: enforced, and held against what it is seen to do.

The node's own network enforces nothing. `enforced` does, for one namespace and for as long as a
test wants it, by a program that is built when it is first asked for; `recorded` lists connections,
and `objection` says whether policies allow one.
"""

import ipaddress
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import gobuild
from harness.cluster import Cluster
from harness.console import together
from harness.process import run

Object = dict[str, Any]

_MODULE = "network-policies"


@dataclass(frozen=True)
class Peer:
    """One end of a connection; an address without a namespace is not a pod's."""

    address: str
    namespace: str = ""
    labels: Object = field(default_factory=dict, hash=False)
    namespace_labels: Object = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Connection:
    """Addresses and the port at which it arrives, behind the Service that it may go through."""

    protocol: str
    source: str
    target: str
    port: int


def build() -> Path:
    """Make the program that enforces unless it is there; the first time takes a minute."""
    together(*gobuild.lanes(_MODULE))
    return gobuild.build(_MODULE) / _MODULE


@contextmanager
def enforced(cluster: Cluster, namespace: str, log: Path) -> Iterator[None]:
    """Have the policies of `namespace` enforced in `cluster`, which is the harness's own.

    It begins a moment later. Pods of other namespaces notice nothing but that they do not get into
    this one. `log` is a file for what the program says of each connection.
    """
    node = str(cluster.node)
    program = f"/kind/{_MODULE}-{gobuild.key(_MODULE)}"
    run(["docker", "cp", build(), f"{node}:{program}"])
    queue = 1000 + secrets.randbelow(30000)
    arguments = [f"--namespace={namespace}", f"--node={node}", f"--queue={queue}", "--v=2"]
    # The program's own rules are nftables', whose `queue` not every kernel has. Where nobody judges
    # them, packets pass.
    rule = f"FORWARD -m conntrack --ctstate NEW -j NFQUEUE --queue-num {queue} --queue-bypass"
    script = f"iptables -I {rule} && {shlex.join([program, *arguments])}; iptables -D {rule}"
    with _on_node(node, ["sh", "-c", script], log):
        yield


@contextmanager
def recorded(cluster: Cluster, log: Path) -> Iterator[None]:
    """Write the connections that are made in `cluster` meanwhile to `log`; `connections` reads."""
    # Its buffer is large, since what the kernel cannot tell it is lost.
    events = "conntrack -E -e NEW --buffer-size 8388608 & cat; kill $!"
    with _on_node(str(cluster.node), ["sh", "-c", events], log):
        yield


@contextmanager
def _on_node(node: str, command: list[str], log: Path) -> Iterator[None]:
    """Run a command on the node that ends with its standard input, as it does with this process."""
    with (
        log.open("w") as output,
        subprocess.Popen(
            ["docker", "exec", "--interactive", node, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        assert process.stdin is not None
        try:
            yield
            assert process.poll() is None, f"{command[0]} has ended: {log.read_text()[-2000:]}"
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def connections(log: Path) -> set[Connection]:
    """What `recorded` has written so far; what is neither TCP nor UDP does not count."""
    # The second pair of addresses is of the way back, and comes from who was reached in the end.
    pair = r"src=(\S+) dst=\S+ sport=\d+ dport=\d+"
    way_back = r"src=(\S+) dst=\S+ sport=(\d+)"
    found = re.findall(rf"\[NEW\] +(tcp|udp) .*?{pair}.*?{way_back}", log.read_text())
    return {
        Connection(protocol.upper(), source, target, int(port))
        for protocol, source, target, port in found
    }


def objection(
    policies: list[Object], connection: Connection, source: Peer, target: Peer
) -> str | None:
    """Why `policies` do not allow a connection, or None if they do.

    Raises NotImplementedError for what this does not know.
    """
    for direction, own, other, peers in (
        ("Egress", source, target, "to"),
        ("Ingress", target, source, "from"),
    ):
        concerned = [policy["spec"] for policy in policies if _concerns(policy, own, direction)]
        rules = [rule for spec in concerned for rule in spec.get(direction.lower()) or []]
        if concerned and not any(_allows(rule, peers, connection, own, other) for rule in rules):
            return f"{direction} of {own.namespace or own.address}"
    return None


def _concerns(policy: Object, peer: Peer, direction: str) -> bool:
    spec = policy["spec"]
    _know(spec, "podSelector", "policyTypes", "ingress", "egress")
    return (
        policy["metadata"]["namespace"] == peer.namespace
        and direction in spec["policyTypes"]
        and _matches(spec["podSelector"], peer.labels)
    )


def _allows(rule: Object, peers: str, connection: Connection, own: Peer, other: Peer) -> bool:
    _know(rule, peers, "ports")
    ports, listed = rule.get("ports") or [], rule.get(peers) or []
    return (not ports or any(_is_port(port, connection) for port in ports)) and (
        not listed or any(_is_peer(peer, own, other) for peer in listed)
    )


def _is_port(port: Object, connection: Connection) -> bool:
    _know(port, "protocol", "port")
    if not isinstance(port["port"], int):
        raise NotImplementedError(f"a port by its name: {port}")
    return (port.get("protocol", "TCP"), port["port"]) == (connection.protocol, connection.port)


def _is_peer(peer: Object, own: Peer, other: Peer) -> bool:
    _know(peer, "ipBlock", "podSelector", "namespaceSelector")
    if block := peer.get("ipBlock"):
        _know(block, "cidr")
        return ipaddress.ip_address(other.address) in ipaddress.ip_network(block["cidr"])
    if not other.namespace:
        return False
    if "namespaceSelector" not in peer and other.namespace != own.namespace:
        return False
    return _matches(peer.get("namespaceSelector", {}), other.namespace_labels) and _matches(
        peer.get("podSelector", {}), other.labels
    )


def _matches(selector: Object, labels: Object) -> bool:
    _know(selector, "matchLabels")
    wanted: Object = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items()


def _know(part: Object, *fields: str) -> None:
    if unknown := set(part) - set(fields):
        raise NotImplementedError(f"fields of a policy: {', '.join(sorted(unknown))}")
