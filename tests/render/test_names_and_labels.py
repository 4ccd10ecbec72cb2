"""Names fit into Kubernetes' limits without collisions, and labels tell objects apart."""

import itertools

import pytest

from harness.helm import template

from .objects import Object, deployments, env, find, flags, head, inventory, worker

LONG = "r" * 52
TWO_GROUPS: Object = {"workerGroups": {"default": {}, "gpu": {}}}
SELECTING = {
    "Deployment": lambda obj: obj["spec"]["selector"]["matchLabels"],
    "PodDisruptionBudget": lambda obj: obj["spec"]["selector"]["matchLabels"],
    "Service": lambda obj: obj["spec"]["selector"],
    "NetworkPolicy": lambda obj: obj["spec"]["podSelector"]["matchLabels"],
}


def test_names_have_at_most_63_characters_with_the_longest_release_and_group() -> None:
    objects = template({"workerGroups": {"g" * 30: {}}}, release="r" * 53)
    too_long = {name for _, name in inventory(objects) if len(name) > 63}
    assert not too_long


def test_short_names_are_not_changed() -> None:
    assert ("Deployment", "ray-ray-cluster-head") in inventory(template())


def test_two_long_releases_that_differ_at_the_end_share_no_name() -> None:
    first = inventory(template(release=LONG + "a"))
    second = inventory(template(release=LONG + "b"))
    assert not first & second


def test_two_long_groups_that_differ_at_the_end_share_no_name() -> None:
    objects = template({"workerGroups": {"g" * 29 + "a": {}, "g" * 29 + "b": {}}}, release=LONG)
    assert len(inventory(objects)) == len(objects)


def test_shortened_name_keeps_its_suffix() -> None:
    names = {name for _, name in inventory(template(release=LONG))}
    assert {name.rsplit("-", 1)[1] for name in names} == {
        "auth", "default", "gcs", "head", "network", "test",
    }  # fmt: skip


def test_release_that_contains_the_charts_name_is_not_doubled() -> None:
    objects = template(release="my-ray-cluster")
    assert ("Service", "my-ray-cluster-head") in inventory(objects)


def test_fullname_override_begins_every_name() -> None:
    objects = template({"fullnameOverride": "blue"})
    assert all(name.startswith("blue-") for _, name in inventory(objects))


def test_every_object_names_its_namespace() -> None:
    objects = template({"head": {"persistence": {"enabled": True}}}, namespace="team-a")
    assert {obj["metadata"]["namespace"] for obj in objects} == {"team-a"}


def test_every_object_carries_the_standard_labels(defaults: list[Object]) -> None:
    for obj in defaults:
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "ray-cluster"
        assert labels["app.kubernetes.io/instance"] == "ray"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/version"] == "2.60.0"
        assert labels["app.kubernetes.io/component"] in {
            "cluster", "gcs", "head", "network", "test", "worker",
        }  # fmt: skip
        assert labels["helm.sh/chart"].startswith("ray-cluster-")


def test_common_labels_are_on_every_object_and_pod() -> None:
    objects = template({"commonLabels": {"team": "a"}})
    pods = [obj["spec"]["template"] for obj in deployments(objects)]
    assert all(obj["metadata"]["labels"]["team"] == "a" for obj in [*objects, *pods])


# Where the labels and annotations of one object are in the values: a value, its kind and name.
OWN_METADATA: list[tuple[str, Object, str, str]] = [
    ("head.deployment", {}, "Deployment", "head"),
    ("head.service.", {}, "Service", "head"),
    ("head.externalService.", {"enabled": True}, "Service", "head-external"),
    ("head.persistence.", {"enabled": True}, "PersistentVolumeClaim", "head"),
    ("head.podDisruptionBudget.", {"enabled": True}, "PodDisruptionBudget", "head"),
    ("worker.deployment", {}, "Deployment", "worker-default"),
    ("worker.autoscaling.", {}, "HorizontalPodAutoscaler", "worker-default"),
    ("worker.autoscaling.", {"keda": {"enabled": True}}, "ScaledObject", "worker-default"),
    ("worker.podDisruptionBudget.", {}, "PodDisruptionBudget", "worker-default"),
]


