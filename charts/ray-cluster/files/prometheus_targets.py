"""Keeps a copy of the file that names Ray's nodes to Prometheus, and becomes the program given.

Arguments are the copy, labels for the nodes as JSON, and the program. From 2.57 on Ray's own file
is a link into the directory of a session, which leads nowhere where a claim is mounted elsewhere.
A child of this process looks after the copy for as long as this one lives.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import json
import os
import pathlib
import sys
import time

SOURCE = pathlib.Path("/tmp/ray/prom_metrics_service_discovery.json")
PERIOD_SECONDS = 5  # as often as Ray writes it


def refresh(copy: pathlib.Path, labels: dict[str, str]) -> None:
    """Write the copy anew if it says something else, so that nobody reads half of one."""
    if not SOURCE.exists():  # Ray has not started yet
        return
    groups = json.loads(SOURCE.read_text())
    for group in groups:
        group["labels"].update(labels)
    text = json.dumps(groups)
    if copy.is_file() and not copy.is_symlink() and copy.read_text() == text:
        return
    unfinished = copy.with_name(f"{copy.name}.tmp")
    unfinished.unlink(missing_ok=True)
    unfinished.write_text(text)
    unfinished.replace(copy)


def follow(copy: pathlib.Path, labels: dict[str, str], parent: int) -> None:
    """Refresh the copy until the parent is gone; a claim that fails must not harm the head."""
    said = None
    while os.getppid() == parent:
        try:
            refresh(copy, labels)
            failure = None
        except (OSError, ValueError) as error:
            failure = f"{copy}: {error}"
        if failure and failure != said:
            print(f"Prometheus is not told about nodes: {failure}", file=sys.stderr, flush=True)
        said = failure
        time.sleep(PERIOD_SECONDS)


path, labels, *then = sys.argv[1:]
parent = os.getpid()
if os.fork() == 0:
    follow(pathlib.Path(path), json.loads(labels), parent)
    os._exit(0)
os.execvp(then[0], then)
