"""Runs `ray` with the arguments given, in this process, which SIGTERM ends while Ray still starts.

What comes before an argument `--` is a program, in Python, and its arguments: Ray starts when it
has ended well. Meanwhile Ray is loaded, which takes a second or two.

Nothing ends a container's first process that has not said how. Ray says so when all of it is
loaded, and hears no signal while it looks for a GCS that may be gone for good: such a pod would
stay for its whole grace period. Once it has started, Ray drains on SIGTERM by itself. But it waits
for ever if SIGTERM comes while it ends its processes because one of them, such as a GCS without its
storage, has ended: it does the same in the signal's handler, for which it needs the lock it holds.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

# Ray writes it when it has started.
STARTED = pathlib.Path("/tmp/ray/ray_current_cluster")  # noqa: S108
START_SECONDS = 10
END_SECONDS = 20  # Ray has some seven processes and gives each of them two seconds


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
if "RAY_USE_TLS" in os.environ:
    # Now and then what gRPC does around a fork aborts a server of a Ray client that speaks TLS.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
signal.signal(signal.SIGTERM, lambda *_: leave())
threading.Thread(target=leave_unless_ray_does, args=[reader], daemon=True).start()
first = start_program()

from ray.scripts.scripts import main  # noqa: E402

if first and first.wait():
    sys.exit(first.returncode)
sys.argv[0] = "ray"
main()
