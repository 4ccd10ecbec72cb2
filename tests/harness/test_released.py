"""Which commit has the version before this one."""

from pathlib import Path

import pytest

from harness import released
from harness.paths import CHART, ROOT
from harness.process import run

FILE = CHART.relative_to(ROOT) / "Chart.yaml"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository."""
    run(["git", "init", "--quiet", tmp_path])
    return tmp_path


def commit(repository: Path, version: str, note: str = "") -> str:
    """Commit a chart of this version; the commit."""
    write(repository, version, note)
    run(["git", "-C", repository, "add", "."])
    run(["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@example.com",
         "commit", "--quiet", "--message=a"])  # fmt: skip
    return run(["git", "-C", repository, "rev-parse", "HEAD"]).strip()


def write(repository: Path, version: str, note: str = "") -> None:
    """Write a chart of this version."""
    (repository / FILE).parent.mkdir(parents=True, exist_ok=True)
    (repository / FILE).write_text(f"version: {version}\nnote: {note}\n")


def test_it_is_the_newest_commit_of_another_version(repository: Path) -> None:
    commit(repository, "0.1.0")
    last = commit(repository, "0.1.0", "last")
    commit(repository, "0.2.0")
    commit(repository, "0.2.0", "further")
    assert released.previous(repository) == last


def test_it_is_head_while_a_new_version_is_not_committed(repository: Path) -> None:
    last = commit(repository, "0.1.0")
    write(repository, "0.2.0")
    assert released.previous(repository) == last


def test_first_version_has_none_before_it(repository: Path) -> None:
    commit(repository, "0.1.0")
    commit(repository, "0.1.0", "further")
    assert released.previous(repository) is None


def test_commit_without_the_chart_is_no_version(repository: Path) -> None:
    run(["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@example.com",
         "commit", "--quiet", "--allow-empty", "--message=a"])  # fmt: skip
    commit(repository, "0.1.0")
    assert released.previous(repository) is None


def test_there_is_none_where_the_history_is_cut(repository: Path, tmp_path: Path) -> None:
    commit(repository, "0.1.0")
    commit(repository, "0.2.0")
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", "--depth=1", f"file://{repository}", clone])
    assert released.previous(clone) is None


def test_there_is_none_without_git(tmp_path: Path) -> None:
    write(tmp_path, "0.1.0")
    assert released.previous(tmp_path) is None


def test_repository_for_an_upgrade_has_the_old_chart_at_origin_and_todays_as_its_head() -> None:
    with released.after("HEAD", ["02-groups-values.yaml"]) as repository:
        folder = FILE.parent
        assert [file.name for file in (repository / folder / "ci").iterdir()] == [
            "02-groups-values.yaml"
        ]
        changed = run(["git", "-C", repository, "diff", "origin/main", "HEAD", "--", FILE])
        assert "\n+version: " in changed
