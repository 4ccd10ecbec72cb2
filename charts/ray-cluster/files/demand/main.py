"""Asks the GCS what waits, twice a second, and lets the scaler follow.

Argument: the folder with config.json. Starts anew when what is mounted there changes.
"""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from typing import Any

import grpc
from scaler import Kubernetes, Scaled, Scaler
from state import State, decode

METHOD = "/ray.rpc.autoscaler.AutoscalerStateService/GetClusterResourceState"
POLL_SECONDS = 0.5
TIMEOUT_SECONDS = 5
STUCK_SECONDS = 60


class Gcs:
    """A connection to the GCS at `address`, host:port."""

    def __init__(self, address: str) -> None:
        # An outage of a minute shall not be followed by another of waiting.
        channel = grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 2000)])
        self._ask = channel.unary_unary(METHOD)
        token = os.environ.get("RAY_AUTH_TOKEN")
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def state(self) -> State:
        """The present state. Raises grpc.RpcError."""
        answer = self._ask(b"", timeout=TIMEOUT_SECONDS, metadata=self._metadata)
        return decode(answer)


def serve(host: str, port: int, scaler: Scaler, beat: list[float]) -> None:
    """Answer /metrics, and everything else with whether the loop still runs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stuck = time.monotonic() - beat[0] > STUCK_SECONDS
            self.send_response(500 if stuck else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            if self.path == "/metrics":
                lines = [f"{key} {value:g}\n" for key, value in sorted(scaler.metrics.items())]
                self.wfile.write("".join(lines).encode())

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main(folder: pathlib.Path) -> None:
    """Follow Ray's state until what is mounted changes."""
    # Nothing ends a container's first process that has not said so.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    mounted = (folder / "..data").readlink()
    config = json.loads((folder / "config.json").read_text())
    kubernetes = Kubernetes(config["namespace"])
    groups = [Scaled(values, kubernetes) for values in config["groups"]]
    pod = {key: os.environ[f"POD_{key.upper()}"] for key in ("name", "uid")}
    scaler = Scaler(groups, kubernetes, pod)
    host = os.environ["POD_IP"]
    gcs = Gcs(f"{f'[{host}]' if ':' in host else host}:{config['gcsPort']}")
    beat, trouble = [time.monotonic()], ""
    serve(host, config["port"], scaler, beat)
    while (folder / "..data").readlink() == mounted:
        beat[0] = now = time.monotonic()
        said = ""
        try:
            scaler.look(gcs.state(), now)
        except Exception as error:
            # Of the GCS and of Kubernetes alike: whatever is away comes back.
            scaler.lost(now)
            said = f"{type(error).__name__}: {error}"
        scaler.metrics = scaler.metrics | {"ray_cluster_demand_up": float(not said)}
        if said != trouble:
            print(said or "All is well again.", flush=True)
            trouble = said
        time.sleep(max(0.0, now + POLL_SECONDS - time.monotonic()))
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
