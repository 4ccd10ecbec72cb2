"""Waits until no other head answers and nobody locks the head's storage.

Two GCS that write to one storage destroy it, and a Deployment replaces a deleted pod while that is
still on its way out. A head or a lock that is still there after `seconds` is an error: it is not
for this one to decide that the other is dead.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import argparse
import fcntl
import pathlib
import signal
import socket
import sys
import time

_SEEN_WITHIN_SECONDS = 5

parser = argparse.ArgumentParser()
parser.add_argument("host", help="the name that all heads have in DNS")
parser.add_argument("port", type=int, help="the port of their GCS")
parser.add_argument("seconds", type=float, help="how long to wait")
parser.add_argument("--rocksdb", type=pathlib.Path, help="where the heads keep their databases")
parser.add_argument("--seen", help="an address that DNS gives as soon as its answer is of now")
asked = parser.parse_args()


def addresses() -> set[str] | None:
    """What DNS says, or None if it does not answer."""
    try:
        found = socket.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return None if error.errno == socket.EAI_AGAIN else set()
    return {str(address[0]) for *_, address in found}


def answers(address: str) -> bool:
    """Whether a GCS listens there. An address without a pod refuses, or leads nowhere."""
    try:
        socket.create_connection((address, asked.port), timeout=1).close()
    except OSError:
        return False
    return True


def is_locked(path: pathlib.Path) -> bool:
    """Whether a process holds the lock, in whichever container of this machine."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def obstacle() -> str | None:
    """Why the storage is not free, if it is not."""
    found = addresses()
    if found is None:
        return f"DNS does not answer for {asked.host}"
    if alive := sorted(filter(answers, found)):
        return f"another head answers at {', '.join(alive)}, port {asked.port}"
    if asked.rocksdb and (locked := [*filter(is_locked, asked.rocksdb.rglob("LOCK"))]):
        return f"another head has locked {locked[0]}"
    if asked.seen and asked.seen not in found and waited() < _SEEN_WITHIN_SECONDS:
        return f"DNS does not know {asked.seen} yet"
    return None


def waited() -> float:
    """Seconds since the start."""
    return time.monotonic() - start


# Nothing ends a container's first process that has not said so.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
start = time.monotonic()
said = None
while reason := obstacle():
    if waited() > asked.seconds:
        sys.exit(f"Gave up after {waited():.0f} s: {reason}.")
    if reason != said:
        print(f"Waiting: {reason}.", flush=True)
        said = reason
    time.sleep(0.2)
