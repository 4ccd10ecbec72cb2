"""How long many tenants take until all are ready, ours and KubeRay's.

Their nodes and pods are KWOK's, ready at once: what is left is the work of the control plane. A
tenant is a namespace with a quota, a head, and two worker groups with one worker and an autoscaler.
Both sides are created by the same program through the API, all objects rendered before the clock
starts, and KubeRay's operator runs already. While ours are there, one real release beside them gets
more memory to hold than its autoscaler wants, which then is one of many; and it is counted how
often each of these looks.
"""

import argparse
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any

import yaml
from kubernetes import client, config

from harness import api_server, etcd, helm, kuberay, kwok, scale_out, sides
from harness.cluster import OURS, RESTRICTED, Cluster
from harness.console import out, step
from harness.errors import UserError
from harness.process import run
from harness.sides import Samples, Side

Object = dict[str, Any]
# Gives Kubernetes' controllers a limit of requests per second, and at once; None is their own.
Limited = Callable[[tuple[int, int] | None], None]

COUNTS = [100, 300, 1000]
# Requests per second, and at once, that a controller of Kubernetes may send: its own default, and
# that of KubeRay's operator.
LIMITS = {"default": None, "equal": (100, 200)}
GOAL_RATIO = 1.0
PODS = 3  # of a tenant
AUTOSCALERS = 2  # as well
# Less of what pods request than any target: their autoscalers have work, but nothing to change.
USED = {"cpu": "100m", "memory": "1Gi"}

_THREADS = 8
_POLL_SECONDS = 1
_SECONDS_PER_TENANT = 10  # enough for any of them
_REACTION_SECONDS = 1200
_WINDOW_SECONDS = 60  # in which looks are counted
_MANIFEST = "/etc/kubernetes/manifests/kube-controller-manager.yaml"
_PREFIX = "bench-tenant-"  # of their namespaces
_ANYBODY = f"{_PREFIX}anybody"
_VALUES = sides.SCALED | {
    "head": sides.SCALED["head"] | kwok.PLACE,
    "worker": sides.SCALED["worker"] | kwok.PLACE,
    "workerGroups": {"default": {}, "second": {}},
}
_QUOTA = {"requests.cpu": "10", "requests.memory": "100Gi", "pods": "20"}
_MIB = 2**20


@dataclass
class Outcome:
    """Seconds until all are ready by number of tenants, and what the largest number cost."""

    samples: Samples = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that make it smaller."""
    parser.add_argument(
        "--tenants",
        type=int,
        nargs="+",
        default=COUNTS,
        metavar="N",
        help="numbers of tenants; the first is measured --rounds times, the others once (default: "
        + " ".join(map(str, COUNTS))
        + ")",
    )
    parser.add_argument(
        "--limits",
        nargs="+",
        choices=LIMITS,
        default=list(LIMITS),
        help="limits of requests for Kubernetes' controllers: their own, or that of KubeRay's "
        "operator (default: both, one after the other)",
    )


def case(count: int) -> str:
    """The case with this number of tenants."""
    return f"{count} tenants"


def reaction(count: int) -> str:
    """The case of the autoscaler that has so many tenants beside its own."""
    return f"autoscaler among {count} tenants"


def between_looks(count: int) -> str:
    """The case of the time from a look of an autoscaler to its next, with so many tenants."""
    return f"between its looks, {count} tenants"


def measure(
    cluster: Cluster, rounds: int, counts: list[int], limits: list[str]
) -> Iterator[tuple[str, Outcome, Outcome]]:
    """The result of each limit as soon as it is there: what ours and KubeRay's took."""
    sides.check(cluster)
    etcd.forget_namespaces(cluster, _PREFIX)  # what a run that was killed has left
    both = (sides.OURS, sides.KUBERAY)
    plan = [(counts[0], number) for number in range(1, rounds + 1)]
    plan += [(count, 1) for count in counts[1:]]
    nodes = math.ceil(max(counts) * PODS / kwok.PODS_PER_NODE) + 1
    with (
        kwok.nodes(cluster, nodes, USED),
        kuberay.operator(cluster),
        scale_out.alone(cluster) as real,
        _controllers(cluster) as limited,
    ):
        for name in limits:
            outcomes = {side: Outcome() for side in both}
            for count, number in plan:
                for side in sides.turn(both, number):
                    limited(LIMITS[name])
                    with _removed(cluster, side, count):
                        one = _round(cluster, side, count, outcomes[side])
                        if side.is_ours and number == 1:
                            one[reaction(count)] = scale_out.reaction(real, _REACTION_SECONDS)
                            one[between_looks(count)] = _between_looks(cluster, count)
                    sides.add(outcomes[side].samples, one)
                    out.print(f"{name} limit, round {number}, {side.name}: {one}", highlight=False)
            yield name, outcomes[sides.OURS], outcomes[sides.KUBERAY]


