"""A tenant's quota: what a release counts for at its largest, before Kubernetes counts it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.helm import TemplateError, dry_run, template
from harness.paths import ROOT

from .leaves import merged
from .objects import Object, find, flags, inventory, refusal, worker

NAME = "ray-ray-cluster-tenant"
TENANTS = sorted((ROOT / "examples" / "tenants").glob("*.yaml"))
# Beside this head, whatever a group counts for stands out.
SMALL_HEAD: Object = {"head": {"resources": {"requests": {"cpu": "1m"}}}}


def quota(hard: Object, **others: Any) -> Object:
    """Values of a release with this quota, which has no room for workers that drain."""
    fields = {"enabled": True, "hard": hard, "countDraining": False, **others}
    return {"tenant": {"resourceQuota": fields}}


def limit_range(*limits: Object) -> Object:
    """Values of a release with these limits."""
    return {"tenant": {"limitRange": {"enabled": True, "limits": list(limits)}}}


def group(**values: Any) -> Object:
    """Values of a release whose default group has these."""
    return {"workerGroups": {"default": values}}


def fixed(replicas: int, **values: Any) -> Object:
    """Values of a release whose default group has so many workers."""
    return group(replicas=replicas, autoscaling={"enabled": False}, **values)


def surge(number: int | str) -> Object:
    """The strategy of a group that is updated by so many pods at a time."""
    return {"rollingUpdate": {"maxSurge": number, "maxUnavailable": 1}}


def counted(resource: str, values: Object, **others: Any) -> str:
    """What a release comes to at its largest, from its refusal by a quota of nothing."""
    message = refusal(merged(values, quota({resource: 0}, **others)))
    (total,) = re.findall(f"hard.{resource} is 0, but the release comes to (\\S+) at", message)
    return str(total)


def test_quota_is_rendered_as_it_is_given() -> None:
    conditions = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    values = quota(
        {"requests.cpu": "9", "pods": 20, "count/deployments.apps": 4},
        scopes=["NotTerminating"],
        scopeSelector={"matchExpressions": [conditions]},
        labels={"a": "b"},
        annotations={"c": "d"},
    )
    rendered = find(template(values), "ResourceQuota", NAME)
    assert rendered["spec"] == {
        "hard": {"requests.cpu": "9", "pods": 20, "count/deployments.apps": 4},
        "scopes": ["NotTerminating"],
        "scopeSelector": {"matchExpressions": [conditions]},
    }
    assert rendered["metadata"]["labels"]["a"] == "b"
    assert rendered["metadata"]["annotations"] == {"c": "d"}


def test_null_takes_an_entry_out_of_the_quota() -> None:
    rendered = find(template(quota({"pods": None, "services": 3})), "ResourceQuota", NAME)
    assert rendered["spec"]["hard"] == {"services": 3}


def test_limit_range_is_rendered_as_it_is_given() -> None:
    limits = {"type": "Container", "max": {"cpu": "4"}, "default": {"memory": "1Gi"}}
    rendered = find(template(limit_range(limits)), "LimitRange", NAME)
    assert rendered["spec"] == {"limits": [limits]}


@pytest.mark.parametrize(
    "hard",
    [
        {"requests.cpu": 2, "cpu": "2000m", "limits.cpu": "5.0", "pods": "4", "count/pods": 4},
        {"requests.memory": "9Gi", "memory": "9216Mi", "limits.memory": 9663676416},
        {"requests.memory": "9663676416000m", "requests.cpu": "2e0", "limits.cpu": "0.005k"},
    ],
    ids=str,
)
def test_release_that_fits_exactly_is_accepted_however_it_is_written(hard: Object) -> None:
    template(quota(hard))


@pytest.mark.parametrize(
    "hard",
    [{"cpu": "1999m"}, {"requests.memory": 9663676415}, {"limits.cpu": "4.999"}, {"count/pods": 3}],
    ids=str,
)
def test_release_that_is_larger_by_the_least_is_refused(hard: Object) -> None:
    assert "at its largest" in refusal(quota(hard))


def test_tenths_of_a_cpu_add_up_exactly() -> None:
    requests = {"resources": {"requests": {"cpu": "0.1"}}}
    values = {"head": requests, **fixed(2, strategy=surge(0), **requests)}
    assert counted("requests.cpu", values) == "300m"
    template(merged(values, quota({"requests.cpu": "300m"})))


@pytest.mark.parametrize(
    ("strategy", "pods"),
    [
        (surge(0), 6),
        (surge(2), 8),
        (surge("30%"), 8),  # 1.5 pods, and Kubernetes rounds up
        (surge("100%"), 11),
        (surge(50), 11),  # an update never has more new pods than there are workers
        ({"rollingUpdate": None}, 8),  # 25 % is Kubernetes' default
        (None, 8),
        ({"type": "Recreate", "rollingUpdate": None}, 6),
    ],
    ids=str,
)
def test_update_of_five_workers_counts(strategy: Object | None, pods: int) -> None:
    assert counted("pods", fixed(5, strategy=strategy)) == str(pods)


@pytest.mark.parametrize(
    ("values", "pods"),
    [
        (fixed(5), 11),
        (fixed(5, drain={"timeoutSeconds": 0}), 7),  # what an update adds
        (fixed(5, strategy=surge(0)), 11),
        (fixed(5, strategy={"type": "Recreate"}), 6),  # waits until they are gone
        (group(autoscaling={"minReplicas": 2, "maxReplicas": 5}), 11),
        (
            group(autoscaling={"minReplicas": 2, "maxReplicas": 5}, strategy={"type": "Recreate"}),
            9,  # scaled in to two, and out again meanwhile
        ),
        (fixed(0), 1),
    ],
    ids=str,
)
def test_workers_that_drain_count_beside_their_successors(values: Object, pods: int) -> None:
    assert counted("pods", values, countDraining=True) == str(pods)


def test_whoever_does_not_fit_for_its_drain_is_told_of_the_way_out() -> None:
    hint = "let new workers wait for those that drain"
    assert hint in refusal(quota({"pods": 4}, countDraining=True))
    assert hint not in refusal(quota({"pods": 3}))


def test_autoscaled_group_counts_at_its_upper_limit() -> None:
    values = group(replicas=99, autoscaling={"maxReplicas": 7}, strategy=surge(0))
    assert counted("pods", values) == "8"


def test_group_without_workers_has_no_update() -> None:
    assert counted("pods", fixed(0)) == "1"


def test_every_group_counts_with_its_own_size() -> None:
    big = {"resources": {"requests": {"cpu": 3}}, "strategy": surge(0)}
    values = {"workerGroups": {"default": {"strategy": surge(0)}, "big": big}}
    assert counted("requests.cpu", values) == "7500m"  # 500m + 2 x 500m + 2 x 3


def test_suspended_release_counts_for_nothing() -> None:
    template({"suspend": True, **quota({"pods": 0, "requests.cpu": 0, "limits.memory": 0})})


def test_sidecars_count() -> None:
    sidecar = {"name": "logs", "image": "i", "resources": {"requests": {"cpu": "10m"}}}
    values = SMALL_HEAD | fixed(1, strategy=surge(0), sidecars=[sidecar])
    assert counted("requests.cpu", values) == "511m"


def init(cpu: str, **fields: Any) -> Object:
    """An init container that requests so much."""
    return {"name": "a", "image": "i", "resources": {"requests": {"cpu": cpu}}, **fields}


@pytest.mark.parametrize(
    ("containers", "cpu"),
    [
        ([init("300m")], "501m"),
        ([init("600m"), init("700m")], "701m"),
        ([init("10m", restartPolicy="Always")], "511m"),
        ([init("100m", restartPolicy="Always"), init("600m")], "701m"),
        ([init("600m"), init("100m", restartPolicy="Always")], "601m"),
    ],
    ids=["small", "largest", "beside", "largest beside", "before"],
)
def test_init_containers_count_as_in_kubernetes(containers: list[Object], cpu: str) -> None:
    values = SMALL_HEAD | fixed(1, strategy=surge(0), initContainers=containers)
    assert counted("requests.cpu", values) == cpu


def test_limit_counts_where_the_request_is_missing() -> None:
    values = fixed(1, strategy=surge(0), resources={"requests": None, "limits": {"cpu": "3"}})
    assert counted("requests.cpu", SMALL_HEAD | values) == "3001m"


@pytest.mark.parametrize(
    ("limits", "cpu"),
    [
        ({"default": {"cpu": "2"}, "defaultRequest": {"cpu": "20m"}}, "521m"),
        ({"default": {"cpu": "200m"}}, "701m"),
        ({"max": {"cpu": "300m"}}, "801m"),
        ({"min": {"cpu": "30m"}}, "531m"),
    ],
    ids=str,
)
def test_limit_range_fills_in_what_a_sidecar_does_not_state(limits: Object, cpu: str) -> None:
    sidecar = {"name": "logs", "image": "i"}
    values = SMALL_HEAD | fixed(1, strategy=surge(0), sidecars=[sidecar])
    values |= limit_range({"type": "Container", **limits}, {"type": "Pod", "max": {"cpu": 99}})
    assert counted("requests.cpu", values) == cpu
    assert "states no" not in refusal(merged(values, quota({"requests.cpu": 0})))


def test_gpus_count_where_they_are() -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 2}}, "strategy": surge(0)}
    values = {"workerGroups": {"gpu": gpu}}
    assert counted("requests.nvidia.com/gpu", values) == "4"
    template(merged(values, quota({"requests.nvidia.com/gpu": 4})))


@pytest.mark.parametrize(
    "hard",
    [
        {"services": 0},
        {"requests.storage": 0},
        {"gold.storageclass.storage.k8s.io/requests.storage": 0},
        {"count/deployments.apps": 0},
        {"requests.amd.com/gpu": 0},
    ],
    ids=str,
)
def test_entries_that_are_not_about_the_pods_are_left_alone(hard: Object) -> None:
    template(quota(hard))


def priority(operator: str, *classes: str) -> Object:
    """A quota's fields that choose pods by priority class."""
    expression = {"scopeName": "PriorityClass", "operator": operator}
    return {"scopeSelector": {"matchExpressions": [expression | {"values": list(classes)}]}}


