"""Helm for many renders is Helm: what one process prints, and what each of its own would."""

import pytest

from harness import helm, tools
from harness.errors import UserError
from harness.paths import CHART
from harness.process import CommandError, run
from harness.tools import tool

pytestmark = pytest.mark.skipif(
    not tools.modules("helm"), reason="Helm is the machine's own, and asked itself"
)

TEMPLATE = ["template", "ray", str(CHART), "--namespace=ray"]
# A token of the chart's making is another one each time.
ACCEPTED = [*TEMPLATE, "--set=auth.token.existingSecret=token"]


@pytest.mark.parametrize(
    "command",
    [
        ACCEPTED,
        [*ACCEPTED, "--no-hooks"],
        [*ACCEPTED, "--kube-version=1.31.0", "--set=worker.drain.timeoutSeconds=60"],
        ["install", *ACCEPTED[1:], "--dry-run=client"],
    ],
    ids=["template", "without hooks", "old Kubernetes", "install"],
)
def test_it_prints_what_helm_prints(command: list[str]) -> None:
    def lines(printed: str) -> list[str]:
        return [line for line in printed.splitlines() if not line.startswith("LAST DEPLOYED: ")]

    helm._renders().run(ACCEPTED)  # of which nothing is left
    assert lines(helm._renders().run(command)) == lines(run([tool("helm"), *command]))


@pytest.mark.parametrize("setting", ["bogus=1", "rayVersion=1.0.0", "head.replicas=2"])
def test_it_refuses_in_helms_words(setting: str) -> None:
    command = [*TEMPLATE, f"--set={setting}"]
    with pytest.raises(CommandError) as refused:
        helm._renders().run(command)
    with pytest.raises(CommandError) as by_helm:
        run([tool("helm"), *command])
    assert refused.value.output.strip() == by_helm.value.output.strip()


def test_its_end_is_no_refusal() -> None:
    renders = helm._Renders()
    renders._process.kill()
    with pytest.raises(UserError, match="has ended"):
        renders.run(ACCEPTED)
