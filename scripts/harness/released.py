"""The version of the chart before this one, as git knows it, for tests of upgrades."""

import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from harness.paths import CHART, ROOT
from harness.process import CommandError, pipe, run

_FOLDER = CHART.relative_to(ROOT)
_BRANCH = "main"


def previous(root: Path = ROOT) -> str | None:
    """The newest commit whose Chart.yaml has another version than the files in `root`.

    None if there is none: before the second version, also if the chart came after the first commit,
    in a shallow clone, and without git.
    """
    file = root / _FOLDER / "Chart.yaml"
    here = _version(file.read_text())
    since = None  # the first commit of this version
    try:
        for commit in _git(root, "rev-list", "HEAD", "--", file.relative_to(root)).split():
            if _version(_git(root, "show", f"{commit}:{file.relative_to(root)}")) != here:
                break
            since = commit
        before = _git(root, "rev-parse", "--verify", f"{since}^" if since else "HEAD").strip()
        _git(root, "cat-file", "-e", f"{before}:{file.relative_to(root)}")
        return before
    except CommandError:
        return None


@contextmanager
def after(commit: str, profiles: Collection[str] = ()) -> Iterator[Path]:
    """A repository in which the chart of `commit` is main at origin, and the chart of today HEAD.

    Of the files in ci/ it has those in `profiles` alone, or all.
    """
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        _git(repository, "init", "--quiet", f"--initial-branch={_BRANCH}")
        pipe(
            ["git", "-C", ROOT, "archive", commit, _FOLDER, "ct.yaml"],
            ["tar", "--extract", f"--directory={repository}"],
        )
        _keep(repository, profiles)
        _commit(repository)
        _git(repository, "update-ref", f"refs/remotes/origin/{_BRANCH}", "HEAD")
        chart = repository / _FOLDER / "Chart.yaml"
        # Before 1.0.0 ct takes a new minor version for one that may break everything, and does not
        # try to upgrade to it. Ours say so if they break something.
        major, minor, patch = _version(chart.read_text()).split(".")
        shutil.rmtree(repository / _FOLDER)
        shutil.copytree(CHART, repository / _FOLDER)
        chart.write_text(
            re.sub(r"(?m)^version: .*$", f"version: {major}.{minor}.{int(patch) + 1}",
                   chart.read_text())
        )  # fmt: skip
        _keep(repository, profiles)
        _commit(repository)
        yield repository


def _keep(repository: Path, profiles: Collection[str]) -> None:
    for file in (repository / _FOLDER / "ci").glob("*.yaml"):
        if profiles and file.name not in profiles:
            file.unlink()


def _commit(repository: Path) -> None:
    _git(repository, "add", "--all", "--force")
    _git(repository, "-c", "user.name=tests", "-c", "user.email=tests@example.com",
         "commit", "--quiet", "--no-verify", "--message=A version")  # fmt: skip


def _git(repository: Path, *arguments: str | Path) -> str:
    return run(["git", "-C", repository, *arguments])


def _version(chart: str) -> str:
    return str(yaml.safe_load(chart)["version"])
