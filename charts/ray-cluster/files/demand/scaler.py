"""Scales worker groups on what Ray is asked for, beside the autoscaler that sees what they use.

Raises `minReplicas` of a group's HorizontalPodAutoscaler, and the number of its pods in the same
moment, to what waiting tasks, actors and placement groups take; lowers `minReplicas` when that many
have not been wanted for a while. Which workers go then, and when, is up to the autoscaler; but none
sends a group to zero, which is done here. On request, idle workers are marked to be taken first.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import ssl
import time
from typing import Any

from floors import Floor, Wanted, wanted
from packing import COMMON, UNIT, Group, Request
from state import Node, State

AGAIN_SECONDS = 5  # how long an unchanged picture needs no second look
CONFIRM_SECONDS = 60  # how often a floor is written that nobody should have changed
IDLE_SECONDS = 5  # a shorter pause between tasks makes no worker one to take first
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")


class RefusedError(OSError):
    """What the Kubernetes API does not do, and the status of its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kubernetes:
    """The Kubernetes API, by the account that is mounted in this container alone."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._trust.load_verify_locations(ACCOUNT / "ca.crt")

    def call(self, method: str, api: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer of the API. Raises OSError; RefusedError for what it refuses."""
        host, port = (os.environ[f"KUBERNETES_SERVICE_{part}"] for part in ("HOST", "PORT"))
        kind = "merge-patch+json" if method == "PATCH" else "json"
        connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=self._trust)
        try:
            connection.request(
                method,
                f"/{api}/namespaces/{self.namespace}/{path}",
                json.dumps(body) if body else None,
                {
                    # A token lives for an hour, and its file is renewed.
                    "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
                    "Content-Type": f"application/{kind}",
                },
            )
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            message = f"{method} {path}: {answer.status} {text.decode(errors='replace')}"
            raise RefusedError(answer.status, message)
        found: dict[str, Any] = json.loads(text)
        return found

    def announce(
        self, about: dict[str, str], reason: str, message: str, kind: str = "Normal"
    ) -> None:
        """An event about an object, and a line in the log. Never fails: what was done is done."""
        print(f"{about['name']}: {message}", flush=True)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "metadata": {"name": f"{about['name']}.{time.time_ns():x}"},
            "involvedObject": about | {"namespace": self.namespace},
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": "ray-cluster-demand"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self.call("POST", "api/v1", "events", event)
        except OSError as error:
            print(f"No event: {error}", flush=True)


class Scaled:
    """A worker group in Kubernetes."""

    def __init__(self, values: dict[str, Any], kubernetes: Kubernetes) -> None:
        amounts = {name: round(amount * UNIT) for name, amount in values["amounts"].items()}
        self.group = Group(values["name"], amounts, values["labels"], values["maxReplicas"])
        self.min: int = values["minReplicas"]
        self.quiet_seconds: float = values["quietSeconds"]
        self.floor: Floor | None = None
        self._deployment: str = values["deployment"]
        self._scale_path = "apis/apps/v1", f"deployments/{self._deployment}/scale"
        self._scales: bool = values["autoscaler"] is not None  # KEDA reads the metrics, and scales
        self._hpa_path = "apis/autoscaling/v2", f"horizontalpodautoscalers/{values['autoscaler']}"
        self._kubernetes = kubernetes
        self._written, self._again = -1, 0.0
        self._scale: dict[str, Any] = {}
        self._marks: bool = values["podDeletionCost"]
        self._busy: dict[str, bool] = {}

    @property
    def known_size(self) -> int:
        """The number of pods as it was seen last; -1 if it was not."""
        return int(self._scale["spec"].get("replicas", 0)) if self._scale else -1

    def start(self, now: float) -> None:
        """Take up where another left off: the autoscaler's own floor is all that is remembered."""
        least = self.min
        if self._scales:
            spec = self._kubernetes.call("GET", *self._hpa_path)["spec"]
            least = max(least, min(int(spec.get("minReplicas", 1)), self.group.limit))
        self.floor = Floor(least, now)

    def size(self) -> int:
        """The number of pods that the Deployment is to have."""
        self._scale = self._kubernetes.call("GET", *self._scale_path)
        return self.known_size

    def apply(self, floor: int, now: float) -> None:
        """Write the floor, where it has not been written for a while."""
        if self._scales and (floor != self._written or now >= self._again):
            # An autoscaler takes no 0; it sleeps while its group stands at 0.
            patch = {"spec": {"minReplicas": max(floor, 1)}}
            self._kubernetes.call("PATCH", *self._hpa_path, patch)
            self._written, self._again = floor, now + CONFIRM_SECONDS

    def resize(self, size: int, reason: str, message: str) -> None:
        """Set the number of pods, and say so in an event."""
        if not self._scales:
            return
        seen = self._scale["metadata"]
        patch = {
            "metadata": {"resourceVersion": seen["resourceVersion"]},
            "spec": {"replicas": size},
        }
        try:
            self._scale = self._kubernetes.call("PATCH", *self._scale_path, patch)
        except RefusedError as error:
            # Somebody else was faster: often the autoscaler, which has seen its new floor.
            if error.status != 409 or self.size() < size:
                raise
        about = {"apiVersion": "apps/v1", "kind": "Deployment", "name": self._deployment}
        self._kubernetes.announce(about | {"uid": seen["uid"]}, reason, message)

    def mark(self, nodes: list[Node]) -> None:
        """Have a scale-in take idle workers first, where that is wanted: mark who has changed."""
        # Who registers a node in Ray could name any pod, but gets at this group's alone.
        own = re.compile(rf"{re.escape(self._deployment)}-[a-z0-9-]+")
        busy = {
            node.pod: node.idle_seconds < IDLE_SECONDS
            for node in nodes
            if self._marks and own.fullmatch(node.pod)
        }
        self._busy = {pod: was for pod, was in self._busy.items() if pod in busy}
        for pod, is_busy in busy.items():
            if self._busy.get(pod) != is_busy:
                patch = {"metadata": {"annotations": {DELETION_COST: str(int(is_busy))}}}
                try:
                    self._kubernetes.call("PATCH", "api/v1", f"pods/{pod}", patch)
                except RefusedError as error:
                    if error.status != 404:  # Ray sees a little later that a pod is gone
                        raise
                self._busy[pod] = is_busy


