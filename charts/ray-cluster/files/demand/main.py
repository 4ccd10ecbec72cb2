"""Asks the GCS what waits, twice a second, and lets the scaler follow.

Argument: the folder with config.json. Starts anew when what is mounted there changes.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import socketserver
import sys
import threading
import time

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
        options = [("grpc.max_reconnect_backoff_ms", 2000)]
        if os.environ.get("RAY_USE_TLS"):
            names = ("CA_CERT", "SERVER_KEY", "SERVER_CERT")
            files = (pathlib.Path(os.environ[f"RAY_TLS_{name}"]) for name in names)
            trust = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
            channel = grpc.secure_channel(address, trust, options)
        else:
            channel = grpc.insecure_channel(address, options)
        self._ask = channel.unary_unary(METHOD)
        token = os.environ.get("RAY_AUTH_TOKEN")
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def state(self) -> State:
        """The present state. Raises grpc.RpcError."""
        answer = self._ask(b"", timeout=TIMEOUT_SECONDS, metadata=self._metadata)
        return decode(answer)


def serve(host: str, port: int, scaler: Scaler, beat: list[float]) -> None:
    """Answer whoever asks with the metrics, and with an error if the loop does not run any more."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = 5

        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass  # every path is the same, and no header matters
            stuck = time.monotonic() - beat[0] > STUCK_SECONDS
            status = "500 Internal Server Error" if stuck else "200 OK"
            lines = [f"{key} {value:g}\n" for key, value in sorted(scaler.metrics.items())]
            head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n"
            self.wfile.write((head + "".join(lines)).encode())

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = daemon_threads = True

    # http.server would cost two of forty megabytes.
    threading.Thread(target=Server((host, port), Handler).serve_forever, daemon=True).start()


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
            said = (isinstance(error, grpc.RpcError) and error.details()) or repr(error)
        scaler.metrics = scaler.metrics | {"ray_cluster_demand_up": float(not said)}
        if said != trouble:
            print(said or "All is well again.", flush=True)
            trouble = said
        time.sleep(max(0.0, now + POLL_SECONDS - time.monotonic()))
    print("The configuration has changed: starting anew.", flush=True)
    os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
