"""The cluster's CPU and memory, shared among the scenarios that run side by side.

Scenarios mostly wait, so many fit on two CPUs; but a release whose pods find no room would wait
for another scenario's end until its own time is over, and one that measures CPU must not have a
neighbour that burns it. So each scenario takes its share first, and gives it back at its end.

It then waits until those before it have started: Ray's processes load for as much CPU as there
is, and pods that have to share it with too many others miss deadlines, Ray's and Kubernetes' too.

A share is a range of bytes locked in a file, one file per resource: the kernel gives it back when
the process ends, however it ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_UNITS = {"cpu": 10, "memory": 64}  # per byte of the file
_POLL_SECONDS = 0.2

_BUSY = 2  # runnable threads per processor
_LOOK_SECONDS = 5
_PATIENCE_SECONDS = 180  # there are scenarios that burn CPU on purpose


@dataclass(frozen=True)
class Share:
    """What the pods of one scenario request together: CPU in millicores, memory in MiB."""

    cpu: int = 400
    memory: int = 4 * 1024

    def fits(self, other: "Share") -> bool:
        """Whether there is room for it in `other`."""
        return self.cpu <= other.cpu and self.memory <= other.memory


@contextmanager
def taken(share: Share, total: Share, folder: Path) -> Iterator[None]:
    """Wait for `share` of `total`, in the order of asking, and hold it.

    Processes of one machine that name the same `folder` share one budget.
    """
    assert share.fits(total), f"{share} is larger than all there is, {total}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / "queue").open("w") as queue:
            # Whoever waits keeps the others behind: else small shares would starve a large one.
            fcntl.flock(queue, fcntl.LOCK_EX)
            for resource, unit in _UNITS.items():
                wanted, all_of_it = getattr(share, resource), getattr(total, resource)
                _take(folder / resource, wanted // unit, all_of_it // unit)
        yield
    finally:
        for resource in _UNITS:
            fcntl.lockf(_file(folder / resource), fcntl.LOCK_UN)


def wait_for_calm(folder: Path) -> None:
    """Wait until this machine has CPU to spare, one process that names `folder` after another."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    looks = int(_LOOK_SECONDS / _POLL_SECONDS)
    with (folder / "start").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        while time.monotonic() < deadline:
            if sum(_runnable() for _ in range(looks)) <= looks * _BUSY * (os.cpu_count() or 1):
                return


def _runnable() -> int:
    """How many threads run or wait for a processor, a moment later."""
    time.sleep(_POLL_SECONDS)
    fields = dict(line.split(maxsplit=1) for line in Path("/proc/stat").read_text().splitlines())
    return int(fields["procs_running"])


def _take(path: Path, wanted: int, total: int) -> None:
    free = list(range(total))
    while wanted:
        for byte in list(free):
            try:
                fcntl.lockf(_file(path), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError:
                continue
            free.remove(byte)
            wanted -= 1
            if not wanted:
                return
        time.sleep(_POLL_SECONDS)


@cache  # closing any descriptor of the file would give the process's locks back
def _file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