class Scaler:
    """All groups, as Ray's state changes."""

    def __init__(self, groups: list[Scaled], kubernetes: Kubernetes, pod: dict[str, str]) -> None:
        self._groups = groups
        self._kubernetes = kubernetes
        self._pod = {"apiVersion": "v1", "kind": "Pod"} | pod
        self._picture: Any = None
        self._again = 0.0
        self._wanted: dict[str, int] = {}
        self._impossible: set[str] = set()
        self.metrics: dict[str, float] = {}

    def lost(self, now: float) -> None:
        """Ray's state is not known: nothing sinks meanwhile."""
        for scaled in self._groups:
            if scaled.floor:
                scaled.floor.restart(now)

    def look(self, state: State, now: float) -> None:
        """Follow the state of Ray. Raises OSError when Kubernetes does not answer."""
        picture = (
            state.demand,
            state.gangs,
            [(n.worker.group, not n.idle_seconds) for n in state.nodes],
        )
        if picture == self._picture and now < self._again:
            return
        self._picture = None  # what fails now is tried again at once
        for scaled in self._groups:
            if scaled.floor is None:
                scaled.start(now)
        sizes = {scaled.group.name: self._size(scaled, state) for scaled in self._groups}
        found = wanted(state, [scaled.group for scaled in self._groups], sizes)
        metrics: dict[str, float] = {}
        sure = True
        for scaled in self._groups:
            name = scaled.group.name
            # What waits may be on its way to a worker that is there: it counts when seen twice.
            number = min(found.workers[name], max(sizes[name], self._wanted.get(name, 0)))
            sure &= number == found.workers[name]
            floor = self._follow(scaled, state, max(number, scaled.min), sizes[name], now)
            metrics[f'ray_cluster_demand_wanted_workers{{group="{name}"}}'] = number
            metrics[f'ray_cluster_demand_floor_workers{{group="{name}"}}'] = floor
        self._wanted = found.workers
        self.metrics = metrics | self._tell(found)
        for scaled in self._groups:
            scaled.mark([n for n in state.nodes if n.worker.group == scaled.group.name])
        self._picture, self._again = picture if sure else None, now + AGAIN_SECONDS

    def _size(self, scaled: Scaled, state: State) -> int:
        """The group's size: from Kubernetes where it matters, else what has joined."""
        nodes = [node for node in state.nodes if node.worker.group == scaled.group.name]
        floor = scaled.floor.value if scaled.floor else 0
        more = sum(not node.idle_seconds for node in nodes) > floor
        to_zero = not floor and (nodes or scaled.known_size)
        if state.demand or state.gangs or more or to_zero:
            return scaled.size()
        return len(nodes)

    def _follow(self, scaled: Scaled, state: State, number: int, size: int, now: float) -> int:
        """Scale a group of this size to what is wanted of it, and return its floor."""
        assert scaled.floor
        floor = scaled.floor.follow(number, now, scaled.quiet_seconds)
        scaled.apply(floor, now)
        idle = [n.idle_seconds for n in state.nodes if n.worker.group == scaled.group.name]
        waiting = sum(count for _, count in state.demand), len(state.gangs)
        if number > size and any(waiting):
            scaled.resize(
                number,
                "ScaledOutOnDemand",
                f"From {size} to {number} workers: {waiting[0]} tasks and actors and "
                f"{waiting[1]} placement groups wait for resources",
            )
        elif (
            not floor
            and size
            and all(since >= scaled.quiet_seconds for since in idle)
            and scaled.size()
        ):
            scaled.resize(
                0, "ScaledToZero", f"From {size} to 0 workers: idle for {scaled.quiet_seconds} s"
            )
        return floor

    def _tell(self, found: Wanted) -> dict[str, float]:
        """Count what finds no place, and name in an event what never will."""
        metrics: dict[str, float] = {}
        plan = found.plan
        for reason, requests in (("limit", plan.waiting), ("impossible", plan.impossible)):
            for request, count in requests:
                key = f'ray_cluster_demand_unplaced{{reason="{reason}",shape="{shape(request)}"}}'
                metrics[key] = metrics.get(key, 0) + count
        impossible = {shape(request) for request, _ in found.plan.impossible}
        for one in sorted(impossible - self._impossible):
            message = f"No worker group can ever fit what a task, actor or bundle asks for: {one}"
            self._kubernetes.announce(self._pod, "ImpossibleDemand", message, "Warning")
        self._impossible = impossible
        return metrics


def shape(request: Request) -> str:
    """A request as people write it: CPU: 0.5, memory: 1073741824."""
    # Ray's own names first, then by the alphabet.
    amounts = sorted(request.amounts, key=lambda entry: (entry[0] not in COMMON, entry[0]))
    words = [f"{name}: {amount / UNIT:g}" for name, amount in amounts]
    words += [
        f"{key} {'in' if wanted else 'not in'} ({', '.join(sorted(values))})"
        for conditions in request.selectors[:1]
        for key, wanted, values in conditions
    ]
    return re.sub(r'[\\"\n]', "", ", ".join(words))
