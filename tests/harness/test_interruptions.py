"""A command that was killed, or had no room, leaves nothing that stops the next one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import command, gobuild
from harness.paths import ROOT
from harness.process import CommandError, run
from harness.scratch import scratch

BUILD = """
import pathlib, sys
from harness import gobuild
gobuild.CACHE = pathlib.Path(sys.argv[1])
print("begins", flush=True)
gobuild.build("pause")
print("ends", flush=True)
"""

CLEANS_UP = """
import time
from harness import command
def action():
    try:
        print("begins", flush=True)
        time.sleep(60)
    finally:
        print("cleans up", flush=True)
command.main(action)
"""


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system of its own on `folder`."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    run(["mount", "-t", "tmpfs", *options, "test", folder])
    try:
        yield
    finally:
        run(["umount", folder])


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6])
def test_killed_build_is_done_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUILD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as killed:  # fmt: skip
        assert killed.stdout is not None
        assert killed.stdout.readline() == "begins\n"
        time.sleep(seconds)  # at any moment: the assertion is about what comes after
        os.killpg(killed.pid, signal.SIGKILL)

    monkeypatch.setattr(gobuild, "CACHE", tmp_path)
    program = gobuild.build("pause") / "pause"

    run([program, "once"])
    assert [path.name for path in (tmp_path / "go").iterdir()] == [program.parent.name]


def test_build_that_is_killed_when_it_is_done_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gobuild, "CACHE", tmp_path)
    program = gobuild.build("pause")
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (tmp_path / "go" / f"unfinished-{gone.pid}-x").mkdir()
    assert gobuild.build("pause") == program
    assert list((tmp_path / "go").iterdir()) == [program]


def test_unfinished_work_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with scratch(tmp_path) as mine, scratch(tmp_path) as also_mine:
        assert mine.exists()
        assert also_mine.exists()
    assert list(tmp_path.iterdir()) == []


def test_unfinished_work_is_removed_without_what_is_mounted_in_it(tmp_path: Path) -> None:
    """A killed mmdebstrap leaves the host's /proc and /sys mounted in its folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    host = tmp_path / "host"
    host.mkdir()
    (host / "file").touch()
    dead = tmp_path / "unfinished-4194305-x"  # a number above Linux' largest
    (dead / "a root" / "proc").mkdir(parents=True)
    run(["mount", "--bind", host, dead / "a root" / "proc"])

    with scratch(tmp_path):
        pass

    assert not dead.exists()
    assert (host / "file").exists()


def test_full_disk_is_one_sentence_and_room_is_enough_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gobuild, "CACHE", tmp_path)
    with mounted(tmp_path, "-o", "size=512k"):  # less than the smallest program takes
        with pytest.raises(SystemExit, match="1"):
            command.main(lambda: gobuild.build("pause"))
        assert "✗ The disk is full: make room and run the command" in capsys.readouterr().out

        run(["mount", "-o", "remount,size=64m", tmp_path])
        run([gobuild.build("pause") / "pause", "once"])


def test_command_that_is_told_to_end_cleans_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLEANS_UP], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        process.terminate()
        said = process.stdout.read()
        assert process.wait() == 130
    assert said.startswith("cleans up\n")
    assert "Interrupted." in said


def test_other_failures_keep_their_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise CommandError(["program"], "exit code 7", "what it said")

    with pytest.raises(SystemExit, match="1"):
        command.main(fail)
    assert "what it said" in capsys.readouterr().out
