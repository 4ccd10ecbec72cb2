"""Measure, and write down what was measured: docs/benchmarks/results.json and its README.

Nothing here is asserted: goals stand beside the figures.
"""

import argparse
import json
import os
import platform
import re
import statistics
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cluster as clusters
from harness import (
    failover,
    footprint,
    kuberay,
    kwok,
    rendering,
    report,
    scale_in,
    scale_out,
    start,
    tenants,
)
from harness.cluster import Cluster
from harness.command import add_cluster_options, image_source, main
from harness.console import out
from harness.paths import ROOT
from harness.tools import ensure
from harness.up import chosen_cluster, ray_version

Result = dict[str, Any]
Named = Iterator[tuple[str, Result]]  # results with the names under which they are written

FOLDER = ROOT / "docs" / "benchmarks"
_PLOT = "side-by-side.svg"
_WHOLE = ("total", "task")  # cases that hold all others of their benchmark


@dataclass(frozen=True)
class Benchmark:
    """What is measured, how many times unless somebody says otherwise, and how."""

    what: str
    rounds: int
    measure: Callable[[argparse.Namespace, int], Named]
    options: tuple[Callable[[argparse.ArgumentParser], None], ...] = (add_cluster_options,)


def run() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="./scripts/bench", description=__doc__)
    names = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        one = names.add_parser(name, help=benchmark.what)
        one.add_argument(
            "--rounds", type=int, default=benchmark.rounds, help="default: %(default)s"
        )
        for add in benchmark.options:
            add(one)
    everything = names.add_parser("all", help="all of them, one after another")
    everything.add_argument("--rounds", type=int, help="default: each benchmark's own")
    for add in dict.fromkeys(add for one in BENCHMARKS.values() for add in one.options):
        add(everything)
    arguments = parser.parse_args()
    wanted = BENCHMARKS if arguments.benchmark == "all" else [arguments.benchmark]
    for name in wanted:
        benchmark = BENCHMARKS[name]
        rounds = arguments.rounds or benchmark.rounds
        for case, result in benchmark.measure(arguments, rounds):
            write(case, result)  # at once: what fails later takes nothing along
        out.print(f"{name} is written to {FOLDER.relative_to(ROOT)}/.")


# --- render -----------------------------------------------------------------------------------


def _render(_: argparse.Namespace, rounds: int) -> Named:
    version, samples = rendering.measure(rounds)
    yield "render", _result({"Helm": version}, rendering.GOALS, samples)


# --- start ------------------------------------------------------------------------------------


def _start(arguments: argparse.Namespace, rounds: int) -> Named:
    kuberay.build()
    cluster = _cluster(arguments)
    both = start.measure(cluster, rounds)
    yield "start", _result(_versions_of_both(cluster), start.GOAL, *both)


# --- scale-out --------------------------------------------------------------------------------


def _scale_out(arguments: argparse.Namespace, rounds: int) -> Named:
    kuberay.build()
    cluster = _cluster(arguments)
    clusters.wait_for_metrics(cluster)
    versions = _versions_of_both(cluster)
    goal = {"total": {"ratio": scale_out.DEMAND_GOAL_RATIO}}
    yield "scale_out_demand", _result(versions, goal, *scale_out.on_demand(cluster, rounds))
    for use in (scale_out.MEMORY, scale_out.CPU):
        samples, watched = scale_out.on_use(cluster, rounds, use)
        on_use = _result(versions, {"total": scale_out.USE_GOAL_SECONDS}, samples)
        yield f"scale_out_{use.resource}", on_use | {"watched": watched}


# --- scale-in ---------------------------------------------------------------------------------


def _scale_in(arguments: argparse.Namespace, rounds: int) -> Named:
    kuberay.build()
    cluster = _cluster(arguments)
    tasks, ours, theirs = scale_in.measure(cluster, rounds)
    result = _result(_versions_of_both(cluster), {}, ours.samples, theirs.samples)
    for side, outcome in (("ours", ours), ("kuberay", theirs)):
        result[side] |= {"lost": len(outcome.lost), "lengths lost": outcome.lost}
    yield "scale_in", result | {"tasks": tasks}


