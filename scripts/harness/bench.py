"""Measure, and write down what was measured: docs/benchmarks/results.json and its README.

Nothing here is asserted: goals stand beside the figures.
"""

import argparse
import json
import os
import platform
import re
import statistics
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import cluster as clusters
from harness import failover, kuberay, report, scale_out
from harness.cluster import Cluster
from harness.command import add_cluster_options, image_source, main
from harness.console import out
from harness.helm import PROFILES
from harness.paths import CHART, ROOT
from harness.process import run as run_command
from harness.tools import ensure, tool
from harness.up import chosen_cluster, ray_version

Result = dict[str, Any]

FOLDER = ROOT / "docs" / "benchmarks"

_GROUPS = (1, 10, 50)
# Seconds, for the medians.
_RENDER_GOALS = {"defaults": 0.3, "50 groups": 1.5}


def run() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="./scripts/bench", description=__doc__)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    rendering = benchmarks.add_parser("render", help="how long `helm template` takes")
    rendering.add_argument(
        "--rounds",
        type=int,
        default=21,
        help="runs of each case, alternating (default: %(default)s)",
    )
    scaling = benchmarks.add_parser(
        "scale-out",
        help="how long a group takes to grow, on demand and on memory, KubeRay's beside ours",
    )
    scaling.add_argument(
        "--rounds", type=int, default=5, help="times that it grows (default: %(default)s)"
    )
    add_cluster_options(scaling)
    failing = benchmarks.add_parser(
        "failover",
        help="how long a cluster takes no work when its head dies, KubeRay's beside ours",
    )
    failing.add_argument(
        "--rounds", type=int, default=5, help="times that each head dies (default: %(default)s)"
    )
    add_cluster_options(failing)
    arguments = parser.parse_args()
    measure: dict[str, Callable[[argparse.Namespace], dict[str, Result]]] = {
        "render": _render,
        "scale-out": _scale_out,
        "failover": _failover,
    }
    for benchmark, result in measure[arguments.benchmark](arguments).items():
        write(benchmark, result)
    out.print(f"Written to {FOLDER.relative_to(ROOT)}/.")


# --- render -----------------------------------------------------------------------------------


def _render(arguments: argparse.Namespace) -> dict[str, Result]:
    ensure("helm")
    helm = tool("helm")
    with tempfile.TemporaryDirectory() as temporary:
        cases = dict(_render_cases(Path(temporary)))
        samples: dict[str, list[float]] = {case: [] for case in cases}
        # Alternating, so that whatever else the machine does meets all cases alike. The first
        # round only fills the file cache.
        for number in range(arguments.rounds + 1):
            for case, values in cases.items():
                start = time.perf_counter()
                run_command([helm, "template", "ray", CHART, *values])
                if number:
                    samples[case].append(round(time.perf_counter() - start, 4))
            out.print(f"round {number} of {arguments.rounds}", highlight=False)
    version = run_command([helm, "version", "--short"]).strip().partition("+")[0]
    return {"render": _result({"Helm": version}, _RENDER_GOALS, samples)}


