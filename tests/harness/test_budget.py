"""Scenarios share the node's CPU and memory, and give them back however they end."""

import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.paths import ROOT
from tests.e2e import budget
from tests.e2e.budget import Share, taken

TOTAL = Share(cpu=1000, memory=8 * 1024)

HOLD = """
import pathlib, sys, time
from tests.e2e.budget import Share, taken
share, total = Share(int(sys.argv[2]), int(sys.argv[3])), Share(1000, 8 * 1024)
with taken(share, total, pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, share: Share) -> "subprocess.Popen[str]":
    """Another process that has asked for `share`; it prints a line once it holds it."""
    command = [sys.executable, "-c", HOLD, str(folder), str(share.cpu), str(share.memory)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_until_held(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"


def test_shares_are_held_side_by_side_while_they_fit(tmp_path: Path) -> None:
    half = Share(TOTAL.cpu // 2, TOTAL.memory // 2)
    with holder(tmp_path, half) as other:
        wait_until_held(other)
        with taken(half, TOTAL, tmp_path):
            assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("share", [Share(10, TOTAL.memory), Share(TOTAL.cpu, 64)])
def test_a_share_that_does_not_fit_waits_and_a_killed_process_gives_back(
    tmp_path: Path, share: Share
) -> None:
    with holder(tmp_path, share) as other:
        wait_until_held(other)
        with holder(tmp_path, TOTAL) as waiting:
            assert waiting.stdout is not None
            assert select.select([waiting.stdout], [], [], 2)[0] == [], "two held the same"
            other.send_signal(signal.SIGKILL)
            wait_until_held(waiting)
            waiting.kill()


def test_more_than_there_is_is_refused_and_holds_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="larger than all there is"),
        taken(Share(memory=TOTAL.memory + 64), TOTAL, tmp_path),
    ):
        pass
    with holder(tmp_path, TOTAL) as other:
        wait_until_held(other)
        other.kill()


@pytest.mark.parametrize(("patience", "looked_at"), [(60, 3), (0, 0)], ids=["calm", "too long"])
def test_a_scenario_begins_when_the_machine_is_calm_or_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float, looked_at: int
) -> None:
    busy, calm = 1000, 0
    seen = iter([busy, busy, calm, busy])
    monkeypatch.setattr(budget, "_LOOK_SECONDS", budget._POLL_SECONDS)  # one look at a time
    monkeypatch.setattr(budget, "_PATIENCE_SECONDS", patience)
    monkeypatch.setattr(budget, "_runnable", lambda: next(seen))
    budget.wait_for_calm(tmp_path)
    assert len(list(seen)) == 4 - looked_at
