"""The program that `helm test` runs, before a head that says what a test wants it to say."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from harness.paths import CHART

PROGRAM = (CHART / "files" / "helm_test.py").read_text()
GROUPS = {"a": {"prefix": "ray-a-", "minimum": 1}, "a-b": {"prefix": "ray-a-b-", "minimum": 1}}
WORKERS = ("ray-a-1", "ray-a-b-2")

Answers = dict[str, Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def nodes(*workers: str) -> Any:
    """Ray's node table with a head and these workers."""
    rows: list[Any] = [{"node_name": name, "is_head_node": False} for name in workers]
    return {"data": {"result": {"result": [{"node_name": "h", "is_head_node": True}, *rows]}}}


def job(status: str, log: str = "", *workers: str) -> Answers:
    """The answers of a head with `workers`, by path, where the job comes to `status`."""
    return {
        "/api/v0/nodes": nodes(*(workers or WORKERS)),
        "/api/jobs/": {"submission_id": "j"},
        "/api/jobs/j": {"status": status, "message": "its message"},
        "/api/jobs/j/logs": {"logs": log},
        "/api/jobs/j/stop": {},
    }


@pytest.fixture
def run() -> Iterator[Run]:
    """Run the program before a head that gives these answers; a number is a status."""
    given: Answers = {}

    class Head(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = given[self.path.partition("?")[0]]
            failed = isinstance(answer, int)
            self.send_response(answer if failed else 200)
            self.end_headers()
            self.wfile.write(b"because" if failed else json.dumps(answer).encode())

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    def _run(answers: Answers, groups: Any = GROUPS) -> "subprocess.CompletedProcess[str]":
        given.update(answers)
        url = f"http://127.0.0.1:{server.server_port}"
        arguments = [url, "1", json.dumps(groups), "kubectl get pods", "the job"]
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    with HTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield _run
        server.shutdown()


def test_it_ends_with_the_last_line_of_a_job_that_succeeds(run: Run) -> None:
    done = run(job("SUCCEEDED", "chatter\nA job ran a task on a"))
    assert (done.returncode, done.stdout) == (0, "A job ran a task on a\n")


def test_groups_without_workers_are_fine_if_they_need_none(run: Run) -> None:
    none = {"a": {"prefix": "ray-a-", "minimum": 0}}
    assert run(job("SUCCEEDED", "done") | {"/api/v0/nodes": nodes()}, none).returncode == 0


def test_group_with_too_few_workers_is_named_with_their_number(run: Run) -> None:
    """The name of the other one begins with its name."""
    done = run(job("SUCCEEDED", "", "ray-a-b-1", "ray-a-b-2"))
    assert done.returncode == 1
    assert "not all workers have joined it: a has 0 of at least 1\n" in done.stderr
    assert done.stderr.endswith("Look at the pods: kubectl get pods\n")


def test_job_that_fails_is_shown_with_the_end_of_its_log(run: Run) -> None:
    done = run(job("FAILED", "\n".join(f"line {number}" for number in range(99))))
    assert done.returncode == 1
    assert "FAILED: the job j failed: its message\nline 79\n" in done.stderr
    assert "line 98\n" in done.stderr


def test_job_that_does_not_end_is_given_up(run: Run) -> None:
    done = run(job("RUNNING", "so far"))
    assert done.returncode == 1
    assert "the job j is RUNNING after 1 s: its message\nso far\n" in done.stderr


def test_head_that_does_not_answer_is_named_with_the_reason(run: Run) -> None:
    done = run({"/api/v0/nodes": 503})
    assert done.returncode == 1
    assert "answers 503: because" in done.stderr


def test_refused_token_is_not_tried_again(run: Run) -> None:
    done = run({"/api/v0/nodes": 401})
    assert done.returncode == 1
    assert "refuses this release's token (HTTP Error 401" in done.stderr


def test_head_that_is_not_there_is_named_with_its_address() -> None:
    url = "http://127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, "1", "{}", "kubectl get pods", ""],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"the head at {url} cannot be reached: [Errno 111] Connection refused" in done.stderr
