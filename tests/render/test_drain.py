"""How nodes leave: hooks, drain times, and the grace periods that have room for them."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.helm import template
from harness.paths import CHART

from .objects import DRAIN_TIMEOUT, Object, container, env, head, pod, worker


def pre_stop(deployment: Object) -> Any:
    """The preStop hook of a Deployment's Ray container, or None."""
    return container(deployment).get("lifecycle", {}).get("preStop")


def test_drain_time_reaches_ray_and_fits_into_the_grace_period() -> None:
    deployment = worker(template({"worker": {"drain": {"timeoutSeconds": 600}}}))
    assert env(deployment)[DRAIN_TIMEOUT] == "600"
    assert pod(deployment)["terminationGracePeriodSeconds"] == 660


def test_users_grace_period_wins() -> None:
    values = {"terminationGracePeriodSeconds": 1000000}
    objects = template({"worker": values, "head": {"terminationGracePeriodSeconds": 5}})
    assert pod(worker(objects))["terminationGracePeriodSeconds"] == 1000000
    assert pod(head(objects))["terminationGracePeriodSeconds"] == 5


def test_head_has_the_time_of_its_slowest_group() -> None:
    groups = {"quick": {"drain": {"timeoutSeconds": 0}}, "slow": {"drain": {"timeoutSeconds": 900}}}
    objects = template({"workerGroups": groups})
    assert pod(worker(objects, "slow"))["terminationGracePeriodSeconds"] == 960
    assert pod(head(objects))["terminationGracePeriodSeconds"] == 970


def test_head_without_workers_has_time_to_stop() -> None:
    objects = template({"workerGroups": {"default": None}, "head": {"numCpus": 1}})
    assert pod(head(objects))["terminationGracePeriodSeconds"] == 60


def test_head_looks_for_its_service_before_it_stops() -> None:
    objects = template(
        {"clusterDomain": "example.com", "ports": {"dashboard": 1234}}, namespace="team"
    )
    script = (CHART / "files/wait_for_workers.py").read_text()
    service = "ray-ray-cluster-head.team.svc.example.com"
    command = ["python", "-c", script, "example.com", service, "1234", "0"]
    assert pre_stop(head(objects)) == {"exec": {"command": command}}


def test_worker_is_asked_to_end_when_it_can_hear(defaults: list[Object]) -> None:
    assert pre_stop(worker(defaults)) == {"sleep": {"seconds": 1}}


@pytest.mark.parametrize("path", ["head", "worker"])
def test_users_hook_replaces_the_charts(path: str) -> None:
    mine = {"sleep": {"seconds": 2}}
    objects = template({path: {"lifecycle": {"preStop": mine}}})
    assert pre_stop(head(objects) if path == "head" else worker(objects)) == mine


def start_ray(folder: Path, program: str, *before: str, drain: str = "") -> subprocess.Popen[str]:
    """Run the lines that start Ray, with a Ray that is this program; `before` comes before it.

    Its node has a minute to drain, by the program `drain`, or none.
    """
    scripts = folder / "ray" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "scripts.py").write_text(program)
    script = (CHART / "files/ray.py").read_text()
    # Neither a real Ray of this machine nor anybody's patience is touched.
    script = script.replace("/tmp/ray/", f"{folder}/")  # noqa: S108
    script = re.sub(r"(?m)^([A-Z]+_SECONDS) = \d+", r"\1 = 1", script)
    return subprocess.Popen(
        [sys.executable, "-c", script, drain, *before, "start", "--block"],
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            DRAIN_TIMEOUT: "60" if drain else "0",
        },
        stdout=subprocess.PIPE,
        text=True,
    )


STARTS = """
import sys
print("loaded", flush=True)
def main(): print(*sys.argv, flush=True)
"""
LOADING = """
import sys, time
print("loading", flush=True)
time.sleep(60)
def main(): pass
"""
# It hears no signal, as in a call of Ray's own that waits for a GCS.
LOOKING_FOR_THE_GCS = """
import signal, sys, time
def main():
    signal.signal(signal.SIGTERM, lambda *_: time.sleep(60))
    print(*sys.argv, flush=True)
    time.sleep(60)
"""


