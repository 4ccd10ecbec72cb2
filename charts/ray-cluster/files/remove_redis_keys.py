"""Removes what a cluster has left in its Redis, by the function that Ray has for this.

Never fails, for it is the last thing of an uninstall: what cannot be removed is left with a warning
and the command to do it by hand. The password is in RAY_REDIS_PASSWORD, and certificates are where
Ray itself looks for them.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import argparse
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

_REACH_SECONDS = 10
_REMOVE_SECONDS = 60

parser = argparse.ArgumentParser()
parser.add_argument("address", help="[rediss://]host:port")
parser.add_argument("username")
parser.add_argument("namespace", help="what the keys begin with, after RAY and before @")
parser.add_argument("by_hand", help="the command that does the same")
parser.add_argument("wait", nargs="+", help="the program that waits for the head, its arguments")
asked = parser.parse_args()
scheme, _, endpoint = asked.address.rpartition("://")
host, _, port = endpoint.rpartition(":")
log = os.fdopen(os.memfd_create("log"), "w+")


def head_is_gone() -> bool:
    """Wait for the end of the head, which would write its keys again."""
    return subprocess.run([sys.executable, "-c", *asked.wait]).returncode == 0


def unreachable() -> str | None:
    """Why the Redis cannot be reached, after some patience; Ray would try for a minute."""
    deadline = time.monotonic() + _REACH_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=3).close()
        except OSError as error:
            if time.monotonic() > deadline:
                return str(error)
            time.sleep(0.5)
        else:
            return None


def remove() -> None:
    """Remove the keys; ends this process if anything is wrong."""
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    from ray._private.gcs_utils import cleanup_redis_storage

    # The first versions of Ray that have this function know no users.
    user = {"username": asked.username} if asked.username else {}
    password = os.environ.get("RAY_REDIS_PASSWORD", "")
    cleanup_redis_storage(host, int(port), password, scheme == "rediss", asked.namespace, **user)


def refusal() -> str | None:
    """Why the keys could not be removed. Ray aborts the process in which it fails, so not this."""
    process = multiprocessing.get_context("fork").Process(target=remove)
    process.start()
    process.join(_REMOVE_SECONDS)
    process.kill()
    if process.exitcode == 0:
        return None
    log.seek(0)
    # Among pages of addresses Ray has one line that says it.
    said = [line for line in log.read().splitlines() if "RedisError" in line]
    return said[0].rpartition("RedisError: ")[2] if said else "no answer"


def failure() -> str | None:
    """Why the keys are still there, if they are."""
    if not head_is_gone():
        return "the head is still there, and would write them again"
    if reason := unreachable():
        return f"{endpoint} cannot be reached ({reason})"
    if reason := refusal():
        return f"{endpoint} did not let them be removed ({reason})"
    return None


# Nothing ends a container's first process that has not said so.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
if reason := failure():
    # On one line, because Helm makes one of several, and a line break would be in the command.
    print(
        f"WARNING: the keys RAY{asked.namespace}@* stay: {reason}. To remove them: {asked.by_hand}",
        flush=True,
    )
else:
    print(f"Removed the keys RAY{asked.namespace}@* from {endpoint}.", flush=True)
