"""Equal values render equal objects, or every GitOps sync would restart the cluster."""

import pytest

from harness.helm import template

from .objects import Object

CLUSTERS: list[Object] = [
    {},
    {"workerGroups": {name: {} for name in "hbgcaedf"}},
    {
        "head": {"persistence": {"enabled": True}, "podLabels": {"z": "1", "a": "2"}},
        "worker": {"rayLabels": {"z": "1", "a": "2"}, "rayResources": {"z": 1, "a": 2}},
        "gcsFaultTolerance": {"mode": "redis", "redis": {"address": "redis:6379"}},
    },
]


@pytest.mark.parametrize("values", CLUSTERS)
def test_second_render_equals_the_first(values: Object) -> None:
    assert template(values) == template(values)
