"""The command-line tools of the harness: built from their pins, linked into .testbed/bin."""

from pathlib import Path

from harness import gobuild
from harness.console import together
from harness.paths import BIN
from harness.scratch import scratch

NEWEST_KUBERNETES = "1.37"

# Name in .testbed/bin -> (Go module, program).
_TOOLS = {
    "ct": ("chart-testing", "ct"),
    "helm": ("helm4", "helm"),
    "helm-docs": ("helm-docs", "helm-docs"),
    "helm3": ("helm3", "helm"),
    "kind": ("kind", "kind"),
    "kube-score": ("kube-score", "kube-score"),
    "kubeconform": ("kubeconform", "kubeconform"),
    "kubectl": (f"kubernetes-{NEWEST_KUBERNETES}", "kubectl"),
}


def modules(*names: str) -> list[str]:
    """The Go modules of the tools `names`."""
    return [_TOOLS[name][0] for name in names]


def ensure(*names: str) -> None:
    """Build and link the tools `names`, showing what takes time."""
    together(*gobuild.lanes(*modules(*names)))
    for name in names:
        tool(name)


def tool(name: str) -> Path:
    """The path of the tool `name`, built now if need be."""
    module, program = _TOOLS[name]
    target = gobuild.build(module) / program
    link = BIN / name
    if not (link.is_symlink() and link.readlink() == target):
        with scratch(BIN) as temporary:  # replaced in one step
            fresh = temporary / name
            fresh.symlink_to(target)
            fresh.rename(link)
    return link
