"""Every value of the chart does something: another one changes an object or the notes."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from harness.helm import TemplateError, dry_run

from .leaves import Leaf, leaves, merged, nested, others
from .objects import Object

# What a value needs beside it before it can show, by the path that it begins with. An `enabled` or
# `create` beside or above a value is switched on without an entry here.
HOSTS: Object = {"hosts": [{"host": "ray.example.org"}]}
GATEWAY: Object = {"parentRefs": [{"name": "web"}]}
CLOSED: Object = {"networkPolicy": {"egress": {"restricted": True}}}
GPU: Object = {"resources": {"limits": {"nvidia.com/gpu": 2}}}
DEMAND: Object = {"worker": {"autoscaling": {"demand": {"enabled": True}}}}
NEEDED: dict[str, Object] = {
    "auth.token.existingSecretKey": {"auth": {"token": {"existingSecret": "token"}}},
    "gcsFaultTolerance.redis": {
        "gcsFaultTolerance": {
            "mode": "redis",
            "redis": {"address": "redis:6379", "existingSecret": "redis"},
        }
    },
    "gcsFaultTolerance.redis.password": {
        "gcsFaultTolerance": {"redis": {"existingSecret": ""}},
    },
    "gcsFaultTolerance.redis.existingSecret": {"gcsFaultTolerance": {"redis": {"username": ""}}},
    "gcsFaultTolerance.redis.tls": {
        "gcsFaultTolerance": {
            "redis": {
                "address": "rediss://redis:6379",
                "tls": {"existingSecret": "redis", "certKey": "tls.crt", "keyKey": "tls.key"},
            }
        }
    },
    "gcsFaultTolerance.rocksdb": {"gcsFaultTolerance": {"mode": "rocksdb"}},
    "gcsFaultTolerance.mode": {"gcsFaultTolerance": {"redis": {"address": "redis:6379"}}},
    "gcsFaultTolerance.workerReconnectTimeoutSeconds": {
        "gcsFaultTolerance": {"mode": "redis", "redis": {"address": "redis:6379"}}
    },
    "head.demandSidecar": DEMAND,
    "image.digest": {"rayVersion": "2.60.0"},
    "ports.demand": DEMAND,
    "worker.autoscaling.keda": {
        "worker": {
            "autoscaling": {
                "minReplicas": 2,  # more than idle ones
                "keda": {"triggers": [{"type": "cron", "metadata": {"start": "0 8 * * *"}}]},
            }
        }
    },
    "tls": {"tls": {"existingSecret": "authority"}},
    "worker.replicas": {"worker": {"autoscaling": {"enabled": False}}},
    "dashboard.ingress": {"dashboard": {"ingress": HOSTS}},
    "dashboard.httpRoute": {"dashboard": {"httpRoute": GATEWAY}},
    "serve.ingress": {"serve": {"enabled": True, "ingress": HOSTS}},
    "serve.httpRoute": {"serve": {"enabled": True, "httpRoute": GATEWAY}},
    "ports.serve": {"serve": {"enabled": True}},
    "head.serveProxy": {"serve": {"enabled": True}, "worker": {"serveProxy": True}},
    "worker.serveProxy": {"serve": {"enabled": True}},
    "head.numGpus": {"head": GPU},
    "worker.numGpus": {"worker": GPU},
    "networkPolicy.serve": {"serve": {"enabled": True}},
    "networkPolicy.egress.dns": CLOSED,
    "networkPolicy.egress.to": CLOSED,
    "networkPolicy.egress.redis": {
        "gcsFaultTolerance": {"mode": "redis", "redis": {"address": "redis:6379"}},
        "networkPolicy": {"egress": {"restricted": True, "redis": [{"podSelector": {}}]}},
    },
    "monitoring.prometheus.existingSecretHeadersKey": {
        "monitoring": {"prometheus": {"existingSecret": "prometheus"}}
    },
    "tenant.resourceQuota": {"tenant": {"resourceQuota": {"hard": {"pods": 99}}}},
    "tenant.limitRange": {
        "tenant": {"limitRange": {"limits": [{"type": "Container", "max": {"cpu": 4}}]}}
    },
}
# Values that change nothing that is rendered, each with the reason.
UNSEEN: dict[str, str] = {}

LEAVES = list(leaves())
PATHS = {leaf.path for leaf in LEAVES}


def companions(leaf: Leaf) -> Object:
    """The values that have to stand beside `leaf` so that it counts."""
    values: Object = {}
    for depth in range(1, len(leaf.path)):
        for switch in ("create", "enabled"):
            path = (*leaf.path[:depth], switch)
            if path != leaf.path and path in PATHS:
                values = merged(values, nested(path, True))
    for beginning, needed in NEEDED.items():
        if f"{leaf}.".startswith(f"{beginning}."):
            values = merged(values, needed)
    return values


@cache
def _outcome(values: str) -> tuple[Any, ...] | str:
    try:
        release = dry_run(json.loads(values))
    except TemplateError as refused:
        return refused.message.strip()
    return release["manifest"], release.get("hooks"), release["info"]["notes"]


def outcome(values: Object) -> tuple[Any, ...] | str:
    """Everything that a release with `values` creates and prints, or why it is refused."""
    return _outcome(json.dumps(values, sort_keys=True))


def attempts(leaf: Leaf) -> Iterator[tuple[bool, str]]:
    """For each other value of `leaf`: whether an accepted release shows it, and what was seen."""
    beside = companions(leaf)
    without = outcome(beside)
    for value in others(leaf):
        seen = outcome(merged(beside, nested(leaf.path, value)))
        if isinstance(seen, str):
            yield False, f"{value!r} is refused: {seen}"
        else:
            yield seen != without, f"{value!r} beside {beside} changes nothing"


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if str(leaf) not in UNSEEN], ids=str)
def test_value_changes_what_is_rendered(leaf: Leaf) -> None:
    seen = []
    for shows, what in attempts(leaf):
        if shows:
            return
        seen.append(what)
    pytest.fail(f"{leaf} seems dead:\n" + "\n".join(seen))


def test_exceptions_are_still_needed() -> None:
    exceptions = [leaf for leaf in LEAVES if str(leaf) in UNSEEN]
    assert not [str(leaf) for leaf in exceptions if any(shows for shows, _ in attempts(leaf))]


def test_every_exception_and_companion_is_a_value() -> None:
    known = {".".join(leaf.path[:depth]) for leaf in LEAVES for depth in range(1, 9)}
    assert {*NEEDED, *UNSEEN} <= known
