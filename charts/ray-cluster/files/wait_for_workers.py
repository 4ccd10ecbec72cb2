"""Before a head stops: if its release is being uninstalled, waits until the workers have drained.

What they finish belongs to jobs on the head, and would end with it; then these jobs may end. Helm
removes Services before Deployments: no Service, no release. In all other cases another head takes
this one's place and must not find it there, so that it goes at once.

Arguments: the cluster's domain, the full name of the head's Service, the dashboard's port, and the
seconds for which the head goes on in any case, so that load balancers have time to forget it.
"""

import json
import os
import pathlib
import socket
import struct
import sys
import time
import urllib.request
from typing import Any

LAST_WORDS_SECONDS = 10  # What a job does after the last of its tasks.
NO_SUCH_NAME = 3  # the DNS answer NXDOMAIN
SRV = 33  # Asked for by nobody else, so that no cache remembers the name of a Service that is gone.


def dns_answer(name: str) -> int | None:
    """The code with which the cluster's DNS answers, or None if it does not."""
    lines = pathlib.Path("/etc/resolv.conf").read_text().splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    labels = b"".join(struct.pack("B", len(part)) + part.encode() for part in name.split("."))
    question = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, SRV, 1)
    for server in servers:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            try:
                client.connect((server, 53))
                client.send(question)
                return client.recv(4096)[3] & 0xF
            except OSError:
                continue
    return None


def uninstalled(domain: str, service: str) -> bool:
    """Whether the Service is gone, by a DNS that knows the cluster's names."""
    known = dns_answer(f"kubernetes.default.svc.{domain}") == 0
    return known and dns_answer(service) == NO_SUCH_NAME


def ask(port: str, path: str) -> Any:
    """What Ray's dashboard on this node answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        request.add_header("Authorization", f"Bearer {token.strip()}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def workers(port: str) -> list[Any]:
    """The workers in Ray's node table."""
    nodes = ask(port, "/api/v0/nodes?detail=1")["data"]["result"]["result"]
    return [node for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]]


def jobs(port: str) -> list[Any]:
    """The jobs that have not ended."""
    submitted = [job for job in ask(port, "/api/jobs/") if job["type"] == "SUBMISSION"]
    return [job for job in submitted if job["status"] == "RUNNING"]


def main(domain: str, service: str, port: str, pause: str) -> None:
    """Return when this head may stop; Kubernetes waits for no longer than the grace period."""
    time.sleep(int(pause))
    while uninstalled(domain, service) and workers(port):
        time.sleep(0.5)
    last_words = time.monotonic() + LAST_WORDS_SECONDS
    while uninstalled(domain, service) and jobs(port) and time.monotonic() < last_words:
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
