"""TLS between Ray's processes: every pod signs a certificate with its own address in it."""

import pytest

from harness.helm import template

from .objects import Object, container, deployments, env, head, pod, volume, worker

TLS: Object = {"tls": {"enabled": True, "existingSecret": "authority"}}
ENV = {
    "RAY_USE_TLS": "1",
    "RAY_TLS_CA_CERT": "/ray-tls/ca.crt",
    "RAY_TLS_SERVER_CERT": "/ray-tls/tls.crt",
    "RAY_TLS_SERVER_KEY": "/ray-tls/tls.key",
}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """The objects of a release with TLS, and with a sidecar that asks the GCS."""
    demand = {"worker": {"autoscaling": {"demand": {"enabled": True}}}}
    return template({**TLS, **demand})


def signer(deployment: Object) -> Object:
    """The init container that makes the certificate."""
    first: Object = pod(deployment)["initContainers"][0]
    assert first["name"] == "sign-certificate"
    return first


def mounts(container: Object) -> set[str]:
    """The volumes that a container mounts."""
    return {mount["name"] for mount in container["volumeMounts"]}


def test_there_is_none_by_default(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        assert "initContainers" not in pod(deployment)
        assert not ENV.keys() & env(deployment).keys()


def test_every_node_is_told_where_its_files_are(objects: list[Object]) -> None:
    for deployment in deployments(objects):
        assert ENV.items() <= env(deployment).items()
        assert "tls" in mounts(container(deployment))


def test_sidecar_that_asks_the_gcs_has_the_certificate_too(objects: list[Object]) -> None:
    _, demand = pod(head(objects))["containers"]
    assert ENV.items() <= {entry["name"]: entry.get("value") for entry in demand["env"]}.items()
    assert "tls" in mounts(demand)


def test_authority_is_mounted_by_the_init_container_alone(objects: list[Object]) -> None:
    for deployment in deployments(objects):
        assert volume(deployment, "tls-authority")["secret"] == {"secretName": "authority"}
        assert "tls-authority" in mounts(signer(deployment))
        assert not [c for c in pod(deployment)["containers"] if "tls-authority" in mounts(c)]


def test_keys_are_never_on_a_disk(objects: list[Object]) -> None:
    for deployment in deployments(objects):
        assert volume(deployment, "tls")["emptyDir"]["medium"] == "Memory"


def test_certificate_names_whatever_others_call_the_pod() -> None:
    objects = template({"tls": {**TLS["tls"], "headNames": ["ray.example.com", "192.0.2.1"]}})
    local = ["$(POD_IP)", "127.0.0.1", "localhost"]
    services = [f"ray-ray-cluster-{name}.ray.svc.cluster.local" for name in ("head", "gcs")]
    more = ["ray.example.com", "192.0.2.1"]
    assert signer(head(objects))["args"][3:] == [*local, *services, *more]
    assert signer(worker(objects))["args"][3:] == local


def test_init_container_adds_nothing_to_what_the_pod_requests(objects: list[Object]) -> None:
    for deployment in deployments(objects):
        assert signer(deployment)["resources"] == container(deployment)["resources"]


def test_it_comes_before_those_of_the_user() -> None:
    mine = [{"name": "mine", "image": "i"}]
    deployment = worker(template({**TLS, "worker": {"initContainers": mine}}))
    assert [c["name"] for c in pod(deployment)["initContainers"]] == ["sign-certificate", "mine"]
