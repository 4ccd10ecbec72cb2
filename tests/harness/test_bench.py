"""What a benchmark writes down."""

from pathlib import Path
from typing import Any

import pytest

from harness import bench, start, tenants


@pytest.fixture
def result() -> dict[str, Any]:
    """A result of the render benchmark."""
    samples = {"defaults": [0.2, 0.1, 0.4], "50 groups": [2.0, 2.1], "1 group": [0.2]}
    return {
        "unit": "s",
        "commit": "0123456789abcdef",
        "machine": {"cpus": 2, "cpu": "Some CPU", "load": 0.1},
        "versions": {"Helm": "v4.0.0"},
        "goal": {"defaults": 0.3, "50 groups": 1.5},
        "ours": {"samples": {**samples, "10 groups": [0.5]}},
    }


def test_other_results_are_kept(tmp_path: Path, result: dict[str, Any]) -> None:
    bench.write("a", result, tmp_path)
    bench.write("b", result, tmp_path)
    assert set(bench.read(tmp_path)) == {"a", "b"}


def test_readme_tells_median_and_goal(result: dict[str, Any]) -> None:
    text = bench.readme({"render": result})
    assert "| defaults | 3 | 0.200 |" in text
    assert "| 0.3 ✓ |" in text
    assert "| 1.5 ✗ |" in text


def test_readme_has_both_sides_in_one_row(result: dict[str, Any]) -> None:
    theirs = {case: [4.0] for case in result["ours"]["samples"]}
    text = bench.readme({"render": result | {"kuberay": {"samples": theirs}}})
    assert "| ours: median, s | ours: spread, s | KubeRay: median, s |" in text
    assert "| defaults | 3 | 0.200 | 0.100 to 0.400 | 4.000 | 4.000 to 4.000 | 0.05 |" in text


ABOUT = {"commit": "0", "machine": {"cpus": 2, "cpu": "", "load": 0}, "versions": {}}


def both(
    ours: dict[str, list[float]],
    theirs: dict[str, list[float]],
    *,
    figures: tuple[dict[str, float], dict[str, float]] = ({}, {}),
    **more: Any,
) -> str:
    """The README of a benchmark with two sides."""
    mine, kuberay = (
        {"samples": samples, "figures": counted}
        for samples, counted in zip((ours, theirs), figures, strict=True)
    )
    result = {"unit": "s", "goal": {}, "ours": mine, "kuberay": kuberay}
    return bench.readme({"a": {**ABOUT, **result, **more}})


@pytest.mark.parametrize(("theirs", "mark"), [(10.0, "✓"), (9.0, "✗")])
def test_goal_beside_kuberay_is_held_against_its_median(theirs: float, mark: str) -> None:
    text = both({"task": [6.0]}, {"task": [theirs]}, goal={"task": {"ratio": 0.6}})
    assert f"| 0.6 of KubeRay {mark} |" in text


def test_case_of_one_side_alone_is_a_row_as_well() -> None:
    text = both({"a": [1.0]}, {"b": [2.0]})
    assert "| a | 1 | 1.000 | 1.000 to 1.000 | - | - |  |  |" in text
    assert "| b | 1 | - | - | 2.000 | 2.000 to 2.000 |  |  |" in text


def test_numbers_that_are_no_seconds_are_written_without_needless_decimals() -> None:
    text = both({"bytes": [51234.0], "rate": [3.25]}, {"bytes": [2.0], "rate": [4.0]}, unit="")
    assert "| bytes | 1 | 51,234 | 51,234 to 51,234 | 2 |" in text
    assert "| rate | 1 | 3.2 |" in text


def test_results_of_both_sides_are_drawn(tmp_path: Path, result: dict[str, Any]) -> None:
    bench.write("a", result, tmp_path)
    assert "side-by-side.svg" not in (tmp_path / "README.md").read_text()
    samples = {"samples": {"stage": [1.0], "total": [2.0, 3.0]}}
    bench.write("b", result | {"goal": {}, "ours": samples, "kuberay": samples}, tmp_path)
    assert "](side-by-side.svg)" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "side-by-side.svg").read_text().rstrip().endswith("</svg>")


MILESTONES = {name: [float(at)] for at, name in enumerate(start.MILESTONES)}
FOOTPRINT = {
    "operator's memory, MiB": [10.0],
    "their memory, MiB": [5.0],
    "of it Helm's release, bytes": [2.0**20],
}


@pytest.mark.parametrize(
    ("name", "samples", "said"),
    [
        ("start", MILESTONES, "there 3.0 s after the GCS"),
        ("scale_in", {"busy, deleted": [60.0]}, "Of 8 tasks that may not be tried again"),
        ("footprint", FOOTPRINT, "would hold 510 MiB"),
        ("footprint", FOOTPRINT, "would come to 1,000 MiB of etcd's 2 GiB"),
    ],
)
def test_figures_are_explained(name: str, samples: dict[str, Any], said: str) -> None:
    side = {"samples": samples, "lost": 0}
    result = {"unit": "s", "goal": {}, "ours": side, "kuberay": side, "tasks": 8}
    assert said in " ".join(bench.readme({name: ABOUT | result}).split())


@pytest.mark.parametrize(
    "said",
    [
        "A tenant takes 300 ms (ours) and 120 ms (KubeRay)",
        "20 s among 100 tenants",
        "an autoscaler took 15 s as a mean",
        "a tenant is 80 writes of ours and 40 of KubeRay's",
    ],
)
def test_tenants_are_explained(said: str) -> None:
    ours = {
        tenants.case(100): [30.0], tenants.reaction(100): [20.0],
        tenants.between_looks(100): [15.0],
    }  # fmt: skip
    theirs = {tenants.case(100): [12.0]}
    sides = {
        side: {"samples": samples, "figures": {"writes per tenant": writes}}
        for side, samples, writes in (("ours", ours, 80.2), ("kuberay", theirs, 40.1))
    }
    result = {"unit": "s", "goal": {}, **sides}
    assert said in " ".join(bench.readme({"tenants_equal": ABOUT | result}).split())


def test_figures_that_were_counted_once_are_a_table_of_both_sides() -> None:
    figures = ({"a": 1.0, "b": 2.5}, {"a": 3.0, "c": 1e6})
    text = both({}, {}, figures=figures)
    assert "| a | 1 | 3 |\n| b | 2.5 | - |\n| c | - | 1,000,000 |" in text


@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_readme_says_how_long_kuberay_did_not_react(result: dict[str, Any], resource: str) -> None:
    stages = ("metrics", "autoscaler", "scheduling", "start", "join", "total")
    ours = {"samples": {stage: [1.0] for stage in stages}}
    on_use = result | {"ours": ours, "goal": {}, "kuberay": None, "watched": 55}
    text = " ".join(bench.readme({f"scale_out_{resource}": on_use}).split())
    assert "KubeRay does not react" in text
    assert "used the same for 55 s" in text


def test_readme_tells_machine_commit_and_versions(result: dict[str, Any]) -> None:
    text = bench.readme({"render": result})
    assert "Commit `0123456789`, Helm v4.0.0, on 2 CPUs (Some CPU)" in text


def test_readme_tells_how_time_grows_with_groups(result: dict[str, Any]) -> None:
    assert "50 groups take 10.2 times as long as one" in bench.readme({"render": result})


def test_readme_of_the_repository_says_what_its_results_say() -> None:
    assert (bench.FOLDER / "README.md").read_text() == bench.readme(bench.read())
