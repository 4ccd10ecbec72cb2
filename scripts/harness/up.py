"""Bring up a kind cluster with a Ray cluster in it, and run a real job there, checked."""

import argparse
import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyhelm3
import yaml
from rich.table import Column, Table

from harness import cluster as clusters
from harness import helm, ray_api, report, screenshot
from harness.cluster import Cluster
from harness.command import DEFAULT_NAME, add_cluster_options, image_source, main
from harness.console import out, step
from harness.errors import UserError
from harness.paths import BIN, CHART, PACKAGE, REPORTS, ROOT
from harness.process import CommandError
from harness.tools import ensure

RELEASE = "ray"
_JOIN_TIMEOUT_SECONDS = 300
_JOB = PACKAGE / "jobs" / "word_count.py"


def ray_version() -> str:
    """The Ray version that the chart deploys by default."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])


def run() -> None:
    """Run the command."""
    arguments = _parse()
    (REPORTS / "up.json").unlink(missing_ok=True)  # nobody shall read the report of an earlier run
    timings: dict[str, float] = {}
    with _timed(timings, "total"):
        with _timed(timings, "cluster"):
            cluster = chosen_cluster(arguments)
            ensure(_helm(arguments))
        with _timed(timings, "install"), step(f"helm upgrade --install {RELEASE}"):
            _install(cluster, arguments)
        try:
            result = _prove(cluster, arguments.namespace, timings)
            if arguments.screenshot:
                with _timed(timings, "screenshot"):
                    _picture(cluster, arguments.namespace, arguments.screenshot)
        except (UserError, CommandError, ray_api.JobError, OSError) as error:
            REPORTS.mkdir(parents=True, exist_ok=True)
            details = REPORTS / "up-failure.txt"
            details.write_text(report.dump(cluster, arguments.namespace))
            raise UserError(
                f"{error}\nThe state of the cluster is in {_shown(details)}."
            ) from error
    path = report.write("up.json", {"commit": report.commit(), **result, "timings": timings})
    _show(cluster, arguments, result, timings, path)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./scripts/up", description=__doc__)
    parser.add_argument(
        "-f",
        "--values",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a values file of yours, as for helm; may be given again",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as for helm"
    )
    parser.add_argument("--namespace", default="ray", help="default: %(default)s")
    parser.add_argument(
        "--helm", choices=("3", "4"), default="4", help="version of Helm (default: %(default)s)"
    )
    parser.add_argument(
        "--screenshot",
        type=Path,
        metavar="FILE",
        help="write a picture (PNG) of the dashboard with its nodes",
    )
    add_cluster_options(parser)
    arguments = parser.parse_args()
    for file in arguments.values:
        if not file.is_file():
            raise UserError(f"-f {file}: there is no such file.")
    return arguments


def chosen_cluster(arguments: argparse.Namespace) -> Cluster:
    """The cluster that the options of `add_cluster_options` name, made if it is not there."""
    if arguments.kubeconfig:
        return clusters.existing(arguments.kubeconfig)
    return clusters.ensure(
        arguments.name,
        kubernetes=arguments.kubernetes,
        ray=ray_version(),
        source=image_source(arguments),
        yes=arguments.yes,
    )


def _helm(arguments: argparse.Namespace) -> str:
    """The tool that `--helm` asks for."""
    return "helm" if arguments.helm == "4" else "helm3"


def _install(cluster: Cluster, arguments: argparse.Namespace) -> None:
    try:
        helm.upgrade_install(
            cluster.kubeconfig,
            RELEASE,
            namespace=arguments.namespace,
            values_files=arguments.values,
            settings=arguments.set,
            helm=_helm(arguments),
            recover=cluster.node is not None,  # elsewhere it may be somebody's Helm at work
        )
    except pyhelm3.errors.Error as error:
        raise UserError(f"Helm refused: {error.stderr.decode().strip()}") from error


def _prove(cluster: Cluster, namespace: str, timings: dict[str, float]) -> dict[str, Any]:
    """Wait for the workers in Ray's node table, run the job there and check its result."""
    with _timed(timings, "join"):
        nodes = wait_for_workers(cluster, namespace)
    with (
        _timed(timings, "job"),
        step("Run a job: count the words of Python's standard library on the workers"),
        ray_api.dashboard(cluster, namespace, head_service(cluster, namespace)) as dashboard,
    ):
        job = ray_api.last_json(ray_api.run_job(dashboard, _JOB))
    if not job["equal"]:
        raise UserError(f"The workers counted other words than a single process: {job}")
    head = next(node["node_name"] for node in nodes if node["is_head_node"])
    if head in job["tasks_per_node"] and len(nodes) > 1:
        raise UserError(f"The job should run on workers, but ran on the head, too: {job}")
    fields = ("words", "words_single_process", "seconds", "tasks_per_node")
    return {
        "workers": sum(not node["is_head_node"] for node in nodes),
        "head_node": head,
        "job": {"succeeded": True, **{field: job[field] for field in fields}},
    }


def _picture(cluster: Cluster, namespace: str, file: Path) -> None:
    with ray_api.dashboard(cluster, namespace, head_service(cluster, namespace)) as dashboard:
        screenshot.take(dashboard, ray_api.alive_nodes(dashboard), file)


def head_service(cluster: Cluster, namespace: str, release: str = RELEASE) -> str:
    """The name of the release's head Service."""
    return str(_find(cluster, namespace, "services", release, "head")[0]["metadata"]["name"])


