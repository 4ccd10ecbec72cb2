"""Worker groups: defaults in `worker`, differences in `workerGroups`, one Deployment each."""

import json
from typing import Any

import pytest

from harness.helm import template

from .objects import Object, container, env, flags, inventory, of_component, pod, worker


def group(values: Object, defaults: Object | None = None) -> Object:
    """The Deployment of a group "other" with these values, over these defaults in `worker`."""
    return worker(template({"worker": defaults or {}, "workerGroups": {"other": values}}), "other")


def test_each_group_has_a_deployment_an_autoscaler_and_a_budget() -> None:
    objects = template({"workerGroups": {"gpu": {}}})
    name = "ray-ray-cluster-worker-gpu"
    kinds = {kind for kind, owner in inventory(objects) if owner == name}
    assert kinds == {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"}


def test_null_removes_the_default_group() -> None:
    objects = template({"workerGroups": {"default": None, "gpu": {}}})
    names = [obj["metadata"]["name"] for obj in of_component(objects, "Deployment", "worker")]
    assert names == ["ray-ray-cluster-worker-gpu"]


def test_null_group_does_not_exist() -> None:
    names = {name for _, name in inventory(template({"workerGroups": {"gpu": None}}))}
    assert "ray-ray-cluster-worker-gpu" not in names


def test_cluster_without_workers_runs_tasks_on_the_head() -> None:
    objects = template({"head": {"numCpus": 2}, "workerGroups": {"default": None}})
    assert not of_component(objects, "Deployment", "worker")


def test_group_takes_the_defaults_it_does_not_change() -> None:
    deployment = group({"numCpus": 3}, {"nodeSelector": {"a": "b"}})
    assert flags(deployment)["num-cpus"] == "3"
    assert pod(deployment)["nodeSelector"] == {"a": "b"}


def test_false_in_a_group_wins() -> None:
    objects = template({"workerGroups": {"default": {"podDisruptionBudget": {"enabled": False}}}})
    assert not of_component(objects, "PodDisruptionBudget", "worker")


def test_zero_in_a_group_wins() -> None:
    deployment = group({"autoscaling": {"enabled": False}, "replicas": 0}, {"replicas": 3})
    assert deployment["spec"]["replicas"] == 0


def test_empty_list_in_a_group_wins() -> None:
    defaults = {"tolerations": [{"operator": "Exists"}]}
    assert "tolerations" not in pod(group({"tolerations": []}, defaults))


def test_maps_of_a_group_are_merged_key_by_key() -> None:
    deployment = group({"nodeSelector": {"c": "d"}}, {"nodeSelector": {"a": "b"}})
    assert pod(deployment)["nodeSelector"] == {"a": "b", "c": "d"}


@pytest.mark.parametrize("cleared", [None, {"a": None}])
def test_null_in_a_group_clears(cleared: Any) -> None:
    assert "nodeSelector" not in pod(group({"nodeSelector": cleared}, {"nodeSelector": {"a": "b"}}))


def test_null_clears_a_single_limit() -> None:
    deployment = group({"resources": {"limits": {"cpu": None}}})
    assert container(deployment)["resources"]["limits"] == {"memory": "2Gi"}


def test_settings_of_a_group_stay_out_of_the_others() -> None:
    groups = {"a": {"nodeSelector": {"only": "a"}}, "b": {}, "default": {}}
    objects = template({"workerGroups": groups})
    assert pod(worker(objects, "a"))["nodeSelector"] == {"only": "a"}
    assert "nodeSelector" not in pod(worker(objects, "b"))
    assert "nodeSelector" not in pod(worker(objects, "default"))


def test_cpus_are_the_request_in_whole_cpus(defaults: list[Object]) -> None:
    assert flags(worker(defaults))["num-cpus"] == "$(CPU_REQUEST)"
    assert env(worker(defaults))["CPU_REQUEST"]["resourceFieldRef"] == {
        "containerName": "ray-worker",
        "resource": "requests.cpu",
        "divisor": "1",
    }


def test_explicit_cpus_win_over_the_request() -> None:
    deployment = group({"numCpus": 4})
    assert flags(deployment)["num-cpus"] == "4"
    assert "CPU_REQUEST" not in env(deployment)


def test_ray_labels_and_resources_become_flags() -> None:
    labels = {"accelerator": "gpu", "example.com/pool": "spot"}
    rendered = flags(group({"rayLabels": labels, "rayResources": {"slots": 2, "disk": 1000000}}))
    assert rendered["labels"] == "accelerator=gpu,example.com/pool=spot"
    assert json.loads(rendered["resources"]) == {"slots": 2, "disk": 1000000}


def test_workers_run_the_same_image_as_the_head() -> None:
    objects = template({"image": {"tag": "2.59.0-py312"}})
    images = {container(obj)["image"] for obj in objects if obj["kind"] == "Deployment"}
    assert images == {"docker.io/rayproject/ray:2.59.0-py312"}


def test_every_port_of_a_worker_is_the_heads(defaults: list[Object]) -> None:
    ports = {flag for flag in flags(worker(defaults)) if "port" in flag}
    assert len(ports) == 10


def test_update_starts_a_new_worker_before_an_old_one_goes(defaults: list[Object]) -> None:
    strategy = worker(defaults)["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_group_that_is_recreated_has_no_rolling_update() -> None:
    objects = template({"workerGroups": {"default": {"strategy": {"type": "Recreate"}}}})
    assert worker(objects)["spec"]["strategy"] == {"type": "Recreate"}


def test_probe_outlives_the_second_that_an_absent_head_costs(defaults: list[Object]) -> None:
    probes = ["startupProbe", "livenessProbe", "readinessProbe"]
    assert all(container(worker(defaults))[probe]["timeoutSeconds"] >= 2 for probe in probes)


def test_budget_lets_one_worker_go_at_a_time(defaults: list[Object]) -> None:
    budget = worker(defaults, kind="PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == worker(defaults)["spec"]["selector"]


def test_budget_takes_a_percentage() -> None:
    values = {"worker": {"podDisruptionBudget": {"maxUnavailable": "50%"}}}
    budget = worker(template(values), kind="PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == "50%"


@pytest.mark.parametrize("number", [0, 1, "50%"])
def test_budget_can_say_how_many_workers_stay(number: int | str) -> None:
    values = {"worker": {"podDisruptionBudget": {"minAvailable": number}}}
    budget = worker(template(values), kind="PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == number
    assert "maxUnavailable" not in budget


def test_budget_can_count_broken_workers() -> None:
    values = {"worker": {"podDisruptionBudget": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}}
    budget = worker(template(values), kind="PodDisruptionBudget")["spec"]
    assert budget["unhealthyPodEvictionPolicy"] == "IfHealthyBudget"


@pytest.mark.parametrize(
    ("field", "value"),
    [("minReadySeconds", 5), ("progressDeadlineSeconds", 1000000), ("revisionHistoryLimit", 0)],
)
def test_deployment_field_is_passed_through(field: str, value: int) -> None:
    assert group({field: value})["spec"][field] == value


def test_false_for_a_pod_is_not_taken_for_unset() -> None:
    assert pod(group({"hostUsers": False}))["hostUsers"] is False


def test_broken_worker_does_not_hold_up_a_node_drain(defaults: list[Object]) -> None:
    budget = worker(defaults, kind="PodDisruptionBudget")["spec"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