@pytest.mark.parametrize(("path", "values", "kind", "name"), OWN_METADATA)
def test_object_takes_labels_and_annotations_of_its_own(
    path: str, values: Object, kind: str, name: str
) -> None:
    node, _, prefix = path.partition(".")
    own = {"labels": {"mine": "1"}, "annotations": {"theirs": "2"}}
    nested = prefix.endswith(".")
    settings = (
        {prefix.strip("."): {**values, **own}}
        if nested
        else {f"{prefix}{key.capitalize()}": value for key, value in own.items()}
    )
    objects = template({node: settings, "commonAnnotations": {"theirs": "1", "all": "3"}})
    metadata = find(objects, kind, f"ray-ray-cluster-{name}")["metadata"]
    assert metadata["labels"]["mine"] == "1"
    assert metadata["annotations"] == {"theirs": "2", "all": "3"}


def test_labels_of_a_deployment_stay_off_its_pods() -> None:
    deployment = head(template({"head": {"deploymentLabels": {"mine": "1"}}}))
    assert "mine" not in deployment["spec"]["template"]["metadata"]["labels"]
    assert "mine" not in deployment["spec"]["selector"]["matchLabels"]


def test_null_clears_a_label_or_annotation() -> None:
    own: Object = {"labels": {"a": None}, "annotations": {"a": None}}
    common = {"a": "b", "c": None}
    values = {"commonLabels": common, "commonAnnotations": common, "head": {"service": own}}
    objects = template(values)
    service = find(objects, "Service", "ray-ray-cluster-head")["metadata"]
    deployment = head(objects)["metadata"]
    assert not {"a", "c"} & {*service["labels"], *service.get("annotations", {})}
    assert (deployment["labels"]["a"], deployment["annotations"]) == ("b", {"a": "b"})


def test_common_annotations_are_on_every_object_and_restart_no_pod() -> None:
    values = {"commonAnnotations": {"owner": "a"}, "head": {"persistence": {"enabled": True}}}
    objects = template(values)
    assert {obj["metadata"]["annotations"]["owner"] for obj in objects} == {"a"}
    for deployment in deployments(objects):
        assert "annotations" not in deployment["spec"]["template"]["metadata"]


def test_selectors_hold_nothing_that_changes_with_values_or_versions() -> None:
    objects = template({"commonLabels": {"team": "a"}, "worker": {"podLabels": {"x": "y"}}})
    for obj in (obj for obj in objects if obj["kind"] in SELECTING):
        stable = {"name", "instance", "component"}
        allowed = {f"app.kubernetes.io/{key}" for key in stable} | {"ray-cluster/worker-group"}
        assert set(SELECTING[obj["kind"]](obj)) <= allowed


def test_pods_carry_the_labels_that_select_them(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_head_service_selects_the_head_alone(defaults: list[Object]) -> None:
    selector = find(defaults, "Service", "ray-ray-cluster-head")["spec"]["selector"]
    selected = [
        obj["metadata"]["name"]
        for obj in deployments(defaults)
        if selector.items() <= obj["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert selected == ["ray-ray-cluster-head"]


def test_no_selector_matches_the_pods_of_another_deployment() -> None:
    for one, other in itertools.permutations(deployments(template(TWO_GROUPS)), 2):
        selector = one["spec"]["selector"]["matchLabels"]
        labels = other["spec"]["template"]["metadata"]["labels"]
        assert not selector.items() <= labels.items()


def test_new_chart_version_alone_restarts_no_pod(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


@pytest.mark.parametrize("release", ["123", "true"])
def test_release_name_that_looks_like_another_type_stays_text(release: str) -> None:
    objects = template({"fullnameOverride": "ray"}, release=release)
    labels = head(objects)["spec"]["selector"]["matchLabels"]
    assert labels["app.kubernetes.io/instance"] == release


def test_workers_reach_the_head_by_its_fully_qualified_name() -> None:
    objects = template({"clusterDomain": "k8s.example.org"}, namespace="team-a")
    address = flags(worker(objects))["address"]
    assert address == "ray-ray-cluster-gcs.team-a.svc.k8s.example.org:6380"


def test_spread_constraint_without_selector_gets_the_groups_own() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    values = {**TWO_GROUPS, "worker": {"topologySpreadConstraints": [constraint]}}
    deployment = worker(template(values), "gpu")
    (rendered,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert rendered["labelSelector"] == deployment["spec"]["selector"]


def test_group_name_reaches_ray(defaults: list[Object]) -> None:
    assert env(worker(defaults))["RAY_NODE_TYPE_NAME"] == "default"