# --- failover ---------------------------------------------------------------------------------


def _failover(arguments: argparse.Namespace, rounds: int) -> Named:
    kuberay.build()
    cluster = _cluster(arguments)
    clusters.add_redis(cluster, None if arguments.kubeconfig else image_source(arguments))
    versions = _versions_of_both(cluster)
    for case, sides in failover.measure(cluster, rounds).items():
        yield case, _result(versions, {"total": failover.GOALS.get(case)}, *sides)


# --- footprint --------------------------------------------------------------------------------


def _footprint(arguments: argparse.Namespace, rounds: int) -> Named:
    kuberay.build()
    cluster = _cluster(arguments)
    both = footprint.measure(cluster, rounds)
    yield "footprint", _result(_versions_of_both(cluster), {}, *both) | {"unit": ""}


# --- tenants ----------------------------------------------------------------------------------


def _tenants(arguments: argparse.Namespace, rounds: int) -> Named:
    kwok.build()
    kuberay.build()
    cluster = _cluster(arguments)
    versions = _versions_of_both(cluster) | {"KWOK": kwok.version()}
    ratio = {tenants.case(count): {"ratio": tenants.GOAL_RATIO} for count in arguments.tenants}
    found = tenants.measure(cluster, rounds, arguments.tenants, arguments.limits)
    for limit, ours, theirs in found:
        goal = ratio if limit == "equal" else {}
        result = _result(versions, goal, ours.samples, theirs.samples)
        for side, outcome in (("ours", ours), ("kuberay", theirs)):
            result[side]["figures"] = outcome.figures
        yield f"tenants_{limit}", result


# --- clusters ---------------------------------------------------------------------------------


def _cluster(arguments: argparse.Namespace) -> Cluster:
    """The cluster to measure in, and Helm."""
    ensure("helm")
    return chosen_cluster(arguments)


