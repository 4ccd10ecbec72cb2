"""Everything that can be said about the repository without running it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from harness import from_kuberay, schemas
from harness.console import step
from harness.errors import UserError
from harness.helm import PROFILES
from harness.paths import CHART, ROOT
from harness.process import run as run_command
from harness.tools import NEWEST_KUBERNETES, ensure, tool

# Policies of kube-score that this chart departs from, each with its reason.
_KUBE_SCORE_IGNORED = {
    "container-ephemeral-storage-request-and-limit": "Ray spills objects to disk: how much is a "
    "tenant's to say, in `resources`",
    "container-image-pull-policy": "the default tag is a release, which nobody moves",
    "container-security-context-readonlyrootfilesystem": "jobs write where they like: /tmp, home",
    "container-security-context-user-group-id": "1000:100 is who owns the home in Ray's own image",
    "deployment-has-host-podantiaffinity": "several small workers on one node are what many want",
    "deployment-replicas": "Ray has one head",
    "deployment-strategy": "two heads at a time would write to one storage",
    "horizontalpodautoscaler-replicas": "a group of one worker is fine, and cheap",
    "pod-networkpolicy": "egress is closed on request: what jobs reach is a tenant's to say",
    "pod-probes-identical": "Ray has one health endpoint; the thresholds differ",
}


def run() -> None:
    """Check Python, YAML, the chart and its generated files. Raises CommandError, UserError."""
    ensure("actionlint", "helm", "helm3", "helm-docs", "kube-score", "kubeconform")
    with step("ruff, mypy, yamllint"):
        _python("ruff", "check", ".")
        _python("ruff", "format", "--check", ".")
        _python("mypy")
        _python("yamllint", "--strict", ".")
    with step("actionlint"):
        run_command([tool("actionlint")], cwd=ROOT)
    with step("No drift in generated files"):
        _check_generated()
    for profile in (None, *PROFILES):  # None: the defaults
        with step(f"helm lint, kubeconform, kube-score: {profile.stem if profile else 'defaults'}"):
            _check_profile(profile)


def write_generated() -> None:
    """Write what is made from other files of the repository (`python -m harness.lint`)."""
    for file, text in _generated():
        file.write_text(text)


def _generated() -> Iterator[tuple[Path, str]]:
    """The generated files, and what has to be in them."""
    yield CHART / "README.md", _helm_docs("README.md.gotmpl")
    # Helm keeps all of a chart in each release's Secret: hence no blanks here, and no table there.
    yield CHART / "values.schema.json", _values_schema()
    yield ROOT / "docs" / "values.md", _helm_docs("../../docs/values.md.gotmpl")
    migration = ROOT / "docs" / "migration.md"
    yield migration, from_kuberay.documented(migration.read_text())


def _values_schema() -> str:
    """The schema of the chart's values as Helm reads it."""
    schema = yaml.safe_load((CHART / "values.schema.yaml").read_text())
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":")) + "\n"


def _helm_docs(template: str) -> str:
    """What helm-docs makes of a template, whose path is seen from the chart."""
    return run_command(
        [
            tool("helm-docs"),
            f"--chart-search-root={CHART}",
            f"--template-files={template}",
            "--sort-values-order=file",
            "--dry-run",
        ]
    )


def _check_generated() -> None:
    for file, text in _generated():
        if text != file.read_text():
            raise UserError(
                f"{file.relative_to(ROOT)} does not say what it is made from: run "
                "`.testbed/venv/bin/python -m harness.lint` and commit it."
            )


def _check_profile(profile: Path | None) -> None:
    values = [f"--values={profile}"] if profile else []
    for helm in ("helm", "helm3"):
        run_command([tool(helm), "lint", "--strict", CHART, *values])
    render: list[str | Path] = [tool("helm"), "template", "ray", CHART, "--namespace=ray", *values]
    folder = schemas.folder(NEWEST_KUBERNETES)
    run_command(
        [tool("kubeconform"), "-strict", "-summary",
         f"-schema-location={folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", "-"],
        stdin=run_command(render),
    )  # fmt: skip
    ignored = [f"--ignore-test={name}" for name in _KUBE_SCORE_IGNORED]
    # It judges whatever a Service selects as a server, which the pod of `helm test` is not.
    run_command([tool("kube-score"), "score", "--exit-one-on-warning", *ignored, "-"],
                stdin=run_command([*render, "--skip-tests"]))  # fmt: skip


def _python(module: str, *arguments: str) -> None:
    run_command([sys.executable, "-m", module, *arguments], cwd=ROOT)


if __name__ == "__main__":
    write_generated()
