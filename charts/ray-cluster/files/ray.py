"""Runs `ray` with the arguments given, in this process, and drains its node on SIGTERM.

What comes before an argument `--` is a program, in Python, and its arguments: Ray starts when it
has ended well. Meanwhile Ray is loaded, which takes a second or two.

Nothing ends a container's first process that has not said how. Ray says so when all of it is
loaded, and hears no signal while it looks for a GCS that may be gone for good: such a pod would
stay for its whole grace period. It would wait for ever as well if SIGTERM came while it ends its
processes because one of them, such as a GCS without its storage, has ended: its handler does the
same, and needs the lock that it holds.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import faulthandler
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import Any

# Ray writes it when it has started.
STARTED = pathlib.Path("/tmp/ray/ray_current_cluster")  # noqa: S108
START_SECONDS = 10
END_SECONDS = 20  # Ray has some seven processes and gives each of them two seconds
ACCEPT_SECONDS = 30  # for a GCS to hear that this node drains
DISCONNECT_SECONDS = 10
SETTLE_SECONDS = 0.5  # a raylet reports ten times a second
# Ray's own drain, from 2.57 on, loses the last result: see `drain`.
DRAIN_SECONDS = float(os.environ.get("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0"))
os.environ["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"

set_signal = signal.signal
leaves = threading.Event()
drains = threading.Event()


def leave() -> None:
    """End this process, and with it the container."""
    os._exit(128 + signal.SIGTERM)


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
    """After SIGTERM give Ray a moment to start or, without its raylet, to end; leave if it fails.

    A raylet that drains ends when it is idle, and Ray then ends the rest of its processes.
    """
    while os.read(signals, 1)[0] != signal.SIGTERM:
        pass
    deadline = time.monotonic() + START_SECONDS
    while not STARTED.exists():
        if time.monotonic() > deadline:
            leave()
        time.sleep(0.2)
    while raylet_runs():
        time.sleep(1)
    time.sleep(END_SECONDS)
    leave()


def drain() -> None:
    """Have Ray place nothing new on this node; its raylet ends when nobody needs it any more.

    A raylet takes its store for empty until its next report, and ends with the lease of its last
    task, whose result it has just been given. So it is given an object to hold until all leases
    have ended and been reported.

    While Ray connects it lets no other thread run, so that one which waits in vain is ended here.
    """
    faulthandler.dump_traceback_later(ACCEPT_SECONDS + DISCONNECT_SECONDS, exit=True)
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_resource_state
    from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    # The name of the head may be gone already, with its Service: the connection to it is not.
    gcs = internal_kv_get_gcs_client()
    (head,) = (
        node.node_manager_address
        for node in gcs.get_all_node_info(timeout=ACCEPT_SECONDS).values()
        if node.is_head_node and node.state == node.ALIVE
    )
    port = STARTED.read_text().rpartition(":")[2]
    ray.init(
        f"{head}:{port}",
        namespace="_ray_internal_drain",  # a prefix of which the dashboard shows no jobs
        log_to_driver=False,
        logging_level="error",
    )
    node = ray.get_runtime_context().get_node_id()

    def uses() -> set[str]:
        """What is in use on this node, in Ray's words."""
        for state in get_cluster_resource_state(gcs).node_states:
            if state.node_id.hex() == node:
                return set(state.node_activity)
        return set()

    held = ray.put(None)
    while not (store := {use for use in uses() if "object_store_memory" in use}):
        time.sleep(0.1)
    # The other reason, IDLE_TERMINATION, is refused while tasks run, and meanwhile new ones arrive.
    deadline = int(1000 * (time.time() + DRAIN_SECONDS))
    gcs.drain_node(node, DRAIN_NODE_REASON_PREEMPTION, "The pod ends.", deadline)
    faulthandler.cancel_dump_traceback_later()
    drains.set()
    since = time.monotonic()
    while time.monotonic() < since + SETTLE_SECONDS:
        time.sleep(0.1)
        if uses() - store:
            since = time.monotonic()
    del held
    faulthandler.dump_traceback_later(DISCONNECT_SECONDS, exit=True)
    ray.shutdown()
    faulthandler.cancel_dump_traceback_later()


def drained(handler: Any) -> Any:
    """A handler of SIGTERM that drains this node once, and then does what Ray does."""

    def handle(*arguments: Any) -> None:
        if leaves.is_set():
            return
        leaves.set()
        if DRAIN_SECONDS and STARTED.exists():
            began = time.monotonic()
            drainer = threading.Thread(target=drain, daemon=True)
            drainer.start()
            while raylet_runs() and (drains.is_set() or drainer.is_alive()):
                if time.monotonic() > began + (
                    DRAIN_SECONDS if drains.is_set() else ACCEPT_SECONDS
                ):
                    break
                time.sleep(0.2)
        handler(*arguments)

    return handle


def set_rays_signal(number: int, handler: Any) -> Any:
    """Do what Ray asks of `signal.signal`."""
    return set_signal(
        number, drained(handler) if number == signal.SIGTERM and callable(handler) else handler
    )


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
    # A raylet has its first driver, which is `drain`, wait for workers that may not find the GCS.
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112
if "RAY_USE_TLS" in os.environ:
    # Now and then what gRPC does around a fork aborts a server of a Ray client that speaks TLS.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
set_signal(signal.SIGTERM, lambda *_: leave())
signal.signal = set_rays_signal
threading.Thread(target=leave_unless_ray_does, args=[reader], daemon=True).start()
first = start_program()

from ray.scripts.scripts import main  # noqa: E402

if first and first.wait():
    sys.exit(first.returncode)
sys.argv[0] = "ray"
main()
