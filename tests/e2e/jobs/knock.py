"""Knocks at the ports of two Ray nodes, and prints as JSON who opens: `knock.py HEAD WORKER`.

At each without a token, with a wrong one, and with the one in KNOCK_TOKEN. An answer of a gRPC port
is its status, and of an HTTP port its number.
"""

import json
import os
import sys
import urllib.error
import urllib.request

import grpc

TOKENS = {"none": None, "wrong": "0" * 64, "right": os.environ["KNOCK_TOKEN"]}


def http(request: str, token: str | None) -> int | str:
    """What an HTTP port answers to 'METHOD URL'."""
    method, url = request.split()
    asked = urllib.request.Request(url, method=method)  # noqa: S310
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    if method == "POST":
        asked.add_header("Content-Type", "application/json")
        asked.data = b'{"entrypoint": "true"}'
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return str(error)


def call(request: str, token: str | None) -> str:
    """The status with which a gRPC port answers an empty message to 'METHOD ADDRESS'."""
    method, address = request.split()
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(method)
        try:
            ask(b"", metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def main(head: str, worker: str) -> None:
    """Knock everywhere."""
    doors = {
        "state": (http, f"GET http://{head}:8265/api/v0/nodes"),
        "jobs": (http, f"GET http://{head}:8265/api/jobs/"),
        "job": (http, f"POST http://{head}:8265/api/jobs/"),
        "job's end": (http, f"DELETE http://{head}:8265/api/jobs/none"),
        "discovery": (http, f"GET http://{head}:8265/api/prometheus/sd"),
        "job by agent": (http, f"POST http://{worker}:52365/api/job_agent/jobs/"),
        "environment": (http, f"POST http://{worker}:8079/get_or_create_runtime_env"),
        "client": (call, f"/ray.rpc.RayletDriver/ClusterInfo {head}:10001"),
        "GCS": (call, f"/ray.rpc.NodeInfoGcsService/GetAllNodeInfo {head}:6380"),
        "raylet": (call, f"/ray.rpc.NodeManagerService/GetNodeStats {worker}:8077"),
        "objects": (call, f"/ray.rpc.ObjectManagerService/Pull {worker}:8076"),
        "agent": (call, f"/ray.rpc.ReporterService/GetTraceback {worker}:8078"),
        "page": (http, f"GET http://{head}:8265/"),
        "health": (http, f"GET http://{worker}:52365/api/healthz"),
        "metrics of the head": (http, f"GET http://{head}:8080/metrics"),
        "metrics of a worker": (http, f"GET http://{worker}:8080/metrics"),
    }
    answers = {
        door: [ask(request, token) for token in TOKENS.values()]
        for door, (ask, request) in doors.items()
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
