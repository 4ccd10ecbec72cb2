"""Helm: releases through pyhelm3, rendering through the program itself."""

import asyncio
import json
import logging
import os
import pickle
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pyhelm3
from pyhelm3.command import Command

from harness import gobuild, manifest, schemas, tools
from harness.errors import UserError
from harness.paths import CHART, ROOT
from harness.process import CommandError, run
from harness.tools import tool

Object = dict[str, Any]

# The values files that are rendered, linted and measured everywhere. Those of the chart can be
# installed in the test cluster, the others only be rendered: they ask for GPUs, say.
PROFILES = [
    *sorted((CHART / "ci").glob("*-values.yaml")),
    *sorted((ROOT / "tests" / "render" / "profiles").glob("*.yaml")),
]

# Its warning that a command failed adds nothing to the exception that says why.
logging.getLogger("pyhelm3").setLevel(logging.ERROR)


# A render takes a tenth of a second, of which a fifth would be for collecting garbage.
_ENVIRONMENT = {"GOGC": "off", "GOMEMLIMIT": "400MiB"}
# A token of the chart's making, in a Secret that is text or inside JSON: base64 of 64 characters.
_TOKEN = re.compile(r'(token: \\?")[A-Za-z0-9+/]{86}==')


class TemplateError(Exception):
    """Helm refused the values; `message` is what Helm printed."""

    def __init__(self, message: str):
        self.message = message
        super().__init__(message)


def template(
    values: Object | None = None,
    *,
    release: str = "ray",
    namespace: str = "ray",
    kube_version: str | None = None,
    helm: str = "helm",
    anew: bool = False,
) -> list[Object]:
    """Render the chart with `values` and return its objects, after a check of each.

    They conform to the schemas of every supported Kubernetes, from `kube_version` on if that is
    given: what an old one was given has to live on in a newer one. `helm` is 'helm' (Helm 4) or
    'helm3'; it is asked again for what it has rendered before only if `anew`. A token that the
    chart makes is not the random one. Raises TemplateError, schemas.NonConformingError. pyhelm3 has
    no way to say `--kube-version`, so this starts Helm directly.
    """
    version = [f"--kube-version={kube_version}"] if kube_version else []
    run_helm = _run.__wrapped__ if anew else _run
    rendered = run_helm(helm, "template", _yaml(values or {}), release, namespace, *version)
    objects = _documents(rendered)
    schemas.check(objects, schemas.since(kube_version) if kube_version else schemas.KUBERNETES)
    return objects


def objects(values: Object, *, release: str = "ray", namespace: str = "ray") -> list[Object]:
    """The objects of an install with `values`, its hooks aside; rendered fast, and not checked.

    Raises TemplateError.
    """
    rendered = _run("helm", "template", _yaml(values), release, namespace, "--no-hooks")
    return _documents(rendered)


def dry_run(
    values: Object | None = None, *, release: str = "ray", namespace: str = "ray"
) -> Object:
    """The release that an install with `values` would store, with its notes; asks no cluster.

    A token that the chart makes is not the random one. Raises TemplateError.
    """
    options = ("--dry-run=client", "--output=json")
    install = _run("helm", "install", _yaml(values or {}), release, namespace, *options)
    stored: Object = json.loads(install)
    return stored


# Many a test looks at a render that another one has looked at.
@lru_cache(maxsize=1024)
def _run(helm: str, verb: str, values: str, release: str, namespace: str, *options: str) -> str:
    with _file(values) as file:
        command = [verb, release, str(CHART), *options]
        command += [f"--namespace={namespace}", f"--values={file}"]
        try:
            # One that was found on PATH is asked itself.
            rendered = (
                _renders().run(command)
                if helm == "helm" and tools.modules(helm)
                else run([tool(helm), *command], env=_ENVIRONMENT)
            )
        except CommandError as error:
            raise TemplateError(error.output) from error
    # Two renders differ in it and in nothing else, which only shows without it.
    return _TOKEN.sub(r"\1bm90IHJhbmRvbQ==", rendered)


