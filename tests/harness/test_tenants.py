"""Many tenants beside each other, as they are sent to the API."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client

from harness import kwok, sides, tenants
from harness.errors import UserError


@pytest.mark.parametrize(
    ("kind", "version", "namespace", "path"),
    [
        ("Namespace", "v1", None, "/api/v1/namespaces"),
        ("Service", "v1", "a", "/api/v1/namespaces/a/services"),
        ("RayCluster", "ray.io/v1", "a", "/apis/ray.io/v1/namespaces/a/rayclusters"),
        (
            "NetworkPolicy", "networking.k8s.io/v1", "a",
            "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies",
        ),
    ],
)  # fmt: skip
def test_object_is_sent_to_its_kind(
    kind: str, version: str, namespace: str | None, path: str
) -> None:
    metadata = {"name": "x", **({"namespace": namespace} if namespace else {})}
    assert tenants.path({"apiVersion": version, "kind": kind, "metadata": metadata}) == path


@pytest.mark.parametrize("side", [sides.OURS, sides.KUBERAY])
def test_tenant_is_a_namespace_and_what_is_in_it(side: sides.Side) -> None:
    namespace, *others = tenants.tenant(side, "a")
    assert namespace["kind"] == "Namespace"
    assert {obj["metadata"]["namespace"] for obj in others} == {"a"}
    assert "ResourceQuota" in {obj["kind"] for obj in others}


def test_tenants_of_both_sides_have_as_many_pods() -> None:
    ours = tenants.tenant(sides.OURS, "a")
    (theirs,) = (o for o in tenants.tenant(sides.KUBERAY, "a") if o["kind"] == "RayCluster")
    deployments = [obj for obj in ours if obj["kind"] == "Deployment"]
    assert len(deployments) == 1 + len(theirs["spec"]["workerGroupSpecs"]) == tenants.PODS


def test_each_group_has_an_autoscaler() -> None:
    kinds = [obj["kind"] for obj in tenants.tenant(sides.OURS, "a")]
    assert kinds.count("HorizontalPodAutoscaler") == tenants.AUTOSCALERS


def test_pods_go_to_no_real_node() -> None:
    def places(pods: list[Any]) -> list[Any]:
        return [(pod["nodeSelector"], pod["tolerations"]) for pod in pods]

    wanted = [(kwok.PLACE["nodeSelector"], kwok.PLACE["tolerations"])] * tenants.PODS
    ours = [o for o in tenants.tenant(sides.OURS, "a") if o["kind"] == "Deployment"]
    assert places([obj["spec"]["template"]["spec"] for obj in ours]) == wanted
    (theirs,) = (o for o in tenants.tenant(sides.KUBERAY, "a") if o["kind"] == "RayCluster")
    groups = [theirs["spec"]["headGroupSpec"], *theirs["spec"]["workerGroupSpecs"]]
    assert places([group["template"]["spec"] for group in groups]) == wanted


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, and takes nothing at /refused."""

    def do_POST(self) -> None:
        """Answer a request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(409 if self.path == "/refused" else 201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[client.ApiClient]:
    """A client of a server that echoes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        yield client.ApiClient(client.Configuration(host=host))
        server.shutdown()


def test_object_is_sent_as_it_is(api: client.ApiClient) -> None:
    assert tenants.call(api, "POST", "/taken", {"a": [1, "b"]}) == {"a": [1, "b"]}


def test_refused_object_is_an_error_that_says_why(api: client.ApiClient) -> None:
    with pytest.raises(UserError, match=r'409 .*"why"'):
        tenants.call(api, "POST", "/refused", {"message": "why"})
