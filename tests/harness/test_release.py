"""What has to agree before a release can be cut."""

import re

import yaml

from harness.paths import CHART, ROOT

CHART_YAML = yaml.safe_load((CHART / "Chart.yaml").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_newest_section_of_the_changelog_is_the_charts_version() -> None:
    (newest, *_) = re.findall(r"^## (\S+)", CHANGELOG, re.M)
    assert newest == CHART_YAML["version"]


def test_artifact_hub_shows_changes_of_a_kind_that_it_knows() -> None:
    changes = yaml.safe_load(CHART_YAML["annotations"]["artifacthub.io/changes"])
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert [change for change in changes if change["kind"] not in kinds] == []
    assert all(change["description"] for change in changes)


def test_artifact_hub_shows_the_image_that_is_installed() -> None:
    (image,) = yaml.safe_load(CHART_YAML["annotations"]["artifacthub.io/images"])
    assert image["image"] == f"docker.io/rayproject/ray:{CHART_YAML['appVersion']}"


def test_a_release_is_a_prerelease_as_long_as_its_version_says_so() -> None:
    before = CHART_YAML["version"].startswith("0.") or "-" in CHART_YAML["version"]
    assert (CHART_YAML["annotations"]["artifacthub.io/prerelease"] == "true") == before
