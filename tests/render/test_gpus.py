"""GPUs: Ray offers what the pod has, and nothing that it only sees."""

import pytest

from harness.helm import template

from .objects import Object, flags, head, worker


def gpus(resources: Object, **values: object) -> str:
    """What the default group's workers offer."""
    group = {"resources": resources, **values}
    return flags(worker(template({"workerGroups": {"default": group}})))["num-gpus"]


def test_node_without_gpus_offers_none(defaults: list[Object]) -> None:
    assert flags(head(defaults))["num-gpus"] == "0"
    assert flags(worker(defaults))["num-gpus"] == "0"


@pytest.mark.parametrize(
    "resource",
    [
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-1g.10gb",
        "amd.com/gpu",
        "gpu.intel.com/i915",
        "gpu.intel.com/xe",
    ],
)
@pytest.mark.parametrize("count", [2, "2"])
def test_limit_becomes_gpus(resource: str, count: int | str) -> None:
    assert gpus({"limits": {resource: count}}) == "2"


@pytest.mark.parametrize("resource", ["example.com/gpu-memory", "google.com/tpu", "cpu"])
def test_other_resources_are_no_gpus(resource: str) -> None:
    assert gpus({"limits": {resource: 1}}) == "0"


def test_slices_of_different_sizes_add_up() -> None:
    assert gpus({"limits": {"nvidia.com/mig-1g.10gb": 2, "nvidia.com/mig-3g.20gb": 1}}) == "3"


def test_fewer_gpus_can_be_offered_than_there_are() -> None:
    assert gpus({"limits": {"nvidia.com/gpu": 2}}, numGpus=0) == "0"


def test_gpus_of_a_resource_claim_are_given_as_a_number() -> None:
    claims = {"claims": [{"name": "gpu"}]}
    assert gpus(claims, numGpus=1, resourceClaims=[{"name": "gpu"}]) == "1"


def test_head_can_have_gpus() -> None:
    values = {"head": {"resources": {"limits": {"amd.com/gpu": 1}}}}
    assert flags(head(template(values)))["num-gpus"] == "1"
