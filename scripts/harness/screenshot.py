"""A picture of Ray's dashboard as a person sees it, taken in a headless Chromium.

The browser comes from Debian's package, in a container, and is told what to do over the pipe of its
DevTools protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness import images
from harness.console import step
from harness.paths import LOGS
from harness.process import CommandError
from harness.ray_api import Dashboard

_TIMEOUT_SECONDS = 180
# The list with a head and two workers.
_SIZE = {"width": 1440, "height": 960, "deviceScaleFactor": 1, "mobile": False}
# The pipe is file descriptors 3 and 4. The sandbox would ask for more than a container may; what is
# opened here is our own cluster's page.
_BROWSER = (
    "exec chromium-headless-shell --remote-debugging-pipe --no-sandbox --disable-gpu "
    "--disable-dev-shm-usage 3<&0 4>&1 </dev/null >/dev/null"
)


class _Page:
    """A page of the browser behind `process`."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands: IO[bytes] = process.stdin
        self._answers: IO[bytes] = process.stdout
        self._number = 0
        self._session: dict[str, str] = {}
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    def do(self, method: str, **parameters: Any) -> Any:
        """The result of a command of the protocol; CommandError if there is none."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters, **self._session}
        self._commands.write(json.dumps(command).encode() + b"\0")
        self._commands.flush()
        while (answer := self._read()).get("id") != self._number:
            pass  # it tells of events, too
        if "result" not in answer:
            raise CommandError([method], "the browser refused", str(answer.get("error")))
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                log = (LOGS / "browser.log").read_text()
                raise CommandError(["chromium-headless-shell"], "ended early", log)
            text += byte
        answer: dict[str, Any] = json.loads(text)
        return answer


def take(dashboard: Dashboard, nodes: list[dict[str, Any]], file: Path) -> None:
    """Write a PNG of the dashboard's list of nodes to `file`, once all of `nodes` are in it.

    `nodes` are rows of Ray's node table. Raises CommandError if the list stays without them.
    """
    image = images.browser()
    names = {node["node_name"] for node in nodes}
    with step(f"Take a picture of the dashboard: {file}"), _page(image) as page:
        page.do("Emulation.setDeviceMetricsOverride", **_SIZE)
        page.do("Emulation.setScrollbarsHidden", hidden=True)
        if dashboard.token:
            page.do("Network.enable")
            header = {"Authorization": f"Bearer {dashboard.token}"}
            page.do("Network.setExtraHTTPHeaders", headers=header)
        page.do("Page.navigate", url=f"{dashboard.url}/#/cluster")
        shown = ""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not all(name in shown for name in names):
            if time.monotonic() > deadline:
                raise CommandError(["the dashboard"], f"does not show all of {names}", shown)
            time.sleep(0.5)
            found = page.do("Runtime.evaluate", expression="document.body?.innerText ?? ''")
            shown = found["result"].get("value", "")
        picture = page.do("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(picture))


@contextmanager
def _page(image: str) -> Iterator[_Page]:
    """An empty page of a browser, which lives as long as its pipe."""
    command = ["docker", "run", "--rm", "--interactive", "--network=host", image]
    LOGS.mkdir(parents=True, exist_ok=True)
    with (
        (LOGS / "browser.log").open("w") as log,
        subprocess.Popen(
            [*command, "sh", "-c", _BROWSER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        ) as browser,
    ):  # fmt: skip
        # Whatever it waits for: without the browser, reading its answers ends.
        watchdog = threading.Timer(2 * _TIMEOUT_SECONDS, browser.kill)
        watchdog.start()
        try:
            yield _Page(browser)
        finally:
            watchdog.cancel()
            browser.terminate()
