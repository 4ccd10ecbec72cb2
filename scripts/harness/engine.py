"""The Docker engine: the one that runs, or one that is started here."""

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import gobuild
from harness.console import step
from harness.errors import UserError
from harness.paths import LOGS, STATE
from harness.process import CommandError, run, succeeds
from harness.scratch import publish, scratch

# The engine serves every checkout on this machine and outlives each, so what it starts containers
# with must not lie in one of them.
_RUNTIMES = Path("/usr/local/libexec/ray-testbed")
_PROBE_IMAGE = "ray-testbed/probe"
_STARTED = STATE / "engine.pid"
_START_TIMEOUT_SECONDS = 60

# What starting an engine takes: program -> Debian package.
PROGRAMS = {
    "containerd": "containerd",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "iptables": "iptables",
    "runc": "runc",
}


def can_be_started() -> None:
    """Raise UserError with the remedy if no engine answers and none can be started here."""
    if host := os.environ.get("DOCKER_HOST"):
        raise UserError(
            f"No Docker engine answers at DOCKER_HOST={host}: start it, or unset DOCKER_HOST."
        )
    if os.geteuid() != 0:
        raise UserError(
            "No Docker engine answers, and only root can start one: start Docker (and be in its "
            "group), or run this as root."
        )


def ensure(probe: Callable[[], list[str]]) -> None:
    """Make sure that an engine answers and can start privileged containers, as kind needs.

    Uses the engine that runs; starts one where none does. `probe` makes the image that is tried and
    returns the arguments of `docker run` for it. Raises UserError with the remedy where neither is
    possible.
    """
    if not answers():
        can_be_started()
        with step("Start a Docker engine"):
            _launch()
    arguments = probe()
    complaint = _privileged_container_fails(arguments)
    if complaint is None:
        return
    if "unable to apply caps" not in complaint or not _is_ours():
        raise UserError(
            "The Docker engine cannot start privileged containers, which kind needs: "
            f"{complaint.strip().splitlines()[-1]}. Mend or stop that engine (as root, this script "
            "then starts one that can) and run the command again."
        )
    _restart_with_runtime()
    complaint = _privileged_container_fails(arguments)
    if complaint:
        raise UserError(
            f"The Docker engine cannot start privileged containers on this machine: {complaint}"
        )


def answers() -> bool:
    """Whether a Docker engine answers to the `docker` command."""
    return succeeds(["docker", "info"], timeout=30)


def _launch() -> None:
    _remove_stale_pid_files()
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "dockerd.log"
    command = ["dockerd"]
    if _runtime().exists():
        command += [f"--add-runtime=ray-testbed={_runtime()}", "--default-runtime=ray-testbed"]
    with log.open("w") as output:
        # A session of its own: the engine goes on when this script ends or is interrupted.
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _STARTED.write_text(f"{daemon.pid} {_start_time(daemon.pid)}\n")
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not answers():
        if daemon.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise UserError(f"The Docker engine does not start; {log} ends with:\n{tail}")
        time.sleep(0.3)


def _remove_stale_pid_files() -> None:
    """Remove pid files whose process ended or whose number now belongs to another program.

    dockerd refuses to start while the number in such a file is alive, whoever it is.
    """
    for file, program in (
        (Path("/var/run/docker.pid"), "dockerd"),
        (Path("/var/run/docker/containerd/containerd.pid"), "containerd"),
    ):
        try:
            comm = Path(f"/proc/{int(file.read_text())}/comm").read_text().strip()
        except (OSError, ValueError):
            comm = ""
        if comm != program:
            file.unlink(missing_ok=True)


def build_probe() -> list[str]:
    """A probe for `ensure` where no image can be pulled."""
    image = f"{_PROBE_IMAGE}:{gobuild.key('pause')}"
    if not succeeds(["docker", "image", "inspect", image]):
        import_programs(image, {"/probe": gobuild.build("pause") / "pause"})
    return [image, "/probe", "once"]


def _privileged_container_fails(arguments: list[str]) -> str | None:
    """None if a privileged container starts, else the engine's complaint."""
    try:
        run(["docker", "run", "--rm", "--privileged", "--network=none", *arguments])
    except CommandError as error:
        return error.output
    return None


def import_programs(image: str, programs: dict[str, Path], *changes: str) -> None:
    """Make the image `image` of nothing but `programs` (path in the image -> file)."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        with tarfile.open(archive.name, "w") as tar:
            for path, file in programs.items():
                tar.add(file, path.lstrip("/"))
        options = [f"--change={change}" for change in changes]
        run(["docker", "import", *options, archive.name, image])


def _restart_with_runtime() -> None:
    with step("Restart the engine with a runtime that asks for no missing capability"):
        with scratch(_RUNTIMES) as folder:
            shutil.copy2(gobuild.build("oci-runtime") / "oci-runtime", folder)
            publish(folder / "oci-runtime", _runtime())
        stop()
        _launch()


def _runtime() -> Path:
    """Our runtime, once it was needed: whole, and of this version."""
    return _RUNTIMES / f"oci-runtime-{gobuild.key('oci-runtime')}"


def _start_time(pid: int) -> str:
    """When process `pid` started, in clock ticks since boot: with the pid, it names one process.

    Raises OSError if there is no such process, or it only waits to be reaped.
    """
    # The name in field 2 may hold spaces; the fields after its closing parenthesis do not.
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state == "Z":
        raise ProcessLookupError(pid)
    return fields[18]


def _is_ours() -> bool:
    """Whether the running engine was started from this checkout."""
    try:
        pid, started = _STARTED.read_text().split()
        return _start_time(int(pid)) == started
    except (OSError, ValueError):
        return False


def stop() -> None:
    """Stop the engine if it was started from this checkout; another is left alone."""
    if not _is_ours():
        return
    os.kill(int(_STARTED.read_text().split()[0]), signal.SIGTERM)
    while _is_ours():
        time.sleep(0.2)
    _STARTED.unlink()
