"""Scaling on demand: the sidecar of the head, what it is told, and what it may do."""

import json
from typing import Any

import pytest

from harness.helm import template
from harness.paths import CHART

from .objects import Object, container, find, head, inventory, pod, refusal, volume, worker

NAME = "ray-ray-cluster-demand"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105


def demanding(values: Object | None = None, **group: Any) -> list[Object]:
    """The objects of a release whose default group follows demand and has these values."""
    autoscaling = {"demand": {"enabled": True}, **group.pop("autoscaling", {})}
    groups = {"default": {"autoscaling": autoscaling, **group}}
    return template({"workerGroups": groups, **(values or {})})


def sidecar(objects: list[Object]) -> Object:
    """The container that scales on demand."""
    (found,) = (one for one in pod(head(objects))["containers"] if one["name"] == "demand")
    assert isinstance(found, dict)
    return found


def config(objects: list[Object]) -> Object:
    """What the sidecar is told."""
    found: Object = json.loads(find(objects, "ConfigMap", NAME)["data"]["config.json"])
    return found


def rules(objects: list[Object]) -> dict[str, Object]:
    """The rules of the Role, by resource."""
    return {rule["resources"][0]: rule for rule in find(objects, "Role", NAME)["rules"]}


def test_release_without_demand_has_none_of_it(defaults: list[Object]) -> None:
    assert "demand" not in json.dumps(defaults)


def test_sidecar_has_every_module_that_it_imports() -> None:
    data = find(demanding(), "ConfigMap", NAME)["data"]
    sources = {path.name: path.read_text() for path in CHART.glob("files/demand/*.py")}
    assert {name: text for name, text in data.items() if name != "config.json"} == sources
    assert sidecar(demanding())["command"] == ["python", "/demand/main.py", "/demand"]


def test_sidecar_runs_rays_own_image() -> None:
    objects = demanding({"head": {"image": {"tag": "2.60.0-py312"}}})
    assert sidecar(objects)["image"] == container(head(objects))["image"]


def test_workers_have_no_sidecar() -> None:
    assert [one["name"] for one in pod(worker(demanding()))["containers"]] == ["ray-worker"]


@pytest.mark.parametrize(
    ("group", "amounts"),
    [
        ({}, {"CPU": 1, "GPU": 0}),
        ({"resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": 2}}}, {"CPU": 2}),
        ({"numCpus": 7}, {"CPU": 7}),
        ({"resources": {"limits": {"nvidia.com/gpu": 2}}}, {"GPU": 2}),
        ({"rayResources": {"lathe": 3}}, {"lathe": 3}),
        (
            {"objectStoreMemory": "1Gi", "resources": {"limits": {"memory": "4Gi"}}},
            {"object_store_memory": 2**30, "memory": 3 * 2**30},
        ),
    ],
)
def test_sidecar_knows_what_ray_is_told_of_a_worker(group: Object, amounts: Object) -> None:
    (told,) = config(demanding(**group))["groups"]
    assert told["amounts"].items() >= amounts.items()


def test_sidecar_knows_the_labels_that_ray_sets_by_itself() -> None:
    (told,) = config(demanding(rayLabels={"zone": "a"}))["groups"]
    assert told["labels"] == {"zone": "a", "ray.io/node-group": "default"}


def test_sidecar_knows_the_groups_limits_and_objects() -> None:
    autoscaling = {
        "minReplicas": 2,
        "maxReplicas": 9,
        "demand": {"enabled": True, "quietSeconds": 7},
    }
    objects = demanding(autoscaling=autoscaling)
    (told,) = config(objects)["groups"]
    assert (told["minReplicas"], told["maxReplicas"], told["quietSeconds"]) == (2, 9, 7)
    assert ("Deployment", told["deployment"]) in inventory(objects)
    assert ("HorizontalPodAutoscaler", told["autoscaler"]) in inventory(objects)


def test_groups_without_demand_are_none_of_its_business() -> None:
    groups = {"default": {"autoscaling": {"demand": {"enabled": True}}}, "other": {}}
    objects = template({"workerGroups": groups})
    assert [told["name"] for told in config(objects)["groups"]] == ["default"]
    named = [name for rule in rules(objects).values() for name in rule.get("resourceNames", [])]
    assert not [name for name in named if "other" in name]
    assert worker(objects, "other", "HorizontalPodAutoscaler")["spec"]["minReplicas"] == 1


def test_changed_group_restarts_no_head() -> None:
    assert head(demanding(numCpus=1)) == head(demanding(numCpus=2))


def test_floor_is_not_helms_to_write() -> None:
    autoscaling = {"minReplicas": 2, "maxReplicas": 9}
    spec = worker(demanding(autoscaling=autoscaling), kind="HorizontalPodAutoscaler")["spec"]
    assert "minReplicas" not in spec
    assert spec["maxReplicas"] == 9


def test_switching_demand_on_makes_another_autoscaler(defaults: list[Object]) -> None:
    """Helm 4 would refuse to write a floor again that another has changed."""
    names = [
        worker(objects, kind="HorizontalPodAutoscaler")["metadata"]["name"]
        for objects in (defaults, demanding())
    ]
    assert names[0] != names[1]