def _documents(rendered: str) -> list[Object]:
    """The objects in what Helm rendered, which begins each with a line of its own."""
    documents = re.split(r"^---[ \t]*$", rendered, flags=re.MULTILINE)
    return [obj for text in documents for obj in pickle.loads(_parsed(text))]  # noqa: S301


# Most objects of one render are those of the render before. Pickled, for a test may change its own.
@lru_cache(maxsize=4096)
def _parsed(document: str) -> bytes:
    return pickle.dumps(list(manifest.load_all(document)))


class _Renders:
    """Helm in a process that does not end after one command line: half of each is its start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        (module,) = tools.modules("helm")
        self._process = subprocess.Popen(
            [gobuild.build(module) / "renders"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Each process of a test run has one of these, and all CPUs are taken.
            env=os.environ | _ENVIRONMENT | {"GOMAXPROCS": "1"},
        )

    def run(self, command: list[str]) -> str:
        """What Helm prints.

        Raises CommandError with what it says when it fails, UserError when it has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            with suppress(BrokenPipeError):
                print(json.dumps(command), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        if not line:  # no refusal, as a CommandError would be
            raise UserError(f"The process that renders has ended ({self._process.wait()}).")
        answer = json.loads(line)
        output: str = answer["output"]
        if answer["failed"]:
            raise CommandError(["helm", *command], "it failed", output)
        return output


@cache
def _renders() -> _Renders:
    return _Renders()


@contextmanager
def _file(values: str) -> Iterator[Path]:
    """A file of `values` for as long as Helm reads it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        yield Path(file.name)


def _yaml(values: Object) -> str:
    """`values` as JSON that is YAML as well, whatever characters are in its texts.

    YAML refuses or folds some of them unless they are escaped, and knows no surrogate pairs.
    """
    text = json.dumps(values, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e\U00010000-\U0010ffff]", lambda c: f"\\u{ord(c[0]):04x}", text)


def values_of(profile: Path | None) -> Object:
    """The values in a file, such as one of PROFILES; None stands for the defaults."""
    return next(manifest.load_all(profile.read_text()), {}) if profile else {}


def client(kubeconfig: Path, *, helm: str = "helm") -> pyhelm3.Client:
    """A pyhelm3 client for the cluster of `kubeconfig`; its methods are coroutines."""
    return pyhelm3.Client(executable=str(tool(helm)), kubeconfig=kubeconfig)


def upgrade_install(
    kubeconfig: Path,
    release: str,
    *,
    namespace: str,
    values_files: list[Path],
    settings: list[str],
    helm: str = "helm",
    recover: bool = False,
) -> None:
    """Install or upgrade the chart with values exactly as a person would give them to Helm.

    `values_files` and `settings` are those of Helm's own -f and --set, whose rules for merging
    pyhelm3's clients do not offer. Helm refuses a release on which an earlier Helm was interrupted;
    `recover` takes such a release back to where it was before, or away. Raises
    pyhelm3.errors.Error, whose `stderr` says why.
    """
    if recover:
        asyncio.run(
            client(kubeconfig, helm=helm).get_proceedable_revision(release, namespace=namespace)
        )
    arguments = ["upgrade", "--install", release, str(CHART)]
    arguments += ["--namespace", namespace, "--create-namespace"]
    arguments += [f"--values={file}" for file in values_files]
    arguments += [f"--set={setting}" for setting in settings]
    command = Command(executable=str(tool(helm)), kubeconfig=kubeconfig)
    asyncio.run(command.run(arguments))


def install(kubeconfig: Path, release: str, values: Object, *, namespace: str) -> None:
    """Install or upgrade the chart with `values`.

    Raises pyhelm3.errors.Error, whose `stderr` says why.
    """
    with _file(_yaml(values)) as file:
        upgrade_install(kubeconfig, release, namespace=namespace, values_files=[file], settings=[])
