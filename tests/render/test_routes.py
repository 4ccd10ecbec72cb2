"""Ways in from outside: Ingress, HTTPRoute and the head's external Service."""

from typing import Any

import pytest

from harness.helm import template

from .objects import Object, container, find, head, inventory

TARGETS = {
    "dashboard": ("ray-ray-cluster-head", 8265),
    "serve": ("ray-ray-cluster-serve", 8000),
}
EXTERNAL = "ray-ray-cluster-head-external"


def route(target: str, kind: str, **values: Any) -> Object:
    """The Ingress or HTTPRoute to `target` with these values."""
    key = {"Ingress": "ingress", "HTTPRoute": "httpRoute"}[kind]
    settings: Object = {key: {"enabled": True, **values}}
    if target == "serve":
        settings["enabled"] = True
    return find(template({target: settings}), kind, TARGETS[target][0])


def external(**values: Any) -> Object:
    """The head's Service for clients outside."""
    objects = template({"head": {"externalService": {"enabled": True, **values}}})
    return find(objects, "Service", EXTERNAL)


def test_there_is_no_way_in_by_default(defaults: list[Object]) -> None:
    assert not {kind for kind, _ in inventory(defaults)} & {"Ingress", "HTTPRoute"}
    assert ("Service", EXTERNAL) not in inventory(defaults)


@pytest.mark.parametrize("target", TARGETS)
def test_ingress_leads_every_path_of_a_host_to_the_service(target: str) -> None:
    (rule,) = route(target, "Ingress", hosts=[{"host": "a.example.com"}])["spec"]["rules"]
    backend = {"service": {"name": TARGETS[target][0], "port": {"name": target}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    assert rule == {"host": "a.example.com", "http": {"paths": [path]}}


@pytest.mark.parametrize("target", TARGETS)
def test_backend_of_an_ingress_is_a_port_of_its_service(target: str) -> None:
    values = {"serve": {"enabled": True}}
    service = find(template(values), "Service", TARGETS[target][0])
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports[target] == TARGETS[target][1]


def test_ingress_takes_class_paths_and_certificates() -> None:
    host = {"host": "a.example.com", "paths": [{"path": "/v1", "pathType": "Exact"}]}
    tls = [{"hosts": ["a.example.com"], "secretName": "cert"}]
    spec = route("serve", "Ingress", className="nginx", hosts=[host], tls=tls)["spec"]
    (path,) = spec["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/v1", "Exact")
    assert (spec["ingressClassName"], spec["tls"]) == ("nginx", tls)


@pytest.mark.parametrize("target", TARGETS)
def test_http_route_leads_everything_to_the_service(target: str) -> None:
    rendered = route(target, "HTTPRoute", parentRefs=[{"name": "web"}], hostnames=["a.b"])
    name, port = TARGETS[target]
    assert rendered["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert rendered["spec"] == {
        "parentRefs": [{"name": "web"}],
        "hostnames": ["a.b"],
        "rules": [{"backendRefs": [{"name": name, "port": port}]}],
    }


def test_rules_of_a_route_keep_their_fields_and_get_the_backend() -> None:
    rule = {"matches": [{"path": {"value": "/v1"}}], "timeouts": {"request": "10s"}}
    rendered = route("serve", "HTTPRoute", parentRefs=[{"name": "web"}], rules=[rule, {}])
    backend = {"backendRefs": [{"name": "ray-ray-cluster-serve", "port": 8000}]}
    assert rendered["spec"]["rules"] == [{**rule, **backend}, backend]


def test_rule_that_redirects_has_no_backend() -> None:
    redirect = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}
    rule = {"filters": [redirect]}
    rendered = route("dashboard", "HTTPRoute", parentRefs=[{"name": "web"}], rules=[rule])
    assert rendered["spec"]["rules"] == [rule]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["Ingress", "HTTPRoute"])
def test_route_takes_labels_and_annotations(target: str, kind: str) -> None:
    needed = {"hosts": [{"host": "a.b"}]} if kind == "Ingress" else {"parentRefs": [{"name": "w"}]}
    metadata = route(target, kind, labels={"a": "1"}, annotations={"b": "2"}, **needed)["metadata"]
    assert metadata["labels"]["a"] == "1"
    assert metadata["annotations"] == {"b": "2"}


def test_external_service_offers_client_and_dashboard_but_not_the_control_store() -> None:
    spec = external()["spec"]
    assert {port["name"]: port["port"] for port in spec["ports"]} == {
        "client": 10001,
        "dashboard": 8265,
    }
    assert spec["type"] == "LoadBalancer"
    assert "clusterIP" not in spec


def test_external_service_leads_to_ports_of_the_head() -> None:
    objects = template({"head": {"externalService": {"enabled": True}}})
    spec = find(objects, "Service", EXTERNAL)["spec"]
    named = {port["name"] for port in container(head(objects))["ports"]}
    assert {port["targetPort"] for port in spec["ports"]} <= named
    assert spec["selector"] == head(objects)["spec"]["selector"]["matchLabels"]


def test_external_service_takes_type_ports_and_further_fields() -> None:
    ranges = {"loadBalancerSourceRanges": ["10.0.0.0/8"]}
    rendered = external(type="NodePort", ports=["dashboard"], spec=ranges, labels={"a": "1"})
    assert [port["name"] for port in rendered["spec"]["ports"]] == ["dashboard"]
    assert rendered["spec"]["type"] == "NodePort"
    assert rendered["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert rendered["metadata"]["labels"]["a"] == "1"


def test_head_service_takes_further_ports() -> None:
    port = {"name": "extra", "port": 9999}
    service = find(
        template({"head": {"service": {"extraPorts": [port]}}}), "Service", "ray-ray-cluster-head"
    )
    assert service["spec"]["ports"][-1] == port
    assert service["spec"]["clusterIP"] == "None"
