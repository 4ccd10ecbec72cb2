"""What a release tells its user to run: `helm test`, and the commands in its notes."""

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from harness.paths import BIN
from harness.process import run
from harness.tools import tool

from .release import READY_TIMEOUT_SECONDS, Release, small, wait_until

FAILED = "the head runs, but not all workers have joined it: stuck has 0 of at least 1"


def helm_test(release: Release, program: str) -> tuple[int, str]:
    """The exit code of `helm test`, and all that it says."""
    done = subprocess.run(
        [tool(program), "test", release.name, f"--namespace={release.namespace}",
         f"--kubeconfig={release.cluster.kubeconfig}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=400,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.scenario("lifecycle.helm-test")
@pytest.mark.parametrize("program", ["helm", pytest.param("helm3", marks=pytest.mark.slow)])
@pytest.mark.needs(cpu=220, memory=3200)
def test_helm_test_runs_a_job_on_each_worker_or_says_what_is_missing(
    install: Callable[..., Release], program: str
) -> None:
    """Also once more after a failure, which leaves its pod to be looked at."""
    values = small(autoscaling={"enabled": False})
    release = install(values, program=program)
    (worker,) = release.pod_names("worker")
    code, said = helm_test(release, program)
    assert f"A job ran a task on {worker}" in said
    assert (code, pods(release, "test")) == (0, [])

    stuck: dict[str, Any] = {"nodeSelector": {"example.com/there-is": "none"}}
    groups = {"workerGroups": {"default": {}, "stuck": stuck}, "helmTest": {"timeoutSeconds": 5}}
    install(values | groups, program=program, wait=False)
    for _ in range(2):
        code, said = helm_test(release, program)
        assert FAILED in said
        assert (code, pods(release, "test")) == (1, ["Failed"])


@pytest.mark.scenario("lifecycle.notes")
def test_every_kubectl_command_in_the_notes_prints_what_it_promises(
    install: Callable[..., Release],
) -> None:
    """Up to its first line, since some never end."""
    release = install(small(autoscaling={"maxReplicas": 1}))
    told = run(
        [tool("helm"), "get", "notes", release.name, f"--namespace={release.namespace}",
         f"--kubeconfig={release.cluster.kubeconfig}"]
    )  # fmt: skip
    commands = [line.strip() for line in told.splitlines() if "kubectl -n" in line]
    watch, autoscalers, status, token, forward = commands
    assert "READY" in first_line(watch, release)
    assert "TARGETS" in first_line(autoscalers, release)
    # Ray sums a new cluster up every few seconds, and says so before the first time.
    wait_until(
        "Ray's status",
        lambda: first_line(status, release),
        lambda line: "Autoscaler status" in line,
        timeout=READY_TIMEOUT_SECONDS,
    )
    assert first_line(f'{token}; echo "$RAY_AUTH_TOKEN"', release) == release.token
    # The port may be taken on this machine; without one, kubectl takes any.
    assert "Forwarding from 127.0.0.1" in first_line(forward.replace(" 8265:", " :"), release)


def first_line(command: str, release: Release) -> str:
    """The first line that a shell command prints; AssertionError says what it complained of."""
    with subprocess.Popen(
        ["bash", "-c", command],
        env=os.environ | {
            "KUBECONFIG": str(release.cluster.kubeconfig),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline().strip()
        process.terminate()
        assert line, f"{command}: {process.stderr.read()}"
    return line


def pods(release: Release, component: str) -> list[str]:
    """The phases of the component's pods."""
    selector = f"app.kubernetes.io/component={component}"
    found = client.CoreV1Api(release.api).list_namespaced_pod(
        release.namespace, label_selector=selector
    )
    return [pod.status.phase for pod in found.items]