@contextmanager
def _controllers(cluster: Cluster) -> Iterator[Limited]:
    """Gives Kubernetes' controllers a limit, for which they start anew; in the end their own."""
    before = running = run(["docker", "exec", str(cluster.node), "cat", _MANIFEST])

    def limited(limit: tuple[int, int] | None) -> None:
        nonlocal running
        wanted = before
        if limit:
            manifest = yaml.safe_load(before)
            manifest["spec"]["containers"][0]["command"] += [
                f"--kube-api-qps={limit[0]}", f"--kube-api-burst={limit[1]}"
            ]  # fmt: skip
            wanted = yaml.safe_dump(manifest)
        if wanted != running:
            _restart_controllers(cluster, wanted)
            running = wanted

    try:
        yield limited
    finally:
        limited(None)


def _restart_controllers(cluster: Cluster, manifest: str) -> None:
    """Have the node run the controllers as `manifest` says, and wait until they are in charge."""
    path = "{.spec.holderIdentity}"
    holder = (
        "get",
        "lease/kube-controller-manager",
        "--namespace=kube-system",
        f"-o=jsonpath={path}",
    )
    with step("Start Kubernetes' controllers anew"):
        before = cluster.kubectl(*holder)
        # In one step, and from outside of the folder, of which the kubelet reads every file.
        script = f"cat > /tmp/manifest && mv /tmp/manifest {_MANIFEST}"
        run(["docker", "exec", "-i", str(cluster.node), "sh", "-c", script], stdin=manifest)
        deadline = time.monotonic() + sides.TIMEOUT_SECONDS
        while cluster.kubectl(*holder) == before:
            if time.monotonic() > deadline:
                raise UserError("Kubernetes' controllers did not start again.")
            time.sleep(_POLL_SECONDS)


def _round(cluster: Cluster, side: Side, count: int, outcome: Outcome) -> dict[str, float]:
    """The seconds until `count` tenants are ready."""
    api = config.new_client_from_config(str(cluster.kubeconfig))
    names = [f"{_PREFIX}{number}" for number in range(count)]
    tenants = [tenant(side, name) for name in names]
    sides.wait_for_calm_machine()
    requests, began = api_server.requests(cluster), time.time()
    with step(f"Start {count} tenants of {side.name}"):
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda tenant: _create(api, tenant), tenants))
        _wait_until_ready(api, side, count)
    seconds = round(time.time() - began, 2)
    written = (api_server.requests(cluster) - requests).writes
    outcome.figures = _figures(cluster, written, tenants, count)
    return {case(count): seconds}


def _between_looks(cluster: Cluster, count: int) -> float:
    """The seconds from a look of an autoscaler to its next, as a mean over all of them.

    A look begins with the number of replicas, for which nobody else asks while all is calm.
    """
    with step("Count how often autoscalers look"):
        before, began = api_server.requests(cluster), time.monotonic()
        time.sleep(_WINDOW_SECONDS)
        looks = (api_server.requests(cluster) - before).reads["deployments/scale"]
        seconds = time.monotonic() - began
    return round(seconds * (count * AUTOSCALERS + 1) / looks, 2)  # and that of the real one


@contextmanager
def _removed(cluster: Cluster, side: Side, count: int) -> Iterator[None]:
    """Remove the tenants in the end, whatever happens, and fast: it is not what is measured."""
    try:
        yield
    finally:
        api = config.new_client_from_config(str(cluster.kubeconfig))
        with step(f"Remove {count} tenants of {side.name}"):
            etcd.forget_namespaces(cluster, _PREFIX)
            _wait_until_gone(api, side)


def tenant(side: Side, name: str) -> list[Object]:
    """The objects of the tenant `name`, its namespace first."""
    objects: list[Object] = json.loads(_rendered(side).replace(_ANYBODY, name))
    return objects


@cache
def _rendered(side: Side) -> str:
    """The objects of anybody: Helm would need minutes to render a thousand, all but equal."""
    metadata = {"name": _ANYBODY, "labels": OURS | RESTRICTED}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    quota = {"tenant": {"resourceQuota": {"enabled": True, "hard": _QUOTA}}}
    release = helm.objects(_VALUES | quota, release=side.name, namespace=_ANYBODY)
    if not side.is_ours:
        cluster = kuberay.ray_cluster(side.name, release, kuberay.autoscaler(release))
        quotas = [obj for obj in release if obj["kind"] == "ResourceQuota"]
        release = [*quotas, cluster]
    for obj in release:
        obj["metadata"]["namespace"] = _ANYBODY
    return json.dumps([namespace, *release])


def _create(api: client.ApiClient, tenant: list[Object]) -> None:
    for obj in tenant:
        call(api, "POST", path(obj), obj)