# A worker of the class "high", and a head without any.
@pytest.mark.parametrize(
    ("scope", "pods"),
    [
        (priority("In", "high", "top"), 1),
        (priority("NotIn", "high"), 1),
        (priority("NotIn", "low"), 2),
        (priority("Exists"), 1),
        (priority("DoesNotExist"), 1),
        ({"scopes": ["PriorityClass"]}, 1),
        ({"scopes": ["NotTerminating", "NotBestEffort"]}, 2),
    ],
    ids=str,
)
def test_quota_counts_the_pods_in_its_scopes(scope: Object, pods: int) -> None:
    values = fixed(1, strategy=surge(0), priorityClassName="high")
    assert counted("pods", values, **scope) == str(pods)


@pytest.mark.parametrize("scope", ["Terminating", "BestEffort"])
def test_no_pod_is_in_a_scope_for_others(scope: str) -> None:
    template(quota({"pods": 0}, scopes=[scope]))


def test_every_container_has_to_state_what_the_quota_counts() -> None:
    bare = {"image": "i"}
    values = group(sidecars=[{"name": "a", **bare}], initContainers=[{"name": "b", **bare}])
    message = refusal(merged(values, quota({"requests.memory": "99Gi", "cpu": 99})))
    named = re.findall(r"container (\S+) of (\S+) states no (\S+),", message)
    assert set(named) == {
        (name, "workerGroups.default", f"requests.{resource}")
        for name in ("a", "b")
        for resource in ("cpu", "memory")
    }