def _render_cases(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and Helm's arguments of each case."""
    yield "defaults", []
    for profile in PROFILES:
        yield profile.stem.removesuffix("-values"), [f"--values={profile}"]
    for count in _GROUPS:
        file = folder / f"{count}.json"
        names = ["default", *(f"group-{number}" for number in range(2, count + 1))]
        file.write_text(json.dumps({"workerGroups": {name: {} for name in names}}))
        yield groups(count), [f"--values={file}"]


def groups(count: int) -> str:
    """The case with this number of worker groups."""
    return f"{count} group" if count == 1 else f"{count} groups"


def _render_remark(result: Result) -> str:
    """How the time grows with the number of groups."""
    samples = result["ours"]["samples"]
    one, ten, fifty = (statistics.median(samples[groups(count)]) for count in _GROUPS)
    return (
        f"50 groups take {fifty / one:.1f} times as long as one. A further group costs "
        f"{(ten - one) / 9 * 1000:.1f} ms between 1 and 10 groups, and "
        f"{(fifty - ten) / 40 * 1000:.1f} ms between 10 and 50: growth is linear where the two "
        "are the same."
    )


# --- scale-out --------------------------------------------------------------------------------


def _scale_out(arguments: argparse.Namespace) -> dict[str, Result]:
    kuberay.build()
    cluster = _cluster(arguments)
    clusters.wait_for_metrics(cluster)
    versions = _versions(cluster) | {"KubeRay": kuberay.version()}
    ours, theirs = scale_out.on_demand(cluster, arguments.rounds)
    on_demand = _result(versions, {"total": scale_out.demand_goal(theirs)}, ours, theirs)
    samples, watched = scale_out.on_memory(cluster, arguments.rounds)
    on_memory = _result(versions, {"total": scale_out.MEMORY_GOAL_SECONDS}, samples)
    return {"scale_out_demand": on_demand, "scale_out_memory": on_memory | {"watched": watched}}


# --- failover ---------------------------------------------------------------------------------


def _failover(arguments: argparse.Namespace) -> dict[str, Result]:
    kuberay.build()
    cluster = _cluster(arguments)
    clusters.add_redis(cluster, None if arguments.kubeconfig else image_source(arguments))
    versions = _versions(cluster) | {"KubeRay": kuberay.version()}
    return {
        case: _result(versions, {"total": failover.GOAL_SECONDS[case]}, *sides)
        for case, sides in failover.measure(cluster, arguments.rounds).items()
    }


def _failover_remark(result: Result) -> str:
    """What the stages are, and where the time goes."""
    median = {stage: statistics.median(s) for stage, s in result["ours"]["samples"].items()}
    job = median["driver"] + median["task"]
    return (
        "From the moment at which the head dies to the end of the first task, on a worker, of a "
        "job that is submitted as soon as a dashboard takes it. All sides have the same image, "
        "resources and machine, ours and KubeRay's the same Redis, and they take turns. "
        "`container` lasts until a new head's container runs, `gcs` until its GCS listens, "
        "`dashboard` until the node table can be read, `driver` until the job's driver is "
        "connected to Ray, and `task` until its task is done. Where the time goes: Kubernetes has "
        f"a new container after {median['container']:.1f} s (it looks after containers once a "
        f"second), {median['gcs']:.1f} s later the GCS listens (of a deleted pod the old head "
        f"leaves meanwhile), Ray's dashboard takes {median['dashboard']:.1f} s more, and "
        f"{job:.1f} s are the job's own: two Pythons that import Ray, and a worker process. The "
        "last two are Ray's, whoever starts it: the floor. A driver that runs on a worker goes on "
        "meanwhile."
    )


# --- clusters ---------------------------------------------------------------------------------


def _cluster(arguments: argparse.Namespace) -> Cluster:
    """The cluster to measure in, and Helm."""
    ensure("helm")
    return chosen_cluster(arguments)


def _versions(cluster: Cluster) -> dict[str, str]:
    server = json.loads(cluster.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    return {"Ray": ray_version(), "Kubernetes": server}


# --- results ----------------------------------------------------------------------------------

_TITLES = {
    "render": "`helm template`",
    "scale_out_demand": "Scale-out on demand",
    "scale_out_memory": "Scale-out on memory",
    "failover": "Failover on Redis: the head's pod is deleted",
    "failover_container": "Failover on Redis: the head's container is killed",
    "failover_rocksdb": "Failover on RocksDB: the head's pod is deleted",
    "failover_rocksdb_container": "Failover on RocksDB: the head's container is killed",
}
_REMARKS: dict[str, Callable[[Result], str]] = {
    "render": _render_remark,
    "scale_out_demand": scale_out.demand_remark,
    "scale_out_memory": scale_out.memory_remark,
    **dict.fromkeys(failover.CASES, _failover_remark),
}


def _result(
    versions: dict[str, str],
    goal: Result,
    ours: dict[str, list[float]],
    kuberay: dict[str, list[float]] | None = None,
) -> Result:
    """What is written down of a benchmark.

    `ours` and `kuberay` are seconds by case, in the order of runs; None if there is no such side.
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
        "the 90th percentile."
    )
    parts = [f"# Benchmarks\n\n{_wrapped(intro)}\n"]
    parts += [_section(name, results[name]) for name in results]
    return "\n".join(parts)


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
    if name in _REMARKS:
        lines += ["", _wrapped(_REMARKS[name](result))]
    return "\n".join(lines) + "\n"


def _table(result: Result) -> Iterator[str]:
    """Median, spread and goal of each case; KubeRay's beside ours where there are any."""
    unit, theirs = result["unit"], (result.get("kuberay") or {}).get("samples")
    heads = [f"median, {unit}", f"spread, {unit}"]
    if theirs:
        heads = [f"{who}: {head}" for who in ("ours", "KubeRay") for head in heads]
        heads.append("ours / KubeRay")
    yield f"| case | runs | {' | '.join(heads)} | goal, {unit} |"
    yield f"|---|{'---:|' * (len(heads) + 2)}"
    for case, samples in result["ours"]["samples"].items():
        cells = [case, str(len(samples)), *_figures(samples)]
        median = statistics.median(samples)
        if theirs:
            other = statistics.median(theirs[case])
            cells += [*_figures(theirs[case]), f"{median / other:.2f}" if other else ""]
        goal = result["goal"].get(case)
        cells.append("" if goal is None else f"{goal} {'✓' if median <= goal else '✗'}")
        yield f"| {' | '.join(cells)} |"


def _figures(samples: list[float]) -> tuple[str, str]:
    """Median and spread."""
    low, *_, high = statistics.quantiles(samples * 2, n=10, method="inclusive")
    return f"{statistics.median(samples):.3f}", f"{low:.3f} to {high:.3f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100)


if __name__ == "__main__":
    main(run)
