"""What a benchmark writes down."""

from pathlib import Path
from typing import Any

import pytest

from harness import bench, scale_out


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


def test_readme_says_how_long_kuberay_did_not_react(result: dict[str, Any]) -> None:
    stages = ("metrics", "autoscaler", "scheduling", "start", "join", "total")
    ours = {"samples": {stage: [1.0] for stage in stages}}
    memory = result | {"ours": ours, "goal": {}, "kuberay": None, "watched": 55}
    text = " ".join(bench.readme({"scale_out_memory": memory}).split())
    assert "KubeRay does not react" in text
    assert "held the same for 55 s" in text


def test_goal_on_demand_is_a_part_of_kuberays_median() -> None:
    assert scale_out.demand_goal({"total": [9.0, 10.0, 50.0]}) == 6.0


def test_readme_tells_machine_commit_and_versions(result: dict[str, Any]) -> None:
    text = bench.readme({"render": result})
    assert "Commit `0123456789`, Helm v4.0.0, on 2 CPUs (Some CPU)" in text


def test_readme_tells_how_time_grows_with_groups(result: dict[str, Any]) -> None:
    assert "50 groups take 10.2 times as long as one" in bench.readme({"render": result})


def test_readme_of_the_repository_says_what_its_results_say() -> None:
    assert (bench.FOLDER / "README.md").read_text() == bench.readme(bench.read())
