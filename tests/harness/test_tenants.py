"""Many tenants beside each other, as they are sent to the API."""

from typing import Any

import pytest

from harness import kwok, sides, tenants


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


def test_pods_go_to_no_real_node() -> None:
    def places(pods: list[Any]) -> list[Any]:
        return [(pod["nodeSelector"], pod["tolerations"]) for pod in pods]

    wanted = [(kwok.PLACE["nodeSelector"], kwok.PLACE["tolerations"])] * tenants.PODS
    ours = [o for o in tenants.tenant(sides.OURS, "a") if o["kind"] == "Deployment"]
    assert places([obj["spec"]["template"]["spec"] for obj in ours]) == wanted
    (theirs,) = (o for o in tenants.tenant(sides.KUBERAY, "a") if o["kind"] == "RayCluster")
    groups = [theirs["spec"]["headGroupSpec"], *theirs["spec"]["workerGroupSpecs"]]
    assert places([group["template"]["spec"] for group in groups]) == wanted
