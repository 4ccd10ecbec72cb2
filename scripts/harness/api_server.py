"""What a kind cluster's API server says of its own work."""

import re
from dataclasses import dataclass

from harness.cluster import Cluster

_SAMPLE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}


@dataclass(frozen=True)
class Requests:
    """The number of requests until now: those that read, and those that write."""

    reads: float
    writes: float

    def __sub__(self, earlier: "Requests") -> "Requests":
        return Requests(self.reads - earlier.reads, self.writes - earlier.writes)


def requests(cluster: Cluster) -> Requests:
    """What the API server has been asked since its start, watches and its own health aside."""
    return parse(cluster.kubectl("get", "--raw=/metrics"))


def parse(metrics: str) -> Requests:
    """The requests that `metrics` counts, in Prometheus' text format."""
    counts = {True: 0.0, False: 0.0}
    for labels, value in _SAMPLE.findall(metrics):
        verb = dict(re.findall(r'(\w+)="([^"]*)"', labels))["verb"]
        if verb not in ("WATCH", "CONNECT"):
            counts[verb in _WRITES] += float(value)
    return Requests(reads=counts[False], writes=counts[True])
