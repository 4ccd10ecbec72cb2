"""How long `helm template` takes, over the profiles and over numbers of worker groups."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.console import out
from harness.helm import PROFILES
from harness.paths import CHART
from harness.process import run
from harness.sides import Samples
from harness.tools import ensure, tool

# Seconds, for the medians.
GOALS = {"defaults": 0.3, "50 groups": 1.5}

_GROUPS = (1, 10, 50)


def measure(rounds: int) -> tuple[str, Samples]:
    """The version of Helm, and the seconds of each case."""
    ensure("helm")
    helm = tool("helm")
    with tempfile.TemporaryDirectory() as temporary:
        cases = dict(_cases(Path(temporary)))
        samples: Samples = {case: [] for case in cases}
        # Alternating, so that whatever else the machine does meets all cases alike. The first
        # round only fills the file cache.
        for number in range(rounds + 1):
            for case, values in cases.items():
                start = time.perf_counter()
                run([helm, "template", "ray", CHART, *values])
                if number:
                    samples[case].append(round(time.perf_counter() - start, 4))
            out.print(f"round {number} of {rounds}", highlight=False)
    return run([helm, "version", "--short"]).strip().partition("+")[0], samples


def _cases(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and Helm's arguments of each case."""
    yield "defaults", []
    for profile in PROFILES:
        yield profile.stem.removesuffix("-values"), [f"--values={profile}"]
    for count in _GROUPS:
        file = folder / f"{count}.json"
        names = ["default", *(f"group-{number}" for number in range(2, count + 1))]
        file.write_text(json.dumps({"workerGroups": {name: {} for name in names}}))
        yield groups(count), [f"--values={file}"]


def groups(count: int) -> str:
    """The case with this number of worker groups."""
    return f"{count} group" if count == 1 else f"{count} groups"


def remark(result: dict[str, Any]) -> str:
    """How the time grows with the number of groups."""
    samples = result["ours"]["samples"]
    one, ten, fifty = (statistics.median(samples[groups(count)]) for count in _GROUPS)
    return (
        f"50 groups take {fifty / one:.1f} times as long as one. A further group costs "
        f"{(ten - one) / 9 * 1000:.1f} ms between 1 and 10 groups, and "
        f"{(fifty - ten) / 40 * 1000:.1f} ms between 10 and 50: growth is linear where the two "
        f"are the same. The floor is Helm's own: it starts, reads the chart and checks the values "
        f"against their schema in about {statistics.median(samples['defaults']):.2f} s. A user can "
        "put tenants into releases of their own, which are rendered one by one, rather than more "
        "groups into one."
    )
