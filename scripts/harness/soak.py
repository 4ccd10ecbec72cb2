"""A random load for half an hour on a group that follows it, and what became of the tasks.

Meant for the tests' own cluster, whose autoscalers look every five seconds: the more often workers
come and go, the more there is to lose. docs/soak/ keeps the samples, a plot and a summary.
"""

import argparse
import itertools
import json
import secrets
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.utils.quantity import parse_quantity

from harness import cluster as clusters
from harness import helm, ray_api, report, up
from harness.cluster import Cluster
from harness.console import out
from harness.errors import UserError
from harness.paths import PACKAGE, ROOT

FOLDER = ROOT / "docs" / "soak"

_JOB = PACKAGE / "jobs" / "random_load.py"
_SAMPLE_SECONDS = 15
_LAST_TASKS_SECONDS = 300  # for those that run when the time is over, and for a slow machine
_TARGET = 50  # percent of the memory request
# Three workers of four CPUs have room for all tasks of the load; memory brings and takes them.
# The head remembers little, so that what its memory still grows by is nobody's history.
_VALUES: dict[str, Any] = {
    "head": {
        "resources": {"requests": {"cpu": "100m"}},
        "history": {"tasks": 500, "actors": 100, "nodes": 20, "events": 100},
    },
    "worker": {
        "numCpus": 4,
        "resources": {"requests": {"cpu": "100m", "memory": "2Gi"}},
        "autoscaling": {
            "minReplicas": 1,
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 0,
            "targetMemoryUtilizationPercentage": _TARGET,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}},
        },
    },
}
# Of the head's memory, over the second half of the run: twice what its samples scatter by.
_MOST_GROWTH = 64 * 2**20


