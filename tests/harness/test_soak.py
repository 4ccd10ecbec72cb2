"""What a soak's samples are taken to say."""

from pathlib import Path
from typing import Any

from harness import soak


def result(**columns: list[Any]) -> dict[str, Any]:
    """A result with samples of these columns, a minute apart."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    samples = [
        {"seconds": 60 * minute, "begun": 9, "finished": 8, "lost": 0, "workers": 1, "leaving": 0,
         "memory": 40, "head": 2**30, "gcs": 2**28, **row}
        for minute, row in enumerate(rows)
    ]  # fmt: skip
    return {"seed": "1", "minutes": 8, "commit": "0" * 40, "ray": "2.60.0", "begun": 9,
            "finished": 8, "lost": ["gone"], "samples": samples}  # fmt: skip


def test_growth_is_that_of_the_second_half() -> None:
    """What the head takes at its beginning is no growth, and neither is what nobody measured."""
    assert soak.growth(result(head=[None, 1, 5, 9, 9, 10, 10, 13, 13])) == 3


def test_workers_that_left_are_counted() -> None:
    assert soak.scale_ins(result(workers=[1, 3, 2, 2, 3, 1])) == 3


def test_page_says_what_was_lost_and_how_to_repeat_it(tmp_path: Path) -> None:
    soak.write(result(head=[1] * 8, memory=[None] * 8), tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "8 finished, 1 were lost" in page
    assert "./scripts/test soak --seed 1 --minutes 8`" in page
    assert "<svg" in (tmp_path / "soak.svg").read_text()
