"""The chart as a part of another: switched on and off, with values of its own and shared ones."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from harness.paths import CHART
from harness.process import run
from harness.tools import tool

from .objects import Object, container, head, inventory

PARENT = """
apiVersion: v2
name: parent
version: 0.1.0
dependencies:
  - name: ray-cluster
    version: "*"
    condition: ray-cluster.enabled
"""


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart that has this one as a dependency."""
    folder = tmp_path_factory.mktemp("parent")
    (folder / "Chart.yaml").write_text(PARENT)
    (folder / "templates").mkdir()
    shutil.copytree(CHART, folder / "charts" / CHART.name)
    return folder


def rendered(parent: Path, values: Object, helm: str) -> list[Object]:
    """The objects of a release of `parent` with these values."""
    file = parent / "values.json"
    file.write_text(json.dumps(values))
    output = run([tool(helm), "template", "ray", parent, f"--values={file}"])
    return [obj for obj in yaml.safe_load_all(output) if obj]


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_parent_switches_it_on_and_off(parent: Path, helm: str) -> None:
    assert rendered(parent, {"ray-cluster": {"enabled": False}}, helm) == []
    assert rendered(parent, {"ray-cluster": {"enabled": True}}, helm)


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_global_values_of_others_do_no_harm(parent: Path, helm: str) -> None:
    values: Object = {"global": {"imageRegistry": "mirror.local", "theirs": {"a": 1}}}
    image = container(head(rendered(parent, values, helm)))["image"]
    assert image.startswith("mirror.local/")


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_default_group_can_be_removed_from_outside(parent: Path, helm: str) -> None:
    values: Object = {"ray-cluster": {"workerGroups": {"default": None, "web": {}}}}
    found = inventory(rendered(parent, values, helm))
    names = {name for kind, name in found if kind == "Deployment"}
    assert names == {"ray-ray-cluster-head", "ray-ray-cluster-worker-web"}
