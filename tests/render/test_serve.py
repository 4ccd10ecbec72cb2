"""Ray Serve: who receives requests, and how a node stops doing so."""

from typing import Any

import pytest

from harness.helm import template

from .objects import Object, container, deployments, env, find, head, inventory, pod, worker

NAME = "ray-ray-cluster-serve"
LABEL = "ray-cluster/serve"


def serve(worker_values: Object | None = None, **values: Any) -> list[Object]:
    """A release that receives requests, with these values below `serve`."""
    return template({"serve": {"enabled": True, **values}, "worker": worker_values or {}})


def pod_labels(deployment: Object) -> Object:
    """The labels of a Deployment's pods."""
    labels: Object = deployment["spec"]["template"]["metadata"]["labels"]
    return labels


def test_nothing_about_serve_is_rendered_by_default(defaults: list[Object]) -> None:
    assert ("Service", NAME) not in inventory(defaults)
    for deployment in deployments(defaults):
        assert LABEL not in pod_labels(deployment)
        assert not [name for name in env(deployment) if "SERVE" in name]
        assert "serve" not in {port["name"] for port in container(deployment)["ports"]}


def test_service_leads_to_the_proxies_port() -> None:
    objects = template({"serve": {"enabled": True}, "ports": {"serve": 9000}})
    (port,) = find(objects, "Service", NAME)["spec"]["ports"]
    assert port == {"name": "serve", "port": 9000, "targetPort": "serve"}
    assert {"name": "serve", "containerPort": 9000} in container(head(objects))["ports"]


def test_service_selects_the_head_alone_by_default() -> None:
    objects = serve()
    selector = find(objects, "Service", NAME)["spec"]["selector"]
    selected = [obj for obj in deployments(objects) if selector.items() <= pod_labels(obj).items()]
    assert selected == [head(objects)]


def test_service_selects_workers_that_are_told_to_receive_requests() -> None:
    values = {"serve": {"enabled": True}, "workerGroups": {"web": {"serveProxy": True}}}
    objects = template(values)
    selector = find(objects, "Service", NAME)["spec"]["selector"]
    assert selector.items() <= pod_labels(worker(objects, "web")).items()
    assert not selector.items() <= pod_labels(worker(objects, "default")).items()


def test_service_does_not_count_pods_that_are_not_ready() -> None:
    assert "publishNotReadyAddresses" not in find(serve(), "Service", NAME)["spec"]


def test_proxy_listens_for_other_pods_on_every_node() -> None:
    for deployment in deployments(serve()):
        assert env(deployment)["RAY_SERVE_DEFAULT_HTTP_HOST"] == "0.0.0.0"  # noqa: S104


def test_worker_that_receives_requests_is_ready_when_its_proxy_is() -> None:
    probe = container(worker(serve({"serveProxy": True})))["readinessProbe"]
    assert probe["httpGet"] == {"path": "/-/healthz", "port": "serve"}


def test_other_workers_are_ready_without_a_proxy() -> None:
    probe = container(worker(serve()))["readinessProbe"]
    assert probe["httpGet"] == {"path": "/api/healthz", "port": "agent"}


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_worker_without_replica_is_not_restarted(probe: str) -> None:
    rendered = container(worker(serve({"serveProxy": True})))[probe]
    assert rendered["httpGet"]["path"] == "/api/healthz"


def test_head_is_ready_before_serve_runs() -> None:
    probe = container(head(serve()))["readinessProbe"]
    assert probe["httpGet"] == {"path": "/api/healthz", "port": "agent"}


def test_users_readiness_wins() -> None:
    values = {"serveProxy": True, "readinessProbe": {"tcpSocket": {"port": 1}}}
    probe = container(worker(serve(values)))["readinessProbe"]
    assert "httpGet" not in probe
    assert probe["tcpSocket"] == {"port": 1}


def test_node_goes_on_for_a_while_before_it_stops() -> None:
    objects = serve({"serveProxy": True}, preStopSleepSeconds=7)
    assert container(worker(objects))["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert container(head(objects))["lifecycle"]["preStop"]["exec"]["command"][-1] == "7"


def test_pause_leaves_the_drain_its_time() -> None:
    objects = serve({"serveProxy": True, "drain": {"timeoutSeconds": 100}}, preStopSleepSeconds=7)
    assert pod(worker(objects))["terminationGracePeriodSeconds"] == 167


def test_no_pause_where_no_requests_arrive() -> None:
    assert container(worker(serve()))["lifecycle"] == {"preStop": {"sleep": {"seconds": 1}}}
    assert pod(worker(serve()))["terminationGracePeriodSeconds"] == 300


def test_pause_can_be_off() -> None:
    objects = serve({"serveProxy": True}, preStopSleepSeconds=0)
    assert container(worker(objects))["lifecycle"] == {"preStop": {"sleep": {"seconds": 1}}}
    assert container(head(objects))["lifecycle"]["preStop"]["exec"]["command"][-1] == "0"


def test_users_hook_replaces_the_pause_and_other_hooks_do_not() -> None:
    mine = {"preStop": {"exec": {"command": ["true"]}}}
    assert container(worker(serve({"serveProxy": True, "lifecycle": mine})))["lifecycle"] == mine
    other = {"postStart": {"exec": {"command": ["true"]}}}
    rendered = container(worker(serve({"serveProxy": True, "lifecycle": other})))["lifecycle"]
    assert rendered == {**other, "preStop": {"sleep": {"seconds": 10}}}


def test_service_takes_type_annotations_labels_and_further_fields() -> None:
    service = {
        "type": "LoadBalancer",
        "labels": {"a": "1"},
        "annotations": {"b": "2"},
        "spec": {"loadBalancerClass": "x.example.com/y"},
    }
    rendered = find(serve(service=service), "Service", NAME)
    assert rendered["spec"]["type"] == "LoadBalancer"
    assert rendered["spec"]["loadBalancerClass"] == "x.example.com/y"
    assert rendered["metadata"]["labels"]["a"] == "1"
    assert rendered["metadata"]["annotations"] == {"b": "2"}