def path(obj: Object) -> str:
    """Where the API takes an object of the kinds that a tenant has."""
    version, kind = obj["apiVersion"], obj["kind"].lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = obj["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def _wait_until_ready(api: client.ApiClient, side: Side, count: int) -> None:
    wanted = count * PODS
    deadline = time.monotonic() + sides.TIMEOUT_SECONDS + count * _SECONDS_PER_TENANT
    while (ready := sum(_pods(api, side))) < wanted:
        if time.monotonic() > deadline:
            raise UserError(f"{ready} of {wanted} pods of {side.name} are ready.")
        time.sleep(_POLL_SECONDS)


def _wait_until_gone(api: client.ApiClient, side: Side) -> None:
    """Wait until the API server's memory, where the next ones are looked for, knows it, too."""
    deadline = time.monotonic() + sides.TIMEOUT_SECONDS
    while left := _pods(api, side):
        if time.monotonic() > deadline:
            raise UserError(f"{len(left)} pods are still there.")
        time.sleep(_POLL_SECONDS)


def _pods(api: client.ApiClient, side: Side) -> list[bool]:
    """Whether it is ready, for each pod of the side's on KWOK's nodes.

    Asked for often, it must not be what is measured: so it comes from the API server's memory, and
    as a line per pod, since whole ones would be up to 60 MB each time.
    """
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    label = f"app.kubernetes.io/instance={side.name}" if side.is_ours else "ray.io/is-ray-node=yes"
    where = f"/api/v1/pods?resourceVersion=0&includeObject=None&labelSelector={label}"
    table = call(api, "GET", where, accept=accept)
    names = [column["name"] for column in table["columnDefinitions"]]
    pods = [dict(zip(names, row["cells"], strict=True)) for row in table["rows"]]
    ready = (pod["Ready"].split("/") for pod in pods if pod["Node"].startswith(kwok.NODES))
    return [done == containers for done, containers in ready]


def call(
    api: client.ApiClient,
    method: str,
    where: str,
    body: Object | None = None,
    accept: str = "application/json",
) -> Object:
    """The API's answer as it is: thousands of pods as Python's objects would take seconds.

    Raises UserError if it refuses.
    """
    headers = {"Content-Type": "application/json", "Accept": accept}
    answer = api.call_api(method, f"{api.configuration.host}{where}", headers, body)
    text = answer.read()
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise UserError(f"{method} {where}: {answer.status} {text.decode(errors='replace')}")
    found: Object = json.loads(text)
    return found


def _figures(
    cluster: Cluster, written: Counter[str], tenants: list[list[Object]], count: int
) -> dict[str, float]:
    own = {
        f"objects per tenant: {kind}": float(number)
        for kind, number in sorted(Counter(obj["kind"] for obj in tenants[0]).items())
    }
    writes = {
        f"writes per tenant: {resource}": round(number / count, 2)
        for resource, number in written.most_common()
        if number >= count / 2
    }
    memory = {
        f"memory of {name}, MiB": float(round(api_server.resident(cluster, name) / _MIB))
        for name in ("kube-apiserver", "kube-controller-manager")
    }
    total = {"writes per tenant": round(written.total() / count, 2)}
    return {"tenants": float(count), **own, **total, **writes, **memory}


def remark(result: Object) -> str:
    """What is measured, and what the time grows by."""
    ours, theirs = (
        {name: statistics.median(values) for name, values in result[side]["samples"].items()}
        for side in ("ours", "kuberay")
    )

    counts = [int(name.split()[0]) for name in theirs]

    def growth(medians: dict[str, float]) -> str:
        return ", ".join(f"{medians[case(count)] / count * 1000:.0f}" for count in counts)

    def writes(side: str) -> str:
        return f"{result[side]['figures']['writes per tenant']:.0f}"

    reactions = ", ".join(f"{ours[reaction(count)]:.0f} s among {count}" for count in counts)
    looks = ", ".join(f"{ours[between_looks(count)]:.0f} s" for count in counts)

    return (
        "From the first request to the moment at which the pods of all tenants are ready: each has "
        "a namespace with a quota, a head, and two groups of one worker with an autoscaler. Nodes "
        "and pods are KWOK's, which exist in the API alone and are ready at once, so this is the "
        "control plane's time, not Ray's. Both sides are created by one program, eight tenants at "
        f"a time; KubeRay's operator is up already. A tenant takes {growth(ours)} ms (ours) and "
        f"{growth(theirs)} ms (KubeRay) in the order of the rows: growth is linear where these are "
        f"the same. Where the time goes: a tenant is {writes('ours')} writes of ours and "
        f"{writes('kuberay')} of KubeRay's, each with the work of those who watch for it. Ours are "
        "Deployments, ReplicaSets, autoscalers and disruption budgets, each with a status and "
        "events of its own, where the operator makes the pods itself and keeps one status; it has "
        "no disruption budgets. By default each controller of Kubernetes may send 20 requests per "
        "second, and that of Deployments has about 12 for a tenant (a ReplicaSet, its event, and "
        "two statuses or three for each of the three), which are 0.6 s; the operator may send 100. "
        "Where both may send as many, both wait for the CPUs. Pods say that they use less than "
        "their targets, so that every autoscaler has its metrics to ask for every 15 s, and "
        "nothing to change. The autoscaler of one real release beside them asked for one more "
        f"worker, after its memory had passed the target, {reactions} tenants (measured once each):"
        " a reaction falls somewhere in between two looks, from one to the next of which an "
        f"autoscaler took {looks} as a mean of a minute. It looks every 15 s where it can; but all "
        "of them share one limit of requests, of which a look is several. What a user can change: "
        "`--kube-api-qps` and `--kube-api-burst` of kube-controller-manager; where nobody lets you "
        "raise the limit, split tenants over clusters."
    )
