"""Run the tests: all that CI runs, or a part; `full` adds the slow ones.

What follows the part goes to pytest: `./scripts/test e2e -k join`, `./scripts/test render -x`.
`soak` is apart from them: a random load for half an hour (`--minutes`, `--seed`).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from harness import cluster as clusters
from harness import keda, lint, prometheus_operator, released, soak, state_metrics
from harness.cluster import Cluster
from harness.command import add_cluster_options, image_source, main
from harness.console import out
from harness.errors import UserError
from harness.paths import BIN, CACHE, CHART, REPORTS, ROOT
from harness.process import CommandError
from harness.tools import ensure, tool
from harness.up import ray_version

# Scenarios mostly wait; tests/e2e/budget.py keeps those that run within what the node has.
_E2E_WORKERS = 5
# The slow tests of what needs no cluster are a run of their own: they have the machine to
# themselves.
_FOLDERS = {
    "render": ["tests/render"],
    "harness": ["tests/harness"],
    "e2e": ["tests/e2e"],
    "slow": ["tests/render", "tests/harness"],
    "chaos": ["tests/e2e/chaos.py"],
}
_QUICK = ["-m", "not slow"]
# ct installs a profile four times to upgrade it, which for all of them is a full run's.
_UPGRADED = ["02-groups-values.yaml"]

_closing_lines: list[str] = []


def run() -> None:
    """Run the command."""
    arguments, pytest_arguments = _parse()
    os.environ["PATH"] = (
        f"{BIN}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}" + os.environ["PATH"]
    )
    parts: dict[str, Callable[[], None]] = {
        "lint": lint.run,
        "render": lambda: _without_cluster("render", pytest_arguments),
        "harness": lambda: _without_cluster("harness", pytest_arguments),
        "ct": lambda: _ct(arguments),
        "e2e": lambda: _e2e(arguments, pytest_arguments),
        "slow": lambda: _pytest("slow", ["-m", "slow", *pytest_arguments]),
        # By name only: no two runs of these are the same.
        "soak": lambda: _soak(arguments, pytest_arguments),
        "chaos": lambda: _chaos(arguments, pytest_arguments),
    }
    everything = ["lint", "render", "harness", "ct", "e2e"]
    chosen = {None: everything, "full": [*everything, "slow"]}.get(arguments.part, [arguments.part])
    if {"ct", "e2e", "soak", "chaos"} & set(chosen):
        # Before the first tool is built: it may be one to be taken from PATH.
        if arguments.kubeconfig:
            clusters.existing(arguments.kubeconfig)
        else:
            image_source(arguments)
    failed = []
    for name in chosen:
        out.rule(f"[bold]{name}")
        try:
            parts[name]()
        except (UserError, CommandError) as error:
            out.print(f"[bold red]✗[/] {escape(str(error))}")
            failed.append(name)
    out.rule()
    for line in _closing_lines:
        out.print(line, markup=False)
    if failed:
        raise UserError(f"Failed: {', '.join(failed)}.")


def _parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="./scripts/test", description=__doc__)
    parser.add_argument(
        "part",
        nargs="?",
        choices=("full", "lint", "render", "harness", "ct", "e2e", "slow", "soak", "chaos"),
        help="default: everything but the slow tests, which `full` adds; `harness` tests what is "
        "beside the chart; `slow` are those of the slow tests that are not e2e; "
        "`soak` is a random load for half an hour (--minutes, --seed), and "
        "`chaos` are random kills under load (--seed, --kills)",
    )
    add_cluster_options(parser)
    return parser.parse_known_args()


def _without_cluster(part: str, pytest_arguments: list[str]) -> None:
    ensure("helm", "helm3")
    workers = len(os.sched_getaffinity(0)) + 1  # some tests mostly wait
    # The tests of a file look at the same renders, which a process keeps.
    spread = [f"--numprocesses={workers}", "--dist=loadfile"]
    _pytest(part, [*spread, *_QUICK, *pytest_arguments])


def _e2e(arguments: argparse.Namespace, pytest_arguments: list[str]) -> None:
    ensure("helm", "helm3", "kubectl")
    source = None if arguments.kubeconfig else image_source(arguments)
    with _cluster(arguments) as cluster:
        if arguments.part == "full" and cluster.node:
            keda.build()  # for minutes on all processors: not while scenarios run
            state_metrics.build()
            prometheus_operator.build()
        _pytest(
            "e2e",
            [
                f"--kubeconfig={cluster.kubeconfig}",
                f"--numprocesses={_E2E_WORKERS}",
                "--verbose",  # a line when a scenario begins and one when it ends
                "--dist=worksteal",  # scenarios last from seconds to minutes
                *([] if arguments.part == "full" else _QUICK),
                *pytest_arguments,
            ],
            TESTBED_NODE=cluster.node or "",
            TESTBED_REGISTRY=json.dumps(asdict(source)) if source else "",
        )


def _chaos(arguments: argparse.Namespace, pytest_arguments: list[str]) -> None:
    ensure("helm", "kubectl")
    with _cluster(arguments) as cluster:
        _pytest(
            "chaos",
            [f"--kubeconfig={cluster.kubeconfig}", "--capture=no", *pytest_arguments],
            TESTBED_NODE=cluster.node or "",
        )


def _ct(arguments: argparse.Namespace) -> None:
    ensure("ct", "helm", "helm3", "kubectl")
    # Naming the chart switches off ct's comparison with the target branch, which a checkout without
    # that branch could not make.
    chart = f"--charts={CHART.relative_to(ROOT)}"
    _stream(["ct", "lint", chart])
    with tempfile.TemporaryDirectory() as folder:  # ct calls whatever is called helm
        (Path(folder) / "helm").symlink_to(tool("helm3"))
        _stream(["ct", "lint", chart], environment={"PATH": f"{folder}:{os.environ['PATH']}"})
    with _cluster(arguments) as cluster, clusters.namespace(cluster, "ct") as namespace:
        _stream(
            ["ct", "install", chart, f"--namespace={namespace}"],
            environment={"KUBECONFIG": str(cluster.kubeconfig)},
        )
        _ct_upgrade(cluster, namespace, [] if arguments.part == "full" else _UPGRADED)


def _ct_upgrade(cluster: Cluster, namespace: str, profiles: list[str]) -> None:
    """Upgrade releases of the version before this one with `profiles`, or with all."""
    commit = released.previous()
    if commit is None:
        out.print("Upgrades are not tried: this history holds no other version of the chart.")
        return
    out.print(f"The version before this one is that of commit {commit}.")
    with released.after(commit, profiles) as repository:
        _stream(
            ["ct", "install", "--upgrade", "--skip-missing-values",
             f"--charts={CHART.relative_to(ROOT)}", f"--namespace={namespace}"],
            environment={"KUBECONFIG": str(cluster.kubeconfig)},
            folder=repository,
        )  # fmt: skip


def _soak(arguments: argparse.Namespace, soak_arguments: list[str]) -> None:
    ensure("helm", "kubectl")
    with _cluster(arguments) as cluster:
        soak.run(cluster, soak_arguments)


@contextmanager
def _cluster(arguments: argparse.Namespace) -> Iterator[Cluster]:
    """The cluster to test in: the given one, or the tests' own, left running for the next time."""
    if arguments.kubeconfig:
        cluster = clusters.existing(arguments.kubeconfig)
    else:
        cluster = clusters.ensure(
            clusters.for_tests(arguments.name),
            kubernetes=arguments.kubernetes,
            ray=ray_version(),
            source=image_source(arguments),
            testing=True,
            yes=arguments.yes,
        )
        clusters.wait_for_metrics(cluster)
    with clusters.tested(cluster):
        yield cluster


