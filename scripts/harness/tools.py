"""The command-line tools of the harness in .testbed/bin: built from their pins, or from PATH."""

import os
import re
import shutil
from functools import cache
from pathlib import Path

from harness import gobuild
from harness.console import together
from harness.paths import BIN
from harness.process import CommandError, run
from harness.scratch import scratch

NEWEST_KUBERNETES = "1.37"

# Name in .testbed/bin -> (Go module, program).
_TOOLS = {
    "actionlint": ("actionlint", "actionlint"),
    "cosign": ("cosign", "cosign"),
    "ct": ("chart-testing", "ct"),
    "helm": ("helm4", "helm"),
    "helm-docs": ("helm-docs", "helm-docs"),
    "helm3": ("helm3", "helm"),
    "kind": ("kind", "kind"),
    "kube-score": ("kube-score", "kube-score"),
    "kubeconform": ("kubeconform", "kubeconform"),
    "kubectl": (f"kubernetes-{NEWEST_KUBERNETES}", "kubectl"),
}

# Which of the machine's own programs will do: (at least, below, how to ask for the version).
_ACCEPTED = {
    "actionlint": ((1, 7), (2, 0), "-version"),
    "cosign": ((2, 5), (3, 0), "version"),
    "ct": ((3, 14), (4, 0), "version"),
    "helm": ((4, 0), (5, 0), "version"),
    "helm-docs": ((1, 14), (1, 15), "--version"),  # its output is compared word by word
    "helm3": ((3, 18), (4, 0), "version"),
    "kind": ((0, 33), (1, 0), "version"),  # its node images need that kind, or a newer one
    "kube-score": ((1, 20), (1, 21), "version"),  # another may have other policies
    "kubeconform": ((0, 7), (1, 0), "-v"),
    # One minor version away from the newest cluster.
    "kubectl": ((1, 36), (1, 39), "version --client"),
}
_PREFER_PATH = "TESTBED_TOOLS_FROM_PATH"


def prefer_path() -> None:
    """From now on take tools from PATH where their version will do, in child processes, too."""
    os.environ[_PREFER_PATH] = "1"


def modules(*names: str) -> list[str]:
    """The Go modules of those of the tools `names` that are not taken from PATH."""
    return [_TOOLS[name][0] for name in names if _on_path(name) is None]


def ensure(*names: str) -> None:
    """Build and link the tools `names`, showing what takes time."""
    together(*gobuild.lanes(*modules(*names)))
    for name in names:
        tool(name)


def tool(name: str) -> Path:
    """The path of the tool `name`, built now if need be."""
    module, program = _TOOLS[name]
    target = _on_path(name) or gobuild.build(module) / program
    link = BIN / name
    if not (link.is_symlink() and link.readlink() == target):
        with scratch(BIN) as temporary:  # replaced in one step
            fresh = temporary / name
            fresh.symlink_to(target)
            fresh.rename(link)
    return link


def _on_path(name: str) -> Path | None:
    """The machine's own program `name`, if it shall be used and its version will do."""
    return _find(name, os.environ["PATH"]) if os.environ.get(_PREFER_PATH) else None


@cache
def _find(name: str, path: str) -> Path | None:
    others = (folder for folder in path.split(os.pathsep) if Path(folder) != BIN)
    found = shutil.which(name, path=os.pathsep.join(others))
    if found is None:
        return None
    least, below, question = _ACCEPTED[name]
    try:
        # The first number is the program's own; what follows is about its parts.
        version = re.search(r"(\d+)\.(\d+)\.\d+", run([found, *question.split()]))
    except CommandError:
        return None
    fits = version and least <= (int(version[1]), int(version[2])) < below
    return Path(found).absolute() if fits else None
