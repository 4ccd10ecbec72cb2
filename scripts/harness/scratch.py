"""Folders for unfinished work, which a killed process leaves behind and the next one removes."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.process import succeeds

_PREFIX = "unfinished-"


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder below `parent`, gone at the end: work is finished when it is moved out of there.

    It lies beside its destination, so that the move happens in one step.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        remove_tree(folder)


def publish(finished: Path, target: Path) -> None:
    """Move `finished` to `target` in one step, unless another process was faster."""
    try:
        finished.rename(target)
    except OSError:
        if not target.exists():
            raise


def remove_leftovers(parent: Path) -> None:
    """Remove the unfinished work of processes that are gone."""
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = re.match(rf"{_PREFIX}(\d+)-", folder.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove `folder`, but nothing that is mounted in it.

    An mmdebstrap that was killed together with us leaves the host's /proc and /sys mounted there.
    """
    unmount_below(folder)
    succeeds(["rm", "-rf", "--one-file-system", folder])


def unmount_below(folder: Path) -> None:
    """Take away what is mounted below `folder`, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(_unescaped(line.split()[4])) for line in lines]
    for point in sorted(points, reverse=True):
        if folder.resolve() in point.parents:
            succeeds(["umount", "--lazy", point])


def _unescaped(path: str) -> str:
    """A path as it is: the kernel writes a space, for one, as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