def test_node_loads_ray_while_it_waits_for_something_else(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with start_ray(tmp_path, STARTS, "import sys; open(sys.argv[1])", str(gate), "--") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
        gate.write_text("")  # what it waits for
        assert process.stdout.readline() == "ray start --block\n"


def test_node_does_not_start_where_it_waited_in_vain(tmp_path: Path) -> None:
    with start_ray(tmp_path, STARTS, "raise SystemExit(3)", "--") as process:
        assert process.stdout is not None
        assert process.stdout.read() == "loaded\n"
        assert process.wait(timeout=30) == 3


@pytest.mark.parametrize(
    ("program", "line"),
    [(LOADING, "loading"), (LOOKING_FOR_THE_GCS, "ray start --block")],
    ids=["loading", "looking for the GCS"],
)
def test_node_that_starts_ends_on_sigterm(tmp_path: Path, program: str, line: str) -> None:
    """The first process of a container would not even notice the signal without a handler."""
    with start_ray(tmp_path, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{line}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM


def test_node_hears_sigterm_before_it_has_loaded_anything(tmp_path: Path) -> None:
    (tmp_path / "pathlib.py").write_text("import time; print('loads', flush=True); time.sleep(60)")
    with start_ray(tmp_path, STARTS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loads\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM


def drains(folder: Path) -> str:
    """A Ray that has a raylet and ends with status 1 when that has ended, and never by itself."""
    (folder / "raylet").symlink_to("/bin/sleep")
    return f"""
import pathlib, signal, subprocess, sys, time
def main():
    raylet = subprocess.Popen(["{folder}/raylet", "60"])
    def drain(*_):
        print("drains", flush=True)
        raylet.wait()
        if "--hang" in sys.argv: time.sleep(60)
        raise SystemExit(1)
    signal.signal(signal.SIGTERM, drain)
    pathlib.Path("{folder}/ray_current_cluster").write_text("head:6380")
    print(raylet.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [([], 1), (["--hang"], 128 + signal.SIGTERM)],
    ids=["Ray ends", "Ray waits for itself"],
)
def test_node_that_has_started_is_left_to_ray_until_its_raylet_has_ended(
    tmp_path: Path, arguments: list[str], status: int
) -> None:
    with start_ray(tmp_path, drains(tmp_path), *arguments) as process:
        assert process.stdout is not None
        raylet = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "drains\n"
        with pytest.raises(subprocess.TimeoutExpired):  # longer than the script's patience
            process.wait(timeout=4)
        os.kill(raylet, signal.SIGKILL)
        assert process.wait(timeout=30) == status


def test_node_whose_raylet_gives_up_by_itself_ends(tmp_path: Path) -> None:
    """`ray start` would wait on."""
    with start_ray(tmp_path, drains(tmp_path)) as process:
        assert process.stdout is not None
        raylet = int(process.stdout.readline())
        with pytest.raises(subprocess.TimeoutExpired):  # longer than the script's patience
            process.wait(timeout=4)
        os.kill(raylet, signal.SIGKILL)
        assert "raylet has ended" in process.stdout.readline()
        assert process.wait(timeout=30) == 1


# Its dashboard needs the raylet, as it would not if one came after the other.
NODE = """
import threading
raylet = threading.Event()
class Node:
    def start_api_server(self, *, include_dashboard):
        assert raylet.wait(20), "no raylet"
        self.url = "here"
        if include_dashboard == "broken": raise ValueError("no dashboard")
    def start_ray_processes(self):
        raylet.set()
"""
STARTS_HEAD = """
import sys
from ray._private.node import Node
def main():
    node = Node()
    node.start_api_server(include_dashboard=sys.argv[1])
    node.start_ray_processes()
    print(node.url, flush=True)
"""


@pytest.mark.parametrize(("arguments", "printed"), [([], "here\n"), (["broken"], "")])
def test_raylet_of_a_head_does_not_wait_for_its_dashboard_but_ray_does(
    tmp_path: Path, arguments: list[str], printed: str
) -> None:
    (tmp_path / "ray/_private").mkdir(parents=True)
    (tmp_path / "ray/_private/node.py").write_text(NODE)
    with start_ray(tmp_path, STARTS_HEAD, *arguments) as process:
        assert process.stdout is not None
        assert process.stdout.read() == printed
        assert process.wait(timeout=30) == (0 if printed else 1)


PRINTS_ENVIRONMENT = """
import json, os
def main(): print(json.dumps(dict(os.environ)), flush=True)
"""
FOR_CLIENTS = {
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120",
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}


@pytest.mark.parametrize("mine", [{}, dict.fromkeys(FOR_CLIENTS, "300")])
@pytest.mark.parametrize("is_head", [True, False])
def test_head_sets_what_servers_of_ray_clients_need_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: dict[str, str], is_head: bool
) -> None:
    for name in FOR_CLIENTS:
        monkeypatch.delenv(name, raising=False)
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    with start_ray(tmp_path, PRINTS_ENVIRONMENT, *(["--head"] if is_head else [])) as process:
        assert process.stdout is not None
        environment = json.loads(process.stdout.read())
    seen = {name: environment[name] for name in FOR_CLIENTS if name in environment}
    assert seen == (FOR_CLIENTS if is_head else {}) | mine


# A GCS that does not answer for so many times.
GCS = """
import types
from ray.exceptions import RpcError
failures = [RpcError()] * FAILURES
def get_all_node_info(timeout):
    if failures: raise failures.pop()
    node = types.SimpleNamespace(ALIVE=0, state=0, node_manager_address="10.0.0.1")
    return {0: types.SimpleNamespace(**vars(node) | {"is_head_node": False}),
            1: types.SimpleNamespace(**vars(node) | {"is_head_node": True})}
def internal_kv_get_gcs_client():
    return types.SimpleNamespace(get_all_node_info=get_all_node_info)
"""


def drains_by_gcs(folder: Path, failures: int) -> str:
    """The Ray of `drains`, with a GCS that does not answer for so many times."""
    (folder / "ray/experimental").mkdir(parents=True)
    (folder / "ray/experimental/internal_kv.py").write_text(GCS.replace("FAILURES", str(failures)))
    (folder / "ray/exceptions.py").write_text("class RpcError(Exception): pass")
    return drains(folder)


def test_node_drains_by_its_program_until_that_succeeds(tmp_path: Path) -> None:
    program = f"""
import pathlib, sys
print(sys.argv[1], flush=True)
try: pathlib.Path("{tmp_path}/once").touch(exist_ok=False)
except FileExistsError: pass
else: sys.exit("the head has gone meanwhile")
"""
    with start_ray(tmp_path, drains_by_gcs(tmp_path, 1), drain=program) as process:
        assert process.stdout is not None
        raylet = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert [process.stdout.readline() for _ in range(2)] == ["10.0.0.1:6380\n"] * 2
        os.kill(raylet, signal.SIGKILL)
        assert process.stdout.readline() == "drains\n"  # Ray itself, when its raylet has ended
        assert process.wait(timeout=30) == 1


def test_node_without_a_head_is_left_to_ray_after_a_while(tmp_path: Path) -> None:
    with start_ray(tmp_path, drains_by_gcs(tmp_path, 1000), drain="raise SystemExit") as process:
        assert process.stdout is not None
        raylet = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        heard, _, _ = select.select([process.stdout], [], [], 20)
        os.kill(raylet, signal.SIGKILL)  # or nobody would end it
        assert heard, "the whole drain time passes, with nobody to drain for"
        assert process.stdout.readline() == "drains\n"  # Ray itself, whose raylet still ran
        assert process.wait(timeout=30) == 1


def test_users_modules_in_the_working_directory_are_not_taken_for_rays(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("print('mine')")
    script = (CHART / "files/ray.py").read_text().replace("/tmp/ray/", f"{tmp_path}/")  # noqa: S108
    done = subprocess.run(
        [sys.executable, "-c", script, ""],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    assert "No module named 'ray'" in done.stderr
