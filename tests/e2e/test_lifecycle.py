"""A release from its first install to the one after its end: UPGRADING.md as a test."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from harness import images, ray_api, up
from harness.cluster import Cluster
from harness.paths import CHART, ROOT
from harness.process import run
from harness.tools import tool

from ..render.leaves import merged
from .release import (
    JOBS,
    READY_TIMEOUT_SECONDS,
    SCALE_TIMEOUT_SECONDS,
    Release,
    last_json,
    small,
    wait_for_log,
    wait_until,
)
from .test_autoscaling_switch import between, group, grown, workers
from .test_fault_tolerance import status

DOCUMENTED = ROOT / "UPGRADING.md"
# The same image by other names, as a tag of one's own build would be.
OTHER_TAGS = [f"{up.ray_version()}-{name}" for name in ("again", "anew")]

# The rows of the table by their first column, and what each changes of the values so far.
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "limits of an autoscaler": {"worker": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}}},
    "one group more": {"workerGroups": {"extra": {"autoscaling": {"minReplicas": 1}}}},
    "resources, image or environment of a group": {
        "workerGroups": {
            "default": {
                "image": {"tag": OTHER_TAGS[0]},
                "resources": {"requests": {"cpu": "60m"}},
                "env": [{"name": "TEAM", "value": "a"}],
            }
        }
    },
    "one group less": {"workerGroups": {"extra": None}},
    "`auth.token.enabled`": {"auth": {"token": {"enabled": True}}},
    "`gcsFaultTolerance.mode`": {"gcsFaultTolerance": {"mode": "rocksdb"}},
    "`head`, with fault tolerance": {"head": {"resources": {"requests": {"cpu": "110m"}}}},
    "`image` of the same Ray, with fault tolerance": {
        "image": {"tag": OTHER_TAGS[1]},
        "workerGroups": {"default": {"image": {"tag": OTHER_TAGS[1]}}},
    },
}
RESTARTED = {
    "nothing": set(),
    "the workers of that group": {"default"},
    "the head": {"head"},
    "head and workers": {"head", "default"},
}


def documented() -> list[tuple[str, set[str], bool]]:
    """The rows of the table: what changes, which pods restart, whether a job on the head ends."""
    table = DOCUMENTED.read_text().partition("| change |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    return [
        (change, RESTARTED[restarted.partition(",")[0]], not lost.startswith("nothing"))
        for change, restarted, lost in rows
    ]


def pods(release: Release) -> dict[str, set[str]]:
    """The unique ids of the pods that are not on their way out, of the head and by group."""
    found: dict[str, set[str]] = defaultdict(set)
    for component in ("head", "worker"):
        for pod in release.pods(component):
            name = pod.metadata.labels.get("ray-cluster/worker-group", "head")
            found[name].add(pod.metadata.uid)
    return found


def settle(release: Release) -> None:
    """Wait until all Deployments are as they shall be and nobody is on the way out."""
    where = f"--namespace={release.namespace}"
    names = release.cluster.kubectl("get", "deployments", where, "--output=name").split()
    release.cluster.kubectl(
        "rollout", "status", where, f"--timeout={READY_TIMEOUT_SECONDS}s", *names
    )
    release.wait_until_gone("head", "worker")
    release.wait_for_workers()


def start_work(release: Release, number: int) -> str:
    """Start a stream of tasks on the workers; the id of its job."""
    with release.dashboard() as dashboard:
        job = ray_api.submit(dashboard, JOBS / "stream.py", f"/tmp/stop-{number}")  # noqa: S108
        wait_for_log(dashboard, job, "ready\n")
    return job


def end_work(release: Release, job: str, number: int) -> dict[str, Any]:
    """Let the stream end; its outcome."""
    (head,) = release.pod_names("head")
    release.cluster.kubectl("exec", f"--namespace={release.namespace}", head, "--",
                            "touch", f"/tmp/stop-{number}")  # fmt: skip  # noqa: S108
    with release.dashboard() as dashboard:
        outcome: dict[str, Any] = last_json(ray_api.wait(dashboard, job))
        return outcome


def keep(release: Release, note: int) -> dict[str, Any]:
    """Give a detached actor a note to keep; what it has."""
    kept: dict[str, Any] = last_json(release.run_job(JOBS / "keeper.py", str(note)))
    return kept


def leftovers(release: Release) -> set[str]:
    """All that is in the namespace and belongs to the release."""
    kinds = release.cluster.kubectl(
        "api-resources", "--namespaced", "--verbs=list", "--output=name"
    ).split()
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    where = f"--namespace={release.namespace}"
    stored = release.cluster.kubectl("get", "secrets", where, "--selector=owner=helm", "-oname")
    found = release.cluster.kubectl("get", ",".join(kinds), where, selector, "--output=name")
    return set(found.split()) | set(stored.split())


def test_every_row_of_the_table_is_tried_and_no_other() -> None:
    assert [change for change, _, _ in documented()] == list(CHANGES)


@pytest.mark.slow
@pytest.mark.scenario("lifecycle.upgrade-table")
@pytest.mark.needs(cpu=500, memory=5 * 1024)
def test_upgrades_restart_and_lose_what_is_documented(
    install: Callable[..., Release], own_cluster: Cluster
) -> None:
    """Each row of the table in turn, with tasks on the way; then back, away, and anew."""
    image = images.ray_reference(up.ray_version())
    for tag in OTHER_TAGS:
        run(["docker", "exec", str(own_cluster.node), "ctr", "--namespace=k8s.io", "images", "tag",
             "--force", image, f"{image.rpartition(':')[0]}:{tag}"])  # fmt: skip
    autoscaling = {"minReplicas": 1, "maxReplicas": 1, "targetCPUUtilizationPercentage": None}
    values = small(
        autoscaling=autoscaling, drain={"timeoutSeconds": 20}, rayResources={"worker": 1}
    )
    values["auth"] = {"token": {"enabled": False}}
    release = install(values)
    settle(release)

    number = 0
    job = start_work(release, number)
    for change, restarted, ends in documented():
        before = pods(release)
        values = merged(values, CHANGES[change])
        if change.startswith("`head`"):
            kept = keep(release, 1)
        install(values, wait=False)
        settle(release)
        compare(change, before, pods(release), restarted)
        assert_ended(release, job, change) if ends else assert_running(release, job, change)
        if change.startswith("`head`"):
            assert keep(release, 2) == kept | {"notes": [1, 2]}
        if change == "one group less":
            outcome = end_work(release, job, number)
            assert outcome["lost"] == []
            assert len(outcome["done"]) >= 5, "not each of the workers had something to do"
        if ends or change == "one group less":
            number += 1
            job = start_work(release, number)

    token, before = release.token, pods(release)
    helm(release, "helm", "rollback", release.name)
    settle(release)
    compare("rollback", before, pods(release), {"head", "default"})
    tags = {pod.spec.containers[0].image.rpartition(":")[2] for pod in release.pods("worker")}
    assert tags == {OTHER_TAGS[0]}
    assert release.token == token

    release.uninstall()
    wait_until(
        "nothing of the release but its token",
        lambda: leftovers(release),
        lambda seen: seen == {"secret/ray-ray-cluster-auth"},
        timeout=READY_TIMEOUT_SECONDS,
    )
    release = install(values, wait=False)
    settle(release)
    assert release.token == token
    assert last_json(release.run_job(JOBS / "where.py")) in release.pod_names("worker")


def compare(
    change: str, before: dict[str, set[str]], after: dict[str, set[str]], restarted: set[str]
) -> None:
    """Fail unless the pods of those in `restarted` are all others, and the rest is still there."""
    for name in before.keys() & after.keys():
        if name in restarted:
            assert not before[name] & after[name], f"{change}: {name} did not restart"
        else:
            assert before[name] <= after[name], f"{change}: {name} restarted"


def assert_running(release: Release, job: str, change: str) -> None:
    """Fail unless the job goes on."""
    with release.dashboard() as dashboard:
        assert status(dashboard, job) == "RUNNING", change


def assert_ended(release: Release, job: str, change: str) -> None:
    """Fail unless the job has ended with its head, of which Ray learns when there is another."""
    release.run_job(JOBS / "where.py")
    with release.dashboard() as dashboard:
        wait_until(
            f"the end of the job on the head after a change of {change}",
            lambda: status(dashboard, job),
            lambda seen: seen in {"FAILED", "unknown"},
            timeout=SCALE_TIMEOUT_SECONDS,
        )


@pytest.mark.slow
@pytest.mark.scenario("lifecycle.helm3-to-4")
@pytest.mark.parametrize(("first", "second"), [("helm3", "helm"), ("helm", "helm3")])
def test_release_of_one_helm_goes_on_under_the_other(
    install: Callable[..., Release], first: str, second: str
) -> None:
    """There and back: no pod restarts, and the number of workers stays the autoscaler's."""
    release = install(group(between(2, 2)), program=first, wait=False)
    workers_before = grown(release, 2)
    release.wait_for_head()
    before, token = pods(release), release.token

    for number, program in enumerate((second, second, first, second)):
        common = {"commonAnnotations": {"example.com/upgrade": str(number)}}
        release = install(group(between(1, 2)) | common, program=program, wait=False)
        assert (workers(release), release.token) == (workers_before, token), program
    # Helm 4 goes on as a release has begun. This is how one of Helm 3's changes over.
    helm(
        release, "helm", "upgrade", release.name, str(CHART), "--reuse-values", "--server-side=true"
    )
    assert workers(release) == workers_before
    helm(release, second, "rollback", release.name, "1")
    assert workers(release) == workers_before
    assert pods(release) == before
    assert last_json(release.run_job(JOBS / "where.py")) in workers_before[1]


def helm(release: Release, program: str, *arguments: str) -> None:
    """Run a Helm in the release's namespace."""
    run([tool(program), *arguments, f"--namespace={release.namespace}",
         f"--kubeconfig={release.cluster.kubeconfig}"])  # fmt: skip
