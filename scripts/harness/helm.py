"""Helm: releases through pyhelm3, rendering through the program itself."""

import asyncio
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import pyhelm3
import yaml
from pyhelm3.command import Command

from harness.paths import CHART
from harness.process import CommandError, run
from harness.tools import tool

Object = dict[str, Any]

# Its warning that a command failed adds nothing to the exception that says why.
logging.getLogger("pyhelm3").setLevel(logging.ERROR)


class TemplateError(Exception):
    """`helm template` refused the values; `message` is what Helm printed."""

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
) -> list[Object]:
    """Render the chart with `values` and return its objects.

    `helm` is 'helm' (Helm 4) or 'helm3'. Raises TemplateError. pyhelm3 has no way to say
    `--kube-version`, so this starts Helm directly.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values or {}, file)
        file.flush()
        command: list[str | Path] = [tool(helm), "template", release, CHART]
        command += [f"--namespace={namespace}", f"--values={file.name}"]
        if kube_version:
            command.append(f"--kube-version={kube_version}")
        try:
            rendered = run(command)
        except CommandError as error:
            raise TemplateError(error.output) from error
    return [obj for obj in yaml.safe_load_all(rendered) if obj]


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
