"""What a kind cluster's API server says of its own work."""

import re
from collections import Counter
from dataclasses import dataclass

from harness.cluster import Cluster
from harness.process import run

_SAMPLE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}


@dataclass(frozen=True)
class Requests:
    """The numbers of requests by resource ('pods', 'pods/status'): which read, and which write."""

    reads: Counter[str]
    writes: Counter[str]

    def __sub__(self, earlier: "Requests") -> "Requests":
        return Requests(self.reads - earlier.reads, self.writes - earlier.writes)


def requests(cluster: Cluster) -> Requests:
    """What the API server has been asked since its start, watches and proxied connections aside."""
    return parse(cluster.kubectl("get", "--raw=/metrics"))


def parse(metrics: str) -> Requests:
    """The requests that `metrics` counts, in Prometheus' text format."""
    found = Requests(Counter(), Counter())
    for text, value in _SAMPLE.findall(metrics):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
        if labels["verb"] not in ("WATCH", "CONNECT"):
            kind = found.writes if labels["verb"] in _WRITES else found.reads
            resource = "/".join(filter(None, (labels["resource"], labels.get("subresource"))))
            kind[resource] += int(float(value))
    return found


def resident(cluster: Cluster, program: str) -> int:
    """Bytes of memory that a program of the control plane holds, on the node of a kind cluster."""
    for line in run(["docker", "exec", str(cluster.node), "ps", "-eo", "rss=,args="]).splitlines():
        kibibytes, command = line.split(maxsplit=1)
        if command.split()[0].rpartition("/")[2] == program:
            return int(kibibytes) * 1024
    return 0
