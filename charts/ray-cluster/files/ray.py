"""Runs `ray` with the arguments given, in this process, and drains its node on SIGTERM.

The first argument is a program, in Python, that drains a node. What follows it, up to `--`, is
another with its arguments: Ray starts when it has ended well, and is loaded meanwhile.

What Ray leaves open for the first process of a container:
- SIGTERM does not end it until it has said how, which Ray does when all of it is loaded, and then
  not while it looks for a GCS that may be gone for good.
- It would wait for ever if SIGTERM came while it ends its processes because one of them, such as a
  GCS without its storage, has ended: its handler does the same, and needs the lock that it holds.
- A raylet whose agent has crashed ends as one that was told to, and `ray start` waits in peace.
- A head's raylet, for which workers wait, starts after the dashboard, which takes longest to load.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import os
import signal

signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # before all else

import pathlib
import select
import subprocess
import sys
import threading
import time
from typing import Any

# Ray writes it when it has started.
STARTED = pathlib.Path("/tmp/ray/ray_current_cluster")
START_SECONDS = 10
MISSED_SECONDS = 5  # without a raylet, until nothing but an end can be expected
END_SECONDS = 20  # Ray has some seven processes and gives each of them two seconds
ANSWER_SECONDS = 5
HEAD_SECONDS = 45  # until a new head answers
# Ray's own drain, from 2.57 on, may lose the result of the last task.
DRAIN_SECONDS = float(os.environ.get("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0"))
os.environ["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"

set_signal = signal.signal
leaves = threading.Event()
drain_program = sys.argv.pop(1)


def leave(status: int = 128 + signal.SIGTERM) -> None:
    """End this process, and with it the container."""
    os._exit(status)


def hears_sigterm(signals: int) -> bool:
    """Whether SIGTERM comes within a second."""
    while select.select([signals], [], [], 1)[0]:
        if os.read(signals, 1)[0] == signal.SIGTERM:
            return True
    return False


def raylet_runs() -> bool:
    """Whether this process has a raylet, which is not a zombie."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has ended meanwhile
            continue
        state, parent = fields.split()[:2]
        if name == "raylet" and int(parent) == os.getpid() and state != "Z":
            return True
    return False


def leave_unless_ray_does(signals: int) -> None:
    """Leave when the raylet has ended and Ray does nothing about it.

    After SIGTERM give Ray a moment to start or, without its raylet, to end; leave if it fails. A
    raylet that drains ends when it is idle, and Ray then ends the rest of its processes.
    """
    missed = 0
    while not hears_sigterm(signals):
        missed = missed + 1 if STARTED.exists() and not raylet_runs() else 0
        if missed > MISSED_SECONDS:
            print("The raylet has ended, and this node is of no use without it.", flush=True)
            leave(1)
    deadline = time.monotonic() + START_SECONDS
    while not STARTED.exists():
        if time.monotonic() > deadline:
            leave()
        time.sleep(0.2)
    while raylet_runs():
        time.sleep(1)
    time.sleep(END_SECONDS)
    leave()


def start_drain(program: str, seconds: float) -> subprocess.Popen[bytes] | None:
    """Start to drain this node for so many seconds; None if the head does not answer."""
    from ray.exceptions import RpcError
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    try:
        nodes = internal_kv_get_gcs_client().get_all_node_info(timeout=ANSWER_SECONDS).values()
    except RpcError:
        return None
    port = STARTED.read_text().rpartition(":")[2]
    for node in nodes:
        if node.is_head_node and node.state == node.ALIVE:
            address = f"{node.node_manager_address}:{port}"
            command = [sys.executable, "-c", program, address, str(seconds)]
            return subprocess.Popen(command, cwd="/")  # where no users' modules lie
    return None


def drain(program: str) -> None:
    """Drain this node, for as long as it may take and its raylet runs.

    The head may go as well, with the machine that both are on, and a new one come; or none.
    """
    began = answered = time.monotonic()
    drainer = None
    while raylet_runs() and (now := time.monotonic()) < began + DRAIN_SECONDS:
        if not drainer or drainer.poll():
            drainer = start_drain(program, began + DRAIN_SECONDS - now)
            if drainer:
                answered = now
            elif now > answered + HEAD_SECONDS:
                return
        time.sleep(0.2)


def drained(handler: Any) -> Any:
    """A handler of SIGTERM that drains this node once, and then does what Ray does."""

    def handle(*arguments: Any) -> None:
        if leaves.is_set():
            return
        leaves.set()
        if DRAIN_SECONDS and STARTED.exists():
            drain(drain_program)
        handler(*arguments)

    return handle


def set_rays_signal(number: int, handler: Any) -> Any:
    """Do what Ray asks of `signal.signal`."""
    return set_signal(
        number, drained(handler) if number == signal.SIGTERM and callable(handler) else handler
    )


def start_dashboard_beside_raylet() -> None:
    """Start a head's raylet while its dashboard starts, and wait for that then."""
    try:
        from ray._private.node import Node

        start_dashboard, start_raylet = Node.start_api_server, Node.start_ray_processes
    except (ImportError, AttributeError):  # an unknown Ray starts one after the other
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    dashboards = []

    def begin(node: Any, **arguments: Any) -> None:
        dashboards.append(pool.submit(start_dashboard, node, **arguments))

    def start_ray_processes(node: Any) -> None:
        start_raylet(node)
        for dashboard in dashboards:
            dashboard.result()

    Node.start_api_server, Node.start_ray_processes = begin, start_ray_processes


def start_program() -> subprocess.Popen[bytes] | None:
    """Start the program that comes before `--`, and forget its arguments."""
    if "--" not in sys.argv:
        return None
    end = sys.argv.index("--")
    program = [sys.executable, "-c", *sys.argv[1:end]]
    del sys.argv[1 : end + 1]
    return subprocess.Popen(program)


sys.path[:] = filter(None, sys.path)  # not the working directory, where users' modules may lie
STARTED.unlink(missing_ok=True)
if DRAIN_SECONDS:
    # A raylet has its first driver, which `drain_program` may be, wait for workers that start; and
    # they may not find the GCS any more.
    os.environ["RAY_prestart_worker_first_driver"] = "0"
if "--head" in sys.argv:
    # A server of a Ray client loads Ray, which takes more than 30 s where CPU is short, and what
    # gRPC from 1.81 on does around a fork ends one now and then.
    os.environ.setdefault("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "120")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
signal.signal = set_rays_signal
threading.Thread(target=leave_unless_ray_does, args=[reader], daemon=True).start()
first = start_program()

from ray.scripts.scripts import main

if first and first.wait():
    sys.exit(first.returncode)
sys.argv[0] = "ray"
start_dashboard_beside_raylet()
main()
