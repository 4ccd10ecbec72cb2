"""A suspended cluster has no pods, and comes back as what it was."""

import pytest

from harness.helm import template

from .objects import Object, find, head, inventory, of_component, refusal

VALUES: Object = {
    "head": {"persistence": {"enabled": True}},
    "serviceAccount": {"create": True},
    "serve": {"enabled": True},
}


@pytest.fixture(scope="module")
def suspended() -> list[Object]:
    """The objects of a release that sleeps."""
    return template({**VALUES, "suspend": True})


def test_head_has_no_pod(suspended: list[Object]) -> None:
    assert head(suspended)["spec"]["replicas"] == 0


def test_workers_and_their_autoscalers_are_gone(suspended: list[Object]) -> None:
    kinds = {obj["kind"] for obj in suspended if obj["metadata"]["name"].endswith("-default")}
    assert kinds == set()


def test_no_field_is_written_that_an_autoscaler_owned(suspended: list[Object]) -> None:
    assert not of_component(suspended, "Deployment", "worker")


def test_addresses_claims_accounts_and_token_stay(suspended: list[Object]) -> None:
    stays = {"Service", "PersistentVolumeClaim", "ServiceAccount", "Secret"}
    awake = {entry for entry in inventory(template(VALUES)) if entry[0] in stays}
    assert awake <= inventory(suspended)


def test_all_but_the_number_of_heads_is_unchanged(suspended: list[Object]) -> None:
    awake = template(VALUES)
    for obj in suspended:
        other = find(awake, obj["kind"], obj["metadata"]["name"])
        if obj["kind"] == "Deployment":
            other["spec"]["replicas"] = 0
        assert obj == other


def test_mistakes_are_found_while_a_cluster_sleeps() -> None:
    values = {"suspend": True, "worker": {"autoscaling": {"minReplicas": 5}}}
    assert "workerGroups.default.autoscaling.maxReplicas" in refusal(values)
