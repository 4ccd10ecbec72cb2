"""Nothing leaves a sealed cluster."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kubernetes import client

from harness.cluster import Cluster
from harness.process import CommandError, run

from . import pods

PORT = 8000
# Says what went wrong, and after how many seconds.
FETCH = """
import sys, time, urllib.request
began = time.monotonic()
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).status)
except OSError as error:
    sys.exit(f"{error} after {time.monotonic() - began:.0f} s")
"""


@dataclass(frozen=True)
class Outside:
    """A web server in a network namespace of its own, one hop beyond this host."""

    url: str
    log: Path

    def asked_for(self, path: str) -> bool:
        """Whether a request for `path` arrived."""
        return f"GET /{path} " in self.log.read_text()


@pytest.fixture
def outside(own_cluster: Cluster, tmp_path: Path) -> Iterator[Outside]:
    """Stands for the rest of the world: reached through this host, as that is."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2's `ip`")
    name = f"seal-{secrets.token_hex(2)}"
    # Nobody owns these networks (RFC 5737): without the namespace, nobody would be reached. A test
    # machine may itself live in one of them.
    taken = run(["ip", "-4", "-oneline", "address"])
    network = next(n for n in ("203.0.113", "198.51.100", "192.0.2") if f" {n}." not in taken)
    host, peer = f"{network}.1", f"{network}.2"
    run(["ip", "netns", "add", name])
    try:
        inside = ["ip", "netns", "exec", name]
        run(["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])
        run(["ip", "address", "add", f"{host}/30", "dev", name])
        run(["ip", "link", "set", name, "up"])
        run([*inside, "ip", "address", "add", f"{peer}/30", "dev", "eth0"])
        run([*inside, "ip", "link", "set", "eth0", "up"])
        run([*inside, "ip", "route", "add", "default", "via", host])
        log = tmp_path / "requests.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [*inside, "python3", "-m", "http.server", str(PORT), f"--bind={peer}"],
                cwd=tmp_path,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            _wait_for(peer)
            yield Outside(f"http://{peer}:{PORT}", log)
        finally:
            server.kill()
            server.wait()
    finally:
        run(["ip", "netns", "delete", name])


@pytest.mark.scenario("seal.nothing-leaves")
def test_nothing_leaves_the_cluster(
    outside: Outside, testbed: Cluster, namespace: str, api: client.ApiClient
) -> None:
    """A server that any other container reaches is out of reach for the cluster's pods and node."""
    target = outside.url.removeprefix("http://").replace(":", "/")
    request = r"GET /as-control HTTP/1.0\r\n\r\n"
    connect = f"exec 3<>/dev/tcp/{target} && printf '{request}' >&3 && cat <&3"
    image = run(["docker", "inspect", "--format={{.Config.Image}}", str(testbed.node)]).strip()
    run(["docker", "run", "--rm", "--entrypoint=bash", image, "-c", connect])
    assert outside.asked_for("as-control"), "the control request did not arrive"

    refused = _refusal(["docker", "exec", str(testbed.node), "bash", "-c", connect])
    assert "refused" in refused or "unreachable" in refused, refused

    pod = _pod_refusal(api, testbed, namespace, f"{outside.url}/from-a-pod")
    assert "refused" in pod or "unreachable" in pod, pod
    assert not outside.asked_for("from-a-pod")

    with pytest.raises(CommandError, match="exit code 2"):  # getent's word for an unknown name
        run(["docker", "exec", str(testbed.node), "getent", "hosts", "kubernetes.io"], timeout=30)
    name = _pod_refusal(api, testbed, namespace, "http://kubernetes.io/")
    assert "Name or service not known" in name or "name resolution" in name, name
    # Refused at once, not lost in the dark: what asks for the outside must not hang.
    assert max(int(answer.split()[-2]) for answer in (pod, name)) < 30, (pod, name)


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            socket.create_connection((address, PORT), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _refusal(command: list[str]) -> str:
    """What `command` complains about; it must fail."""
    with pytest.raises(CommandError) as failure:
        run(command, timeout=30)
    return failure.value.output


def _pod_refusal(api: client.ApiClient, testbed: Cluster, namespace: str, url: str) -> str:
    """What a pod says when it cannot fetch `url`."""
    name = f"fetch-{secrets.token_hex(2)}"
    pods.start(api, namespace, name, pods.ray_container(FETCH, url))
    return pods.wait_for_phase(testbed, namespace, name, "Failed")
