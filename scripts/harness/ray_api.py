"""Ray's own HTTP interface: its node table and its Jobs API, reached as a person would."""

import hashlib
import io
import json
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cluster import Cluster
from harness.process import CommandError
from harness.tools import tool

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class JobError(Exception):
    """A job ended otherwise than with success; the message holds its log."""


@dataclass(frozen=True)
class Dashboard:
    """Where a head's HTTP interface is, and the token that it asks for, if it asks for one."""

    url: str
    token: str | None = field(default=None, repr=False)  # no failed test shall print it


@contextmanager
def dashboard(cluster: Cluster, namespace: str, head: str) -> Iterator[Dashboard]:
    """Forward a free local port to the dashboard of the head whose Service is `head`.

    Raises CommandError if the port cannot be forwarded.
    """
    token = token_of(cluster, namespace, head)
    with forwarded(cluster, namespace, f"svc/{head}") as url:
        yield Dashboard(url, token)


@contextmanager
def forwarded(cluster: Cluster, namespace: str, target: str) -> Iterator[str]:
    """Forward a free local port to the dashboard of `target` ('pod/ray-head'); yield its URL.

    Raises CommandError if the port cannot be forwarded.
    """
    command = [str(tool("kubectl")), f"--kubeconfig={cluster.kubeconfig}", "port-forward"]
    command += [f"--namespace={namespace}", "--address=127.0.0.1", target, ":dashboard"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as forward:
        try:
            assert forward.stdout is not None
            line = forward.stdout.readline()  # printed when the port is open, or the reason why not
            if not (port := re.search(r"127\.0\.0\.1:(\d+)", line)):
                raise CommandError(command, "no port was forwarded", line)
            yield f"http://127.0.0.1:{port[1]}"
        finally:
            forward.terminate()


def token_of(cluster: Cluster, namespace: str, head: str) -> str | None:
    """The token of the cluster whose head's Deployment is `head`; None if it asks for none."""
    command = show_token(cluster, namespace, head)
    return cluster.kubectl(f"--namespace={namespace}", *command).strip() if command else None


def show_token(cluster: Cluster, namespace: str, head: str) -> list[str]:
    """The arguments with which kubectl prints that token; none if the cluster asks for none."""
    deployment = json.loads(
        cluster.kubectl("get", f"--namespace={namespace}", "--output=json", f"deployment/{head}")
    )
    for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"] == "RAY_AUTH_TOKEN":
            secret = variable["valueFrom"]["secretKeyRef"]
            key = f'{{{{index .data "{secret["key"]}" | base64decode}}}}'
            return ["get", "secret", secret["name"], f"--output=go-template={key}"]
    return []


def call(
    dashboard: Dashboard,
    path: str,
    *,
    body: Any = None,
    method: str | None = None,
    timeout: float = 120,
) -> Any:
    """The decoded JSON answer of `path`; `body` is sent as JSON, or as it is if it is bytes.

    Raises OSError (urllib's URLError and HTTPError among them).
    """
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{dashboard.url}{path}", data=data, method=method)  # noqa: S310
    if dashboard.token:
        request.add_header("Authorization", f"Bearer {dashboard.token}")
    if data is not None and not isinstance(body, bytes):
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text else None


def alive_nodes(dashboard: Dashboard) -> list[dict[str, Any]]:
    """The ALIVE rows of Ray's node table, as Ray's state API gives them."""
    answer = call(
        dashboard,
        "/api/v0/nodes?detail=1&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE",
    )
    rows: list[dict[str, Any]] = answer["data"]["result"]["result"]
    return rows


def running_tasks(dashboard: Dashboard) -> list[dict[str, Any]]:
    """The tasks that run now, as Ray's state API gives them; actors' methods are among them."""
    answer = call(
        dashboard,
        "/api/v0/tasks?detail=1&filter_keys=state&filter_predicates=%3D&filter_values=RUNNING",
    )
    rows: list[dict[str, Any]] = answer["data"]["result"]["result"]
    return rows


def run_job(dashboard: Dashboard, script: Path, *arguments: str, timeout: float = 300) -> str:
    """Submit `script` through the Jobs API, wait for its end and return its log.

    `timeout` is in seconds. Raises JobError with the log if it does not succeed in time.
    """
    return wait(dashboard, submit(dashboard, script, *arguments), timeout=timeout)


def submit(
    dashboard: Dashboard,
    script: Path,
    *arguments: str,
    num_cpus: float = 0,
    resources: dict[str, float] | None = None,
) -> str:
    """Submit `script` with `arguments` through the Jobs API and return the job's id.

    Its driver runs on the head, or with `num_cpus` where that many CPUs are free for it, or where
    there are the custom `resources`.
    """
    entrypoint = shlex.join(["python", script.name, *arguments])
    working_dir = _upload(dashboard, script)
    body: dict[str, Any] = {"entrypoint": entrypoint, "runtime_env": {"working_dir": working_dir}}
    if num_cpus:
        body["entrypoint_num_cpus"] = num_cpus
    if resources:
        body["entrypoint_resources"] = resources
    answer = call(dashboard, "/api/jobs/", body=body)
    return str(answer["submission_id"])


def wait(dashboard: Dashboard, job: str, *, timeout: float = 300) -> str:
    """Wait for the end of `job` and return its log.

    `timeout` is in seconds. Raises JobError with the log if the job does not succeed in time; it is
    stopped then.
    """
    details = ended(dashboard, job, timeout=timeout)
    log = logs(dashboard, job)
    if details["status"] != "SUCCEEDED":
        raise JobError(
            f"The job {details['entrypoint']!r} is {details['status']}: {details['message']}\n{log}"
        )
    return log


def ended(dashboard: Dashboard, job: str, *, timeout: float = 300) -> dict[str, Any]:
    """Wait for the end of `job` and return what the Jobs API knows of it, its 'status' for one.

    `timeout` is in seconds; when it is over the job is stopped.
    """
    deadline = time.monotonic() + timeout
    while True:
        details: dict[str, Any] = call(dashboard, f"/api/jobs/{job}")
        if details["status"] in ENDED:
            return details
        if time.monotonic() > deadline:
            stop(dashboard, job)
            return details
        time.sleep(0.3)


def logs(dashboard: Dashboard, job: str) -> str:
    """What `job` has printed up to now."""
    return str(call(dashboard, f"/api/jobs/{job}/logs")["logs"])


def last_json(log: str) -> Any:
    """The JSON that a job has printed last, whatever Ray itself says after it.

    Raises JobError if there is none.
    """
    for line in reversed(log.splitlines()):
        with suppress(json.JSONDecodeError):
            return json.loads(line)
    raise JobError(f"The job printed no JSON: {log}")


def stop(dashboard: Dashboard, job: str) -> None:
    """Ask `job` to stop; Ray kills it if it does not within three seconds."""
    call(dashboard, f"/api/jobs/{job}/stop", method="POST")


def _upload(dashboard: Dashboard, script: Path) -> str:
    """Put `script` into Ray's package store, as `ray job submit --working-dir` does."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.write(script, script.name)
    name = f"_ray_pkg_{hashlib.sha256(script.read_bytes()).hexdigest()[:16]}.zip"
    path = f"/api/packages/gcs/{name}"
    try:
        call(dashboard, path)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        call(dashboard, path, body=archive.getvalue(), method="PUT")
    return f"gcs://{name}"
