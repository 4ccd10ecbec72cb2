"""Removes all sessions of Ray but the newest; arguments are their directory and number."""

import pathlib
import shutil
import sys

directory, kept = pathlib.Path(sys.argv[1]), int(sys.argv[2])
sessions = [path for path in directory.glob("session_2*") if not path.is_symlink()]
sessions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
for session in sessions[kept:]:
    print(f"Removing {session}", flush=True)
    shutil.rmtree(session, ignore_errors=True)
