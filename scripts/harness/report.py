"""What a run leaves behind: results as JSON, and the state of a cluster when something failed."""

import json
from pathlib import Path
from typing import Any

from harness.cluster import Cluster
from harness.paths import REPORTS, ROOT
from harness.process import CommandError, run


def commit() -> str:
    """The checked-out commit, or 'unknown' outside a git checkout."""
    try:
        return run(["git", "rev-parse", "HEAD"], cwd=ROOT).strip()
    except CommandError:
        return "unknown"


def write(name: str, content: dict[str, Any]) -> Path:
    """Write `content` to the report `name` ('up.json') and return its path."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / name
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def dump(cluster: Cluster, *namespaces: str) -> str:
    """The state of `namespaces` and of the nodes, as a maintainer wants it after a failure.

    Nodes, objects, events, descriptions, logs and the logs of earlier containers. What cannot be
    read is said in its place; this never raises.
    """
    parts = [_section(cluster, "get", "nodes", "--output=wide")]
    parts.append(_section(cluster, "describe", "nodes"))
    for namespace in namespaces:
        where = f"--namespace={namespace}"
        kinds = "all,horizontalpodautoscalers,poddisruptionbudgets,persistentvolumeclaims"
        parts.append(_section(cluster, "get", kinds, where, "--output=wide"))
        parts.append(_section(cluster, "get", "events", where, "--sort-by=.lastTimestamp"))
        parts.append(_section(cluster, "describe", "pods", where))
        for pod in _names(cluster, "pods", where):
            logs = ("logs", pod, where, "--all-containers", "--tail=200", "--prefix")
            parts.append(_section(cluster, *logs))
            parts.append(_section(cluster, *logs, "--previous"))
    return "\n".join(parts)


def _section(cluster: Cluster, *arguments: str) -> str:
    try:
        text = cluster.kubectl(*arguments, "--request-timeout=20s")
    except CommandError as error:
        text = error.output
    return f"### kubectl {' '.join(arguments)}\n{text}"


def _names(cluster: Cluster, kind: str, where: str) -> list[str]:
    try:
        return cluster.kubectl("get", kind, where, "--output=name").split()
    except CommandError:
        return []