def _find(
    cluster: Cluster, namespace: str, kind: str, release: str, component: str
) -> list[dict[str, Any]]:
    selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component={component}"
    text = cluster.kubectl(
        "get", kind, f"--namespace={namespace}", f"--selector={selector}", "--output=json"
    )
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return items


def wait_for_workers(
    cluster: Cluster,
    namespace: str,
    release: str = RELEASE,
    *,
    timeout: float = _JOIN_TIMEOUT_SECONDS,
) -> list[dict[str, Any]]:
    """Wait until the head and as many workers as the Deployments ask for are in Ray's node table.

    Returns the ALIVE rows of that table. `timeout` is in seconds; UserError says what was seen when
    it is over.
    """
    deadline = time.monotonic() + timeout
    seen = "no answer from the dashboard"
    with step("Wait until head and workers are in Ray's node table"):
        while time.monotonic() < deadline:
            deployments = _find(cluster, namespace, "deployments", release, "worker")
            wanted = sum(deployment["spec"]["replicas"] for deployment in deployments)
            try:
                service = head_service(cluster, namespace, release)
                with ray_api.dashboard(cluster, namespace, service) as dashboard:
                    while time.monotonic() < deadline:
                        nodes = ray_api.alive_nodes(dashboard)
                        workers = [node for node in nodes if not node["is_head_node"]]
                        if len(nodes) > len(workers) >= wanted:
                            return nodes
                        seen = f"{len(workers)} of {wanted} workers joined"
                        time.sleep(0.3)
            except (CommandError, OSError):
                time.sleep(0.3)  # the head is not there yet
    pods = cluster.kubectl("get", "pods", f"--namespace={namespace}", "--output=wide")
    raise UserError(f"After {timeout:.0f} s: {seen}.\n{pods}")


@contextmanager
def _timed(timings: dict[str, float], phase: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    timings[phase] = round(time.monotonic() - began, 1)


# --- what is shown at the end ----------------------------------------------------------------


def _show(
    cluster: Cluster,
    arguments: argparse.Namespace,
    result: dict[str, Any],
    timings: dict[str, float],
    path: Path,
) -> None:
    namespace, job = arguments.namespace, result["job"]
    out.print(
        f"\n[bold]The job succeeded:[/] {job['words']:,} words in {job['seconds']:.1f} s on "
        f"{len(job['tasks_per_node'])} node(s), {job['words_single_process']:,} in one process."
    )
    nodes = Table("pod", "Ray node", "tasks", title="Who did it", title_justify="left")
    head = result["head_node"]
    tasks = {head: 0} | job["tasks_per_node"]
    for pod in sorted(tasks, key=lambda pod: (pod != head, pod)):
        nodes.add_row(pod, "head" if pod == head else "worker", str(tasks[pod]))
    out.print(nodes)
    out.print(_hpa_table(cluster, namespace))
    kubectl = f"{_shown(BIN / 'kubectl')} --kubeconfig={_shown(cluster.kubeconfig)} -n {namespace}"
    service = head_service(cluster, namespace)
    chosen = ""
    if arguments.kubeconfig:
        chosen = f" --kubeconfig={arguments.kubeconfig} --namespace={namespace}"
    elif arguments.name != DEFAULT_NAME:
        chosen = f" --name={arguments.name}"
    token = ""
    if show := ray_api.show_token(cluster, namespace, service):
        token = f"""
[bold]Token[/]         export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$({kubectl} {shlex.join(show)})"
              the dashboard asks for it, and `ray job submit` takes it from there"""
    out.print(
        f"""{token}
[bold]Dashboard[/]     {kubectl} port-forward svc/{service} 8265:dashboard
              then open http://127.0.0.1:8265
[bold]Submit a job[/]  ray job submit --address=http://127.0.0.1:8265 -- python -c 'print(6 * 7)'
[bold]Look around[/]   {kubectl} get pods,hpa
[bold]Remove it[/]     ./scripts/down{chosen}

Ready after {timings["total"]:.0f} s. The figures are in {_shown(path)}."""
    )


def _hpa_table(cluster: Cluster, namespace: str) -> Table:
    table = Table(
        Column("autoscaler", overflow="fold"), "metric", "now", "target", "workers", "min..max",
        title="Horizontal Pod Autoscalers", title_justify="left",
    )  # fmt: skip
    for hpa in _find(cluster, namespace, "horizontalpodautoscalers", RELEASE, "worker"):
        spec, status = hpa["spec"], hpa.get("status", {})
        current = {
            _resource(metric): _resource_value(metric)
            for metric in status.get("currentMetrics") or []
            if metric["type"]  # empty until the first sample
        }
        for metric in spec["metrics"]:
            target = metric[_source(metric)]["target"].get("averageUtilization")
            table.add_row(
                hpa["metadata"]["name"],
                _resource(metric),
                current.get(_resource(metric), "first sample due"),
                f"{target} %" if target else "see values",
                str(status.get("currentReplicas", "?")),
                f"{spec.get('minReplicas', 1)}..{spec['maxReplicas']}",
            )
    return table


def _source(metric: dict[str, Any]) -> str:
    """The key that holds the details of an autoscaling/v2 metric: 'resource', 'pods' …"""
    kind = str(metric["type"])
    return kind[0].lower() + kind[1:]


def _resource(metric: dict[str, Any]) -> str:
    return str(metric[_source(metric)].get("name", metric["type"]))


def _resource_value(metric: dict[str, Any]) -> str:
    current = metric[_source(metric)]["current"]
    if "averageUtilization" in current:
        return f"{current['averageUtilization']} %"
    return str(current.get("averageValue", current.get("value", "?")))


def _shown(path: Path) -> str:
    """`path` as a person would type it here."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    main(run)