def test_only_cpu_and_memory_have_to_be_stated() -> None:
    template(quota({"requests.ephemeral-storage": "1Gi", "requests.nvidia.com/gpu": 0}))


def test_notes_say_what_the_quota_leaves() -> None:
    notes = dry_run(quota({"requests.cpu": "2.5", "limits.memory": "12Gi", "services": 3}))
    lines = notes["info"]["notes"].splitlines()
    begin = next(number for number, line in enumerate(lines) if "the quota leaves" in line)
    left = ["  limits.memory: 3Gi of 12Gi", "  requests.cpu: 500m of 2.5", ""]
    assert lines[begin + 1 : begin + 4] == left


def test_notes_do_not_mention_a_quota_that_is_off() -> None:
    assert "quota" not in dry_run()["info"]["notes"]


CLAIM: Object = {"head": {"persistence": {"enabled": True, "size": "5Gi"}}}


@pytest.mark.parametrize(
    ("limit", "values", "seen"),
    [
        ({"max": {"cpu": "1999m"}}, {}, "container ray-head of head has limits.cpu 2"),
        (
            {"min": {"memory": "2049Mi"}},
            {},
            "container ray-worker of workerGroups.default has limits.memory 2Gi",
        ),
        (
            {"min": {"cpu": "501m"}},
            {},
            "container ray-worker of workerGroups.default has requests.cpu 500m",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "3.999"}},
            {},
            "container ray-head of head has limits.cpu 2 beside requests.cpu 500m",
        ),
        (
            {"maxLimitRequestRatio": {"ephemeral-storage": 2}},
            {},
            "container ray-head of head has no requests.ephemeral-storage",
        ),
        (
            {"max": {"cpu": "2"}},
            group(sidecars=[init("3")]),
            "container a of workerGroups.default has requests.cpu 3",
        ),
        (
            {"max": {"cpu": "2"}},
            group(initContainers=[init("3")]),
            "container a of workerGroups.default has requests.cpu 3",
        ),
        (
            {"type": "Pod", "max": {"cpu": "2"}},
            group(sidecars=[init("1600m")]),
            "a pod of workerGroups.default has requests.cpu 2100m",
        ),
        (
            {"type": "Pod", "max": {"ephemeral-storage": "1Gi"}},
            {},
            "a pod of head has no limits.ephemeral-storage",
        ),
        (
            {"type": "PersistentVolumeClaim", "max": {"storage": "4Gi"}},
            CLAIM,
            "the claim of head.persistence has requests.storage 5Gi",
        ),
        (
            {"type": "PersistentVolumeClaim", "min": {"storage": "6Gi"}},
            {"gcsFaultTolerance": {"mode": "rocksdb", "rocksdb": {"size": "5Gi"}}},
            "the claim of gcsFaultTolerance.rocksdb has requests.storage 5Gi",
        ),
    ],
    ids=str,
)
def test_what_the_limit_range_does_not_allow_is_refused(
    limit: Object, values: Object, seen: str
) -> None:
    message = refusal(merged(values, limit_range({"type": "Container", **limit})))
    (bound,) = limit.keys() - {"type"}
    ((resource, allowed),) = limit[bound].items()
    assert (
        f"{seen}, but tenant.limitRange.limits has a {bound} of {allowed} for the {resource}"
        in (message)
    )