def _pytest(part: str, arguments: list[str], **environment: str) -> None:
    report = REPORTS / f"{part}.xml"
    report.unlink(missing_ok=True)  # nobody shall read the report of an earlier run
    shutil.rmtree(REPORTS / part, ignore_errors=True)
    color = "yes" if out.is_terminal else "no"
    command = [sys.executable, "-m", "pytest", *_FOLDERS[part], f"--junitxml={report}"]
    python = {
        # pytest-helm-charts wraps one of its own fixtures in a way that pytest warns of.
        "PYTHONWARNINGS": "ignore:cannot discover fixture",
        # What pytest makes of each file is kept, and not beside the files, of which some are the
        # chart's: making it is most of the collection, which every process of a run does.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"),
    }
    lines = _stream([*command, f"--color={color}", *arguments], environment=python | environment)
    _closing_lines.append(f"{part}: {lines[-1].strip('= ')}")


def _stream(
    command: list[str], *, environment: dict[str, str] | None = None, folder: Path = ROOT
) -> list[str]:
    """Run `command` in the open and return its lines; UserError if it fails."""
    out.print(f"[dim]$ {' '.join(command)}[/]")
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.strip():
                lines.append(line.rstrip())
    if process.returncode:
        closing = lines[-1] if lines else "no output"
        raise UserError(f"{command[0]} failed with exit code {process.returncode}: {closing}")
    return lines


if __name__ == "__main__":
    main(run)
