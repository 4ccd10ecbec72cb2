"""Runs `ray` with the arguments given, in this process, which SIGTERM ends while Ray still starts.

What comes before an argument `--` is a program, in Python, and its arguments: Ray starts when it
has ended well. Meanwhile Ray is loaded, which takes a second or two.

Nothing ends a container's first process that has not said how. Ray says so when all of it is
loaded, and hears no signal while it looks for a GCS that may be gone for good: such a pod would
stay for its whole grace period. Once it has started, Ray drains on SIGTERM by itself.
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
PATIENCE_SECONDS = 10


def leave() -> None:
    """End this process, and with it the container."""
    os._exit(128 + signal.SIGTERM)


def leave_unless_started(signals: int) -> None:
    """After SIGTERM give Ray a moment to start or to end, and leave if it does neither."""
    while os.read(signals, 1)[0] != signal.SIGTERM:
        pass
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not STARTED.exists():
        if time.monotonic() > deadline:
            leave()
        time.sleep(0.2)


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
threading.Thread(target=leave_unless_started, args=[reader], daemon=True).start()
first = start_program()

from ray.scripts.scripts import main  # noqa: E402

if first and first.wait():
    sys.exit(first.returncode)
sys.argv[0] = "ray"
main()
