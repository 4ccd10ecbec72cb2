"""What `helm test` runs: submits a job, as users do, that has to run a task on every worker.

Before that it waits until each group has its least number of workers. The last thing it prints says
that all is well, or else what is wrong and where to look. The token is in RAY_AUTH_TOKEN.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import argparse
import json
import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any, NoReturn

_ASK_SECONDS = 10
_LOG_LINES = 20
# State API's own limit is 100.
_NODES = (
    "/api/v0/nodes?detail=1&limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
)

parser = argparse.ArgumentParser()
parser.add_argument("url", help="of the head's dashboard")
parser.add_argument("timeout", type=int, help="seconds that all of it may take")
parser.add_argument(
    "groups", type=json.loads, help="by group, how its pods' names begin and how many it has"
)
parser.add_argument("look", help="the command that shows the pods")
parser.add_argument("job", help="the job, a program in Python")
asked = parser.parse_args()
deadline = time.monotonic() + asked.timeout


def fail(what: str) -> NoReturn:
    """End with the reason."""
    sys.exit(f"FAILED: {what}\nLook at the pods: {asked.look}")


def ask(path: str, body: Any = None) -> Any:
    """The head's answer, waited for until the deadline."""
    request = urllib.request.Request(asked.url + path)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        request.add_header("Authorization", f"Bearer {token.strip()}")
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in {401, 403}:
                fail(f"the head refuses this release's token ({error}). Have its pods another one?")
            reason = f"answers {error.code}: {error.read().decode(errors='replace').strip()}"
        except OSError as error:
            reason = f"cannot be reached: {getattr(error, 'reason', error)}"
        if time.monotonic() > deadline:
            fail(f"the head at {asked.url} {reason}")
        time.sleep(0.5)


def group_of(pod: str) -> str | None:
    """The group that a pod belongs to: of one group's names another's may be the beginning."""
    fitting = [name for name, group in asked.groups.items() if pod.startswith(group["prefix"])]
    return max(fitting, key=lambda name: len(asked.groups[name]["prefix"]), default=None)


def wait_for_workers() -> None:
    """Wait until each group has its least number of workers in Ray's node table."""
    while True:
        nodes = ask(_NODES)["data"]["result"]["result"]
        joined = Counter(group_of(node["node_name"]) for node in nodes if not node["is_head_node"])
        missing = [
            f"{name} has {joined[name]} of at least {group['minimum']}"
            for name, group in asked.groups.items()
            if joined[name] < group["minimum"]
        ]
        if not missing:
            return
        if time.monotonic() > deadline:
            fail(
                f"after {asked.timeout} s the head runs, but not all workers have joined it: "
                + ", ".join(missing)
            )
        time.sleep(0.5)


def run_job() -> str:
    """Run the job and return its log."""
    job = ask("/api/jobs/", {"entrypoint": shlex.join(["python", "-c", asked.job])})
    path = f"/api/jobs/{job['submission_id']}"
    while (details := ask(path))["status"] in {"PENDING", "RUNNING"}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    log = str(ask(f"{path}/logs")["logs"])
    if details["status"] == "SUCCEEDED":
        return log
    end = "\n".join(log.splitlines()[-_LOG_LINES:])
    if details["status"] == "FAILED":
        fail(f"the job {job['submission_id']} failed: {details['message']}\n{end}")
    ask(f"{path}/stop", {})
    fail(
        f"the job {job['submission_id']} is {details['status']} after {asked.timeout} s: "
        f"{details['message']}\n{end}"
    )


wait_for_workers()
print(run_job().splitlines()[-1])
