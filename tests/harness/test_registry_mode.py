"""`./scripts/up --images registry` from a checkout without caches, against a real registry.

The images are those that are built from packages; a registry from Debian serves them under the
names that people know.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import cluster as clusters
from harness import gobuild, images, tools, up
from harness.paths import ROOT
from harness.process import run, succeeds
from harness.registry import Registry, _tag

from ..registry import open_to_all, push, storage

pytestmark = pytest.mark.slow

NAME = "ray-registry"
UP_TIMEOUT_SECONDS = 600
# What makes something from its sources: program -> first arguments.
BUILDING = {"docker": "build commit import", "go": "build install run tool", "mmdebstrap": "*"}


@dataclass(frozen=True)
class Served:
    """A registry that runs, and the node image in it."""

    host: str
    node: str
    container: str

    def manifests(self) -> list[str]:
        """The repositories whose manifests were fetched, once for each request."""
        log = run(["sh", "-c", 'docker logs "$0" 2>&1', self.container])
        return re.findall(r'"GET /v2/(\S+)/manifests/', log)


@dataclass(frozen=True)
class Run:
    """What became of `./scripts/up`."""

    report: dict[str, Any]
    built: str
    images: Registry


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A registry on the loopback interface, where Docker does without TLS."""
    ray = up.ray_version()
    with clusters.exclusive():
        clusters._prepare_machine(None, sealed=False, yes=True)
        node, loaded = clusters._make_images(tools.NEWEST_KUBERNETES, ray, None)
        metrics_server = images._program_image(
            "metrics-server", *images._PROGRAMS["metrics-server"]
        )
    with storage() as folder, open_to_all(folder) as (host, container):
        push(loaded[0].tag, f"{host}/rayproject/ray:{ray}")
        version = gobuild.version("metrics-server")
        push(metrics_server, f"{host}/metrics-server/metrics-server:{version}")
        digest = push(node, f"{host}/kindest/node:{tools.NEWEST_KUBERNETES}")
        yield Served(host, f"kindest/node:{tools.NEWEST_KUBERNETES}@{digest}", container)


@pytest.fixture(scope="module")
def brought_up(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`./scripts/up` with tools on PATH, where every way to build something fails."""
    folder = tmp_path_factory.mktemp("machine")
    checkout = folder / "checkout"
    for name in run(["git", "ls-files"], cwd=ROOT).splitlines():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, checkout / name)
    programs = folder / "bin"
    programs.mkdir()
    for name in ("kind", "helm", "kubectl"):
        module, program = tools._TOOLS[name]
        (programs / name).symlink_to(gobuild.build(module) / program)
    built = folder / "built"
    for name, verbs in BUILDING.items():
        _refuse_to_build(programs / name, verbs, built)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment.pop(tools._PREFER_PATH, None)
    pulled = Registry(f"docker.io/{served.node}", served.host)
    options = ["--images=registry", f"--registry={served.host}", f"--node-image={served.node}"]
    try:
        done = subprocess.run(
            [checkout / "scripts" / "up", f"--name={NAME}", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment, timeout=UP_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        print(done.stdout)
        report = json.loads((checkout / ".testbed" / "report" / "up.json").read_text())
        yield Run(report, built.read_text() if built.exists() else "", pulled)
    finally:
        run([checkout / "scripts" / "down", f"--name={NAME}"], env=environment)
        shutil.rmtree(checkout)  # pytest would keep three of them, each with its environment
        for reference in _references(pulled):
            succeeds(["docker", "image", "rm", _tag(pulled.source(reference))])


def _references(pulled: Registry) -> list[str]:
    return [
        pulled.node,
        images.ray_reference(up.ray_version()),
        images.metrics_server_reference(),
    ]


def _refuse_to_build(program: Path, verbs: str, log: Path) -> None:
    """A stand-in for `program` that passes everything on but `verbs`."""
    real = shutil.which(program.name)
    program.write_text(
        f"""#!/bin/bash
for verb in {verbs.replace("*", '"$1"')}; do
  if [[ $1 == "$verb" ]]; then
    echo "{program.name} $*" | tee -a {log} >&2
    exit 1
  fi
done
exec {real} "$@"
"""
    )
    program.chmod(0o755)


def test_a_job_runs_in_a_cluster_from_a_registry(brought_up: Run) -> None:
    assert brought_up.report["job"]["succeeded"], brought_up.report
    assert brought_up.report["workers"] == 1


def test_nothing_is_built(brought_up: Run) -> None:
    assert brought_up.built == ""


def test_every_image_comes_from_the_registry(brought_up: Run, served: Served) -> None:
    assert {"kindest/node", "rayproject/ray", "metrics-server/metrics-server"} <= set(
        served.manifests()
    )


def test_the_node_runs_the_image_that_was_named(brought_up: Run) -> None:
    running = run(["docker", "inspect", "--format={{.Image}}", f"{NAME}-control-plane"])
    (node,) = brought_up.images.pull(brought_up.images.node)
    assert running == run(["docker", "image", "inspect", "--format={{.Id}}", node.tag])


def test_the_cluster_may_reach_the_outside(brought_up: Run) -> None:
    assert f"{clusters._LABEL}:{NAME}" not in run(["iptables", "--wait", "-S"])


def test_a_cluster_made_again_downloads_nothing(brought_up: Run, served: Served) -> None:
    before = served.manifests()
    brought_up.images.pull(*_references(brought_up.images))
    assert served.manifests() == before
