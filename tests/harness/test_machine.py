"""A machine that lacks something: it is got, or one sentence says what to do."""

import os
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from harness import cluster, console, debian, engine, gobuild, images
from harness.errors import UserError
from harness.paths import ROOT
from harness.process import CommandError, run

NOWHERE = "http://127.0.0.1:1"  # nothing listens on this port


@pytest.fixture
def without_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH that has no Go, and no toolchain from an earlier run."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(gobuild, "STATE", tmp_path)
    gobuild.go.cache_clear()


@pytest.mark.slow  # a toolchain is downloaded
def test_a_machine_without_go_gets_one_that_builds(without_go: None, tmp_path: Path) -> None:
    assert shutil.which("go") is None
    go = gobuild.go()
    gobuild.go.cache_clear()
    assert go.is_relative_to(tmp_path)
    (tmp_path / "main.go").write_text('package main\n\nfunc main() { print("built") }\n')
    run([go, "build", "-o", tmp_path / "program", tmp_path / "main.go"], env={"GOFLAGS": ""})
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)
    assert done.stderr == "built"


def test_an_old_go_is_passed_over(
    without_go: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"Go 1\.26\.4 or newer is not on PATH"):
        gobuild.go()


def test_an_unreachable_module_proxy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", NOWHERE)
    monkeypatch.setenv("GOMODCACHE", str(tmp_path))
    with pytest.raises(UserError, match="The Go module proxy cannot be reached"):
        gobuild.source("etcd")


def test_an_unreachable_python_index_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    lock = tmp_path / "lock"
    lock.write_text(f"ray==2.60.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(UserError, match="Ray's wheels could not be downloaded"):
        images._wheels(lock)


def test_without_root_no_engine_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="only root can start one: start Docker"):
        engine.can_be_started()


def test_an_engine_elsewhere_that_does_not_answer_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(UserError, match=r"DOCKER_HOST=tcp://127\.0\.0\.1:1: start it, or unset"):
        engine.can_be_started()


def test_a_full_disk_is_said_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100e9, 97e9, 3e9))
    with pytest.raises(UserError, match=r"3\.0 GB free, and images and builds need 15 GB"):
        cluster.ensure("any", ray="2.60.0")


def test_missing_packages_are_named_to_those_who_are_not_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    packages = debian.missing({"no-such-program": "some-package", "sh": "dash"})
    assert packages == ["some-package"]
    with pytest.raises(UserError, match=r"Run `sudo apt-get install some-package`"):
        debian.install(packages)


def test_without_a_terminal_it_goes_ahead_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    console.confirm("Shall I?", yes=False)
    assert "Shall I?: yes" in capsys.readouterr().out


def test_a_failed_command_shows_itself_and_its_last_words() -> None:
    with pytest.raises(CommandError, match=r"(?s)sh -c .*exit code 3.*last words"):
        run(["sh", "-c", "echo last words >&2; exit 3"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-f", "nowhere.yaml"], "-f nowhere.yaml: there is no such file."),
        (["--kubeconfig", "nowhere"], "--kubeconfig nowhere: there is no such file."),
        (["--kubernetes", "1.12"], "Kubernetes 1.12 is not built here; choose 1.34 or 1.37."),
    ],
)
def test_wrong_arguments_end_with_one_sentence(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "up", "--images=packages", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.strip().splitlines()[-1] == f"✗ {sentence}"
    assert done.stderr == ""
