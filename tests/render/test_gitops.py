"""The examples for GitOps tools: objects that these take, with values that the chart takes."""

from pathlib import Path

import pytest
import yaml

from harness import manifest, schemas
from harness.helm import template
from harness.paths import ROOT

from .leaves import merged
from .objects import Object

FOLDER = ROOT / "examples" / "gitops"
APPLICATIONS = FOLDER / "argocd-applicationset.yaml"
RELEASE = FOLDER / "flux-helmrelease.yaml"
HELMFILE = FOLDER / "helmfile.yaml"
NEWEST = schemas.KUBERNETES[-1:]


def objects(file: Path) -> list[Object]:
    """The objects in an example."""
    return list(manifest.load_all(file.read_text()))


@pytest.mark.parametrize("file", [APPLICATIONS, RELEASE], ids=lambda file: file.stem)
def test_example_has_the_schema_of_its_tool(file: Path) -> None:
    schemas.check(objects(file), NEWEST)


@pytest.mark.parametrize("file", [APPLICATIONS, RELEASE], ids=lambda file: file.stem)
def test_misspelt_field_of_an_example_is_found(file: Path) -> None:
    for obj in objects(file):
        with pytest.raises(schemas.NonConformingError, match="mistake"):
            schemas.check([obj | {"spec": obj["spec"] | {"mistake": 1}}], NEWEST)


def test_every_example_is_checked_or_says_that_it_is_not() -> None:
    files = set(FOLDER.glob("*.yaml")) - {APPLICATIONS, RELEASE}
    assert {file.name for file in files if not file.read_text().startswith("# Unchecked")} == set()


def test_argo_cd_finds_the_tenants_files() -> None:
    (obj,) = objects(APPLICATIONS)
    (path,) = (file["path"] for file in obj["spec"]["generators"][0]["git"]["files"])
    assert list(ROOT.glob(path)), f"{path} names no file"
    source = obj["spec"]["template"]["spec"]["source"]
    (values,) = source["helm"]["valueFiles"]
    folder = (ROOT / source["path"] / values).parent.resolve()
    assert folder == (ROOT / path).parent, f"{values} is not in {path}"


def test_argo_cd_renders_no_token_which_would_be_another_each_time() -> None:
    (obj,) = objects(APPLICATIONS)
    own = obj["spec"]["template"]["spec"]["source"]["helm"]["valuesObject"]
    (path,) = (file["path"] for file in obj["spec"]["generators"][0]["git"]["files"])
    for file in ROOT.glob(path):
        values = merged(yaml.safe_load(file.read_text()), own)
        assert not [obj for obj in template(values) if obj["kind"] == "Secret"], file.name


def test_chart_takes_the_values_of_the_helm_release() -> None:
    (release,) = (obj for obj in objects(RELEASE) if obj["kind"] == "HelmRelease")
    assert template(release["spec"]["values"])


def test_helmfile_names_files_that_exist() -> None:
    for release in yaml.safe_load(HELMFILE.read_text())["releases"]:
        assert (FOLDER / release["chart"] / "Chart.yaml").exists()
        for file in release["values"]:
            assert template(yaml.safe_load((FOLDER / file).read_text()), release=release["name"])
