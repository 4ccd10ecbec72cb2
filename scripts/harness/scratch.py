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
    _remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        _remove(folder)


def publish(finished: Path, target: Path) -> None:
    """Move `finished` to `target` in one step, unless another process was faster."""
    try:
        finished.rename(target)
    except OSError:
        if not target.exists():
            raise


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = re.match(rf"{_PREFIX}(\d+)-", folder.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    # A program that was killed together with us may have left mounts of /proc or /dev in there.
    succeeds(["rm", "-rf", "--one-file-system", folder])