def _versions(cluster: Cluster) -> dict[str, str]:
    server = json.loads(cluster.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    return {"Ray": ray_version(), "Kubernetes": server}


def _versions_of_both(cluster: Cluster) -> dict[str, str]:
    return _versions(cluster) | {"KubeRay": kuberay.version()}


BENCHMARKS = {
    "start": Benchmark("how long it takes from an install to the first task done", 5, _start),
    "scale-out": Benchmark(
        "how long a group takes to grow, on demand, memory and CPU, KubeRay's beside ours",
        5,
        _scale_out,
    ),
    "scale-in": Benchmark(
        "what becomes of the tasks of a worker that has to go, and how long it stays", 5, _scale_in
    ),
    "failover": Benchmark(
        "how long a cluster takes no work when its head dies, KubeRay's beside ours", 5, _failover
    ),
    "footprint": Benchmark("what idle tenants cost beside their Ray pods", 3, _footprint),
    "tenants": Benchmark(
        "how long many tenants take until all are ready",
        5,
        _tenants,
        (add_cluster_options, tenants.add_options),
    ),
    "render": Benchmark("how long `helm template` takes", 21, _render, options=()),
}


# --- results ----------------------------------------------------------------------------------

_TITLES = {
    "render": "`helm template`",
    "start": "Start: from an install to the first task done",
    "scale_out_demand": "Scale-out on demand",
    "scale_out_memory": "Scale-out on memory",
    "scale_out_cpu": "Scale-out on CPU",
    "scale_in": "Scale-in: a worker has to go",
    "footprint": "Footprint of an idle tenant",
    "tenants_default": "Many tenants, with Kubernetes' own limit of requests",
    "tenants_equal": "Many tenants, with the same limit of requests on both sides",
    "failover": "Failover on Redis: the head's pod is deleted",
    "failover_container": "Failover on Redis: the head's container is killed",
    "failover_headless": "Failover on Redis: the head's pod is deleted, its Service headless",
    "failover_rocksdb": "Failover on RocksDB: the head's pod is deleted",
    "failover_rocksdb_container": "Failover on RocksDB: the head's container is killed",
}
_REMARKS: dict[str, Callable[[Result], str]] = {
    "render": rendering.remark,
    "start": start.remark,
    "scale_out_demand": scale_out.demand_remark,
    "scale_out_memory": scale_out.use_remark,
    "scale_out_cpu": scale_out.use_remark,
    "scale_in": scale_in.remark,
    "footprint": footprint.remark,
    "tenants_default": tenants.remark,
    "tenants_equal": tenants.remark,
    **dict.fromkeys(failover.CASES, failover.remark),
    failover.HEADLESS: failover.headless_remark,
}


def _result(
    versions: dict[str, str],
    goal: Result,
    ours: dict[str, list[float]],
    kuberay: dict[str, list[float]] | None = None,
) -> Result:
    """What is written down of a benchmark.

    `ours` and `kuberay` are samples by case, in the order of runs; None if there is no such side.
    """
    return {
        "unit": "s",
        "commit": report.commit(),
        "machine": machine(),
        "versions": versions,
        "goal": goal,
        "ours": {"samples": ours},
        "kuberay": kuberay and {"samples": kuberay},
    }


def machine() -> Result:
    """What was measured on, and how busy it was with other things (load average of a minute)."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": cpu[1] if cpu else platform.processor(),
        "load": round(os.getloadavg()[0], 1),
    }


def write(benchmark: str, result: Result, folder: Path = FOLDER) -> None:
    """Put `result` beside those of the other benchmarks, and write the README anew."""
    folder.mkdir(parents=True, exist_ok=True)
    results = dict(sorted({**read(folder), benchmark: result}.items()))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "README.md").write_text(readme(results))
    if _compared(results):
        plot(results, folder / _PLOT)


def read(folder: Path = FOLDER) -> dict[str, Result]:
    """The results by benchmark; none before the first run."""
    file = folder / "results.json"
    results: dict[str, Result] = json.loads(file.read_text()) if file.exists() else {}
    return results


def readme(results: dict[str, Result]) -> str:
    """The README for `results`: medians, spread and goals of each benchmark."""
    intro = (
        "Generated by `./scripts/bench` from [results.json](results.json), which has every single "
        "run. Goals are what we want, not what a test asserts. The spread goes from the 10th to "
        "the 90th percentile. Less is better unless a section says otherwise: where the ratio to "
        "KubeRay is above 1, KubeRay is the better one."
    )
    parts = [f"# Benchmarks\n\n{_wrapped(intro)}\n"]
    if _compared(results):
        parts.append(f"![Ours and KubeRay's medians, and every single run]({_PLOT})\n")
    parts += [_section(name, results[name]) for name in results]
    return "\n".join(parts)


def _compared(results: dict[str, Result]) -> dict[str, list[str]]:
    """The cases worth a picture of each result that has seconds of both sides, by its name."""
    chosen = {}
    for name, result in results.items():
        if result["unit"] != "s" or not result.get("kuberay"):
            continue
        cases = [case for case in result["ours"]["samples"] if case in result["kuberay"]["samples"]]
        whole = [case for case in cases if case in _WHOLE]
        chosen[name] = whole or cases
    return chosen


def plot(results: dict[str, Result], file: Path) -> None:
    """Draw the medians of both sides, and every single run."""
    from matplotlib.figure import Figure  # takes half a second, which no other command needs

    compared = _compared(results)
    rows = sum(map(len, compared.values()))
    figure = Figure(figsize=(8, 1 + 0.6 * rows + 0.5 * len(compared)), layout="constrained")
    heights = [len(cases) for cases in compared.values()]
    every = figure.subplots(len(compared), squeeze=False, height_ratios=heights).flat
    for axes, (name, cases) in zip(every, compared.items(), strict=True):
        for side, colour, shift in (("ours", "tab:blue", -0.2), ("kuberay", "tab:orange", 0.2)):
            samples = [results[name][side]["samples"][case] for case in cases]
            places = [number + shift for number in range(len(cases))]
            medians = [statistics.median(one) for one in samples]
            label = {"ours": "ours", "kuberay": "KubeRay"}[side]
            axes.barh(places, medians, height=0.36, color=colour, alpha=0.6, label=label)
            for place, one in zip(places, samples, strict=True):
                axes.plot(one, [place] * len(one), ".", color="black", markersize=3)
        axes.set_yticks(range(len(cases)), cases)
        axes.invert_yaxis()
        axes.set_title(_TITLES.get(name, name).replace("`", ""), loc="left", fontsize="medium")
        axes.set_xlabel("seconds")
        axes.set_xlim(left=0)
    figure.axes[0].legend(fontsize="small")
    figure.savefig(file, metadata={"Date": None})  # equal results make equal files


def _section(name: str, result: Result) -> str:
    where = result["machine"]
    versions = ", ".join(f"{what} {version}" for what, version in result["versions"].items())
    lines = [
        f"## {_TITLES.get(name, name)}\n",
        _wrapped(
            f"Commit `{result['commit'][:10]}`, {versions}, on {where['cpus']} CPUs "
            f"({where['cpu']}), with a load of {where['load']} when the runs ended."
        ),
        "",
        *_table(result),
    ]
    if figures := [*_figures_table(result)]:
        lines += ["", *figures]
    if name in _REMARKS:
        lines += ["", _wrapped(_REMARKS[name](result))]
    return "\n".join(lines) + "\n"


def _table(result: Result) -> Iterator[str]:
    """Median, spread and goal of each case; KubeRay's beside ours where there are any."""
    unit = result["unit"]
    ours, theirs = ((result.get(side) or {}).get("samples", {}) for side in ("ours", "kuberay"))
    heads = [f"{figure}{unit and f', {unit}'}" for figure in ("median", "spread")]
    if theirs:
        heads = [f"{who}: {head}" for who in ("ours", "KubeRay") for head in heads]
        heads.append("ours / KubeRay")
    yield f"| case | runs | {' | '.join(heads)} | goal{unit and f', {unit}'} |"
    yield f"|---|{'---:|' * (len(heads) + 2)}"
    for case in ours | theirs:
        mine, other = ours.get(case), theirs.get(case)
        ratio = _ratio(mine, other)
        cells = [case, str(len(mine or other)), *_figures(mine, unit)]
        if theirs:
            cells += [*_figures(other, unit), "" if ratio is None else f"{ratio:.2f}"]
        cells.append(_goal(result["goal"].get(case), mine, ratio))
        yield f"| {' | '.join(cells)} |"


def _figures_table(result: Result) -> Iterator[str]:
    """What was counted once beside the samples, if anything was."""
    ours, theirs = ((result.get(side) or {}).get("figures", {}) for side in ("ours", "kuberay"))
    if not ours:
        return
    yield "| counted in the last round | ours | KubeRay |"
    yield "|---|---:|---:|"
    for figure in ours | theirs:
        cells = (_number(side[figure], "") if figure in side else "-" for side in (ours, theirs))
        yield f"| {figure} | {' | '.join(cells)} |"


def _ratio(ours: list[float] | None, theirs: list[float] | None) -> float | None:
    """Of the medians, where there are two."""
    divisor = statistics.median(theirs) if theirs else 0
    return statistics.median(ours) / divisor if ours and divisor else None


def _goal(goal: Any, samples: list[float] | None, ratio: float | None) -> str:
    """A goal and whether it is reached: a number, or {"ratio": …} for one beside KubeRay's."""
    if goal is None:
        return ""
    if isinstance(goal, dict):
        reached = ratio is not None and ratio <= goal["ratio"]
        goal = f"{goal['ratio']} of KubeRay"
    else:
        reached = samples is not None and statistics.median(samples) <= goal
    return f"{goal} {'✓' if reached else '✗'}"


def _figures(samples: list[float] | None, unit: str) -> tuple[str, str]:
    """Median and spread; dashes for a side that has none."""
    if not samples:
        return "-", "-"
    low, *_, high = statistics.quantiles(samples * 2, n=10, method="inclusive")
    return (
        _number(statistics.median(samples), unit),
        f"{_number(low, unit)} to {_number(high, unit)}",
    )


def _number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.3f}"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)  # a part of a name is none


if __name__ == "__main__":
    main(run)