def run(cluster: Cluster, arguments: list[str]) -> None:
    """Put a random load on a release and write docs/soak/.

    Raises UserError if a task was lost, or if the head's memory grew without an end.
    """
    parser = argparse.ArgumentParser(prog="./scripts/test soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="default: %(default)s")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="default: a new one")
    options = parser.parse_args(arguments)
    out.print(f"A random load for {options.minutes:g} minutes, --seed {options.seed}")
    result = _soak(cluster, options.seed, options.minutes * 60)
    write(result)
    out.print(f"{summary(result)}\nWritten to {FOLDER.relative_to(ROOT)}/.", highlight=False)
    if result["lost"]:
        raise UserError(f"{len(result['lost'])} tasks were lost: {result['lost']}")
    if growth(result) > _MOST_GROWTH:
        raise UserError(f"The head's memory grew by {growth(result) / 2**20:.0f} MiB.")


def _soak(cluster: Cluster, seed: str, seconds: float) -> dict[str, Any]:
    samples = []
    with clusters.namespace(cluster, "soak") as namespace:
        helm.install(cluster.kubeconfig, "ray", _VALUES, namespace=namespace)
        up.wait_for_workers(cluster, namespace)
        service = up.head_service(cluster, namespace)
        with ray_api.dashboard(cluster, namespace, service) as dashboard:
            look = _Look(cluster, namespace, dashboard)
            job = ray_api.submit(dashboard, _JOB, seed, str(seconds))
            began = time.monotonic()
            while not look.ended(job):
                if time.monotonic() - began > seconds + _LAST_TASKS_SECONDS:
                    raise UserError(f"The load has not ended: {look.numbers(job)}")
                samples.append({"seconds": round(time.monotonic() - began), **look.sample(job)})
                out.print(json.dumps(samples[-1]), highlight=False)
                time.sleep(_SAMPLE_SECONDS)
            ray_api.wait(dashboard, job)
            numbers = look.numbers(job)
    return {
        "seed": seed,
        "minutes": seconds / 60,
        "commit": report.commit(),
        "ray": up.ray_version(),
        **numbers,
        "samples": samples,
    }


class _Look:
    """What can be seen of the release from outside."""

    def __init__(self, cluster: Cluster, namespace: str, dashboard: ray_api.Dashboard) -> None:
        api = config.new_client_from_config(str(cluster.kubeconfig))
        self.core, self.custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self.scaling = client.AutoscalingV2Api(api)
        self.cluster, self.namespace, self.dashboard = cluster, namespace, dashboard

    def ended(self, job: str) -> bool:
        """Whether the load is over."""
        return ray_api.call(self.dashboard, f"/api/jobs/{job}")["status"] in ray_api.ENDED

    def numbers(self, job: str) -> dict[str, Any]:
        """What the load has said last of its tasks."""
        lines = [line for line in ray_api.logs(self.dashboard, job).splitlines() if line[:1] == "{"]
        numbers: dict[str, Any] = {"begun": 0, "finished": 0, "lost": []}
        return numbers | (json.loads(lines[-1]) if lines else {})

    def sample(self, job: str) -> dict[str, Any]:
        """Tasks, workers and memory as they are now; None stands for what nobody knows."""
        numbers = self.numbers(job)
        (hpa,) = self.scaling.list_namespaced_horizontal_pod_autoscaler(self.namespace).items
        known = [metric.resource for metric in hpa.status.current_metrics or [] if metric.resource]
        seen = [resource.current.average_utilization for resource in known]
        workers = self._pods("worker")
        leaving = sum(1 for pod in workers if pod.metadata.deletion_timestamp)
        (head,) = self._pods("head")
        return {
            **numbers,
            "lost": len(numbers["lost"]),
            "workers": len(workers) - leaving,
            "leaving": leaving,
            "wanted": hpa.status.desired_replicas,
            "memory": seen[0] if seen else None,
            "head": self._working_set(head.metadata.name),
            "gcs": self._resident(head.metadata.name, "gcs_server"),
        }

    def _pods(self, component: str) -> list[Any]:
        selector = f"app.kubernetes.io/component={component}"
        pods: list[Any] = self.core.list_namespaced_pod(
            self.namespace, label_selector=selector
        ).items
        return pods

    def _working_set(self, pod: str) -> int | None:
        with suppress(client.ApiException):
            sample = self.custom.get_namespaced_custom_object(
                "metrics.k8s.io", "v1beta1", self.namespace, "pods", pod
            )
            return sum(int(parse_quantity(c["usage"]["memory"])) for c in sample["containers"])
        return None

    def _resident(self, pod: str, process: str) -> int:
        """The resident memory of a process in `pod`, in bytes."""
        where = [f"--namespace={self.namespace}", pod, "--"]
        pages = self.cluster.kubectl("exec", *where, "ps", "-C", process, "-o", "rss=")
        return int(pages.split()[0]) * 1024


def growth(result: dict[str, Any]) -> float:
    """How much the head's memory grew over the second half of the run, in bytes.

    Between the medians of the third and the last quarter.
    """
    head = [sample["head"] for sample in result["samples"] if sample["head"] is not None]
    quarter = len(head) // 4
    before, after = head[-2 * quarter : -quarter], head[-quarter:]
    return float(statistics.median(after) - statistics.median(before))


def scale_ins(result: dict[str, Any]) -> int:
    """How many workers had to leave, as far as the samples show."""
    workers = [sample["workers"] for sample in result["samples"]]
    return sum(max(0, before - after) for before, after in itertools.pairwise(workers))


def summary(result: dict[str, Any]) -> str:
    """The outcome in a few sentences."""
    return (
        f"{result['begun']} tasks that may not be retried ran in {result['minutes']:g} minutes: "
        f"{result['finished']} finished, {len(result['lost'])} were lost. {scale_ins(result)} "
        "workers had to leave meanwhile. Over the second half of that time the head's memory grew "
        f"by {growth(result) / 2**20:.0f} MiB."
    )


# --- docs/soak --------------------------------------------------------------------------------


def write(result: dict[str, Any], folder: Path = FOLDER) -> None:
    """Put the result, its plot and its summary into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "README.md").write_text(readme(result))
    plot(result, folder / "soak.svg")


def readme(result: dict[str, Any]) -> str:
    """The page on `result`."""
    return f"""# A random load

Generated by `./scripts/test soak --seed {result["seed"]} --minutes {result["minutes"]:g}` at commit
`{result["commit"][:10]}` with Ray {result["ray"]}; [result.json](result.json) has every sample.

{summary(result)}

![Tasks, workers and memory over time](soak.svg)

Tasks sleep, hold memory or make objects for up to 40 s, none to twelve of them together; a group
of one to three workers follows the memory that they use, and looks every five seconds. The head
keeps the records of 500 finished tasks, 100 actors and 20 nodes that are gone, so its memory grows
until it has as many.
"""


def plot(result: dict[str, Any], file: Path) -> None:
    """Draw tasks, workers and memory over time."""
    from matplotlib.figure import Figure  # takes half a second, which no other command needs

    samples = result["samples"]
    minutes = [sample["seconds"] / 60 for sample in samples]

    def column(name: str, scale: float = 1) -> list[float]:
        return [float("nan") if s[name] is None else s[name] * scale for s in samples]

    figure = Figure(figsize=(8, 7), layout="constrained")
    tasks, workers, memory, head = figure.subplots(4, sharex=True)
    together = [s["begun"] - s["finished"] - s["lost"] for s in samples]
    tasks.plot(minutes, together, label="unfinished")
    tasks.plot(minutes, column("lost"), label="lost, in all", color="red")
    tasks.set_ylabel("tasks")
    workers.step(minutes, column("workers"), where="post", label="workers")
    workers.step(minutes, column("leaving"), where="post", label="leaving")
    workers.set_ylabel("pods")
    memory.plot(minutes, column("memory"), label="workers' memory")
    memory.axhline(_TARGET, linestyle=":", color="gray", label="target")
    memory.set_ylabel("% of the request")
    head.plot(minutes, column("head", 2**-20), label="head")
    head.plot(minutes, column("gcs", 2**-20), label="of it, the GCS")
    head.set_ylabel("MiB")
    head.set_xlabel("minutes")
    for axes in (tasks, workers, memory, head):
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", fontsize="small")
    figure.savefig(file)