@pytest.mark.parametrize(
    "limit",
    [
        {"max": {"cpu": "2", "memory": "3Gi"}, "min": {"cpu": "500m", "memory": "2Gi"}},
        {"maxLimitRequestRatio": {"cpu": 4, "memory": 1}},
        {"max": {"ephemeral-storage": "1Gi"}},  # Kubernetes makes it everybody's limit
        {"type": "Pod", "max": {"cpu": "2"}, "min": {"cpu": "500m"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}, "min": {"storage": "5Gi"}},
    ],
    ids=str,
)
def test_what_the_limit_range_allows_to_the_last_bit_is_accepted(limit: Object) -> None:
    template(merged(CLAIM, limit_range({"type": "Container", **limit})))


def test_limit_range_does_not_look_at_a_claim_of_the_users_own() -> None:
    claim = {"head": {"persistence": {"enabled": True, "existingClaim": "mine"}}}
    limit = {"type": "PersistentVolumeClaim", "max": {"storage": "1Mi"}}
    template(merged(claim, limit_range(limit)))


def example(name: str) -> list[Object]:
    """The objects of a release with an example of a tenant's values."""
    return template(yaml.safe_load((ROOT / "examples" / "tenants" / name).read_text()))


@pytest.mark.parametrize("path", TENANTS, ids=lambda path: path.name)
def test_example_is_accepted_and_says_who_installs_it(path: Path) -> None:
    objects = example(path.name)
    first = path.read_text().splitlines()[0]
    asks_for_more = {"ResourceQuota", "LimitRange"} & {kind for kind, _ in inventory(objects)}
    installs = "a cluster admin installs it" if asks_for_more else "an admin of the namespace"
    assert re.match(f"# .*{installs}", first), first


@pytest.mark.parametrize(
    ("name", "resource", "room"),
    [("team-a.yaml", "requests.cpu", 34), ("gpu-team.yaml", "requests.nvidia.com/gpu", 4)],
)
def test_quota_of_an_example_is_what_its_cluster_needs(name: str, resource: str, room: int) -> None:
    values = yaml.safe_load((ROOT / "examples" / "tenants" / name).read_text())

    def with_room(number: int) -> Object:
        return merged(values, {"tenant": {"resourceQuota": {"hard": {resource: number}}}})

    template(with_room(room))
    with pytest.raises(TemplateError, match=f"{resource} is {room - 1}"):
        template(with_room(room - 1))


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_group_of_a_user_in_the_shared_example_has_its_label_and_resource(user: str) -> None:
    ray = flags(worker(example("shared.yaml"), user))
    assert (ray["labels"], ray["resources"]) == (f"user={user}", f'{{"{user}":4}}')