def test_group_may_have_no_workers() -> None:
    (told,) = config(demanding(autoscaling={"minReplicas": 0}))["groups"]
    assert told["minReplicas"] == 0


def test_sidecar_may_scale_its_groups_by_name_and_write_events_and_nothing_else() -> None:
    objects = demanding()
    (told,) = config(objects)["groups"]
    assert rules(objects) == {
        "deployments/scale": {
            "apiGroups": ["apps"],
            "resources": ["deployments/scale"],
            "resourceNames": [told["deployment"]],
            "verbs": ["get", "patch"],
        },
        "horizontalpodautoscalers": {
            "apiGroups": ["autoscaling"],
            "resources": ["horizontalpodautoscalers"],
            "resourceNames": [told["autoscaler"]],
            "verbs": ["get", "patch"],
        },
        "events": {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    }


def test_pods_are_the_sidecars_to_change_only_where_a_group_marks_them() -> None:
    objects = demanding(autoscaling={"demand": {"enabled": True, "podDeletionCost": True}})
    assert rules(objects).items() >= rules(demanding()).items()
    assert rules(objects)["pods"] == {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}


@pytest.mark.parametrize("marks", [True, False])
def test_sidecar_knows_which_groups_workers_it_marks(marks: bool) -> None:
    demand = {"enabled": True, "podDeletionCost": marks}
    (told,) = config(demanding(autoscaling={"demand": demand}))["groups"]
    assert told["podDeletionCost"] is marks


def test_marking_pods_changes_nothing_but_the_role_and_what_the_sidecar_is_told() -> None:
    demand = {"enabled": True, "podDeletionCost": True}
    without = demanding()
    changed = [one for one in demanding(autoscaling={"demand": demand}) if one not in without]
    assert {one["kind"] for one in changed} == {"ConfigMap", "Role"}


def test_token_is_in_the_sidecar_alone() -> None:
    objects = demanding()
    holders = [
        one["name"]
        for one in pod(head(objects))["containers"]
        for mount in one["volumeMounts"]
        if mount["name"] == "demand-account"
    ]
    assert holders == ["demand"]
    assert pod(head(objects))["automountServiceAccountToken"] is False
    sources = volume(head(objects), "demand-account")["projected"]["sources"]
    assert "serviceAccountToken" in sources[0]


@pytest.mark.parametrize(
    ("values", "account", "made"),
    [
        ({}, NAME, True),
        ({"serviceAccount": {"create": True}}, "ray-ray-cluster", False),
        ({"serviceAccount": {"name": "theirs"}}, "theirs", False),
        ({"head": {"serviceAccountName": "own"}}, "own", False),
    ],
)
def test_head_keeps_an_account_that_it_has(values: Object, account: str, made: bool) -> None:
    objects = demanding(values)
    assert pod(head(objects))["serviceAccountName"] == account
    (subject,) = find(objects, "RoleBinding", NAME)["subjects"]
    assert (subject["name"], subject["namespace"]) == (account, "ray")
    assert (("ServiceAccount", NAME) in inventory(objects)) is made


def test_workers_take_none_of_the_account() -> None:
    assert "serviceAccountName" not in pod(worker(demanding()))


def test_metrics_are_on_the_heads_service() -> None:
    objects = demanding({"ports": {"demand": 9999}})
    ports = find(objects, "Service", "ray-ray-cluster-head")["spec"]["ports"]
    assert {"name": "demand", "port": 9999, "targetPort": "demand"} in ports
    assert sidecar(objects)["ports"] == [{"name": "demand", "containerPort": 9999}]
    assert config(objects)["port"] == 9999


def test_kedas_group_gets_demand_as_a_trigger_and_no_one_else_scales_it() -> None:
    autoscaling = {"keda": {"enabled": True}, "minReplicas": 0}
    objects = demanding(autoscaling=autoscaling)
    trigger = worker(objects, kind="ScaledObject")["spec"]["triggers"][-1]
    assert trigger == {
        "type": "metrics-api",
        "metadata": {
            "url": "http://ray-ray-cluster-head.ray.svc.cluster.local:8081/metrics",
            "format": "prometheus",
            "valueLocation": 'ray_cluster_demand_floor_workers{group="default"}',
            "targetValue": "1",
        },
    }
    (told,) = config(objects)["groups"]
    assert told["autoscaler"] is None
    assert "horizontalpodautoscalers" not in rules(objects)


def test_quota_counts_the_sidecar() -> None:
    """Of 30m, beside 500m of the head and of each of three workers during an update."""
    resources = {"requests": {"cpu": "30m"}}
    values = {
        "head": {"demandSidecar": {"resources": resources}},
        "worker": {"autoscaling": {"demand": {"enabled": True}}},
        "tenant": {
            "resourceQuota": {
                "enabled": True,
                "countDraining": False,
                "hard": {"requests.cpu": "1m"},
            }
        },
    }
    assert "the release comes to 2030m at its largest" in refusal(values)
