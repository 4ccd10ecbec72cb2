"""`helm test` says whether a release works, and if not, what is wrong."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from harness.tools import tool

from .release import Release, small

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


def pods(release: Release, component: str) -> list[str]:
    """The phases of the component's pods."""
    selector = f"app.kubernetes.io/component={component}"
    found = client.CoreV1Api(release.api).list_namespaced_pod(
        release.namespace, label_selector=selector
    )
    return [pod.status.phase for pod in found.items]
