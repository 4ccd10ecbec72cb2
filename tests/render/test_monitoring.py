"""What Prometheus and Grafana are given: a claim with targets, monitors, alerts, dashboards."""

import json
import re
from typing import Any

import pytest

from harness.helm import template

from .objects import Object, container, env, find, head, of_component, pod, pod_templates

CLAIM = "ray-ray-cluster-targets"
METRICS = "ray-ray-cluster-metrics"
LONG = "r" * 53


def monitoring(**values: Any) -> list[Object]:
    """The objects of a release with these values of `monitoring`."""
    return template({"monitoring": values})


# --- the claim -------------------------------------------------------------------------------


def volumes(objects: list[Object]) -> list[str]:
    """The claims that the head mounts."""
    found = (v.get("persistentVolumeClaim") for v in pod(head(objects))["volumes"])
    return [claim["claimName"] for claim in found if claim]


def test_claim_is_made_and_mounted_by_the_head_alone() -> None:
    objects = monitoring(claim={"enabled": True})
    spec = find(objects, "PersistentVolumeClaim", CLAIM)["spec"]
    assert spec["accessModes"] == ["ReadWriteMany"]
    assert volumes(objects) == [CLAIM]
    mounts = [
        title
        for title, template_ in pod_templates(objects)
        if "prometheus-targets" in json.dumps(template_)
    ]
    assert mounts == ["Deployment ray-ray-cluster-head"]


def test_claim_has_the_name_that_prometheus_knows() -> None:
    objects = monitoring(claim={"enabled": True, "name": "ray-prom-pvc"})
    assert find(objects, "PersistentVolumeClaim", "ray-prom-pvc")
    assert volumes(objects) == ["ray-prom-pvc"]


def test_existing_claim_is_mounted_and_not_made() -> None:
    objects = monitoring(claim={"enabled": True, "existingClaim": "shared"})
    assert volumes(objects) == ["shared"]
    assert not [obj for obj in objects if obj["kind"] == "PersistentVolumeClaim"]


def test_head_tells_of_targets_before_it_is_ray_which_waits_for_the_old_head() -> None:
    values = {"monitoring": {"claim": {"enabled": True}}, "gcsFaultTolerance": {"mode": "rocksdb"}}
    command = container(head(template(values)))["command"]
    purposes = [word.split(",")[0].split("\n")[0] for word in command if word.startswith('"""')]
    assert [purpose.split()[0] for purpose in purposes] == ['"""Keeps', '"""Runs', '"""Waits']
    assert command[-1] == "start"


def test_targets_tell_namespace_and_cluster() -> None:
    command = container(head(monitoring(claim={"enabled": True, "fileName": "a.json"})))["command"]
    at = command.index("/prometheus-targets/a.json")
    labels = json.loads(command[at + 1])
    assert labels == {"namespace": "ray", "ray_io_cluster": "ray-ray-cluster"}


def test_without_a_claim_nothing_writes_targets() -> None:
    assert "prometheus-targets" not in json.dumps(template())


# --- monitors --------------------------------------------------------------------------------


def selected(objects: list[Object], labels: Object) -> set[str]:
    """The owners of the pods that have `labels`, and ports, without which nobody is a target."""
    return {
        title
        for title, template_ in pod_templates(objects)
        if labels.items() <= template_["metadata"]["labels"].items()
        if "ports" in template_["spec"]["containers"][0]
    }


def ports(deployment: Object) -> dict[str, int]:
    """A Ray container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container(deployment)["ports"]}


def test_pod_monitor_selects_all_nodes_by_ports_that_they_have() -> None:
    objects = monitoring(podMonitor={"enabled": True})
    spec = find(objects, "PodMonitor", METRICS)["spec"]
    everybody = {"Deployment ray-ray-cluster-head", "Deployment ray-ray-cluster-worker-default"}
    assert selected(objects, spec["selector"]["matchLabels"]) == everybody
    assert {e["port"] for e in spec["podMetricsEndpoints"]} <= ports(head(objects)).keys()
    (worker,) = of_component(objects, "Deployment", "worker")
    assert "metrics" in ports(worker)


def test_service_monitor_selects_the_one_service_with_metrics() -> None:
    objects = monitoring(serviceMonitor={"enabled": True})
    spec = find(objects, "ServiceMonitor", METRICS)["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    services = [obj for obj in objects if obj["kind"] == "Service"]
    found = [obj for obj in services if wanted <= obj["metadata"]["labels"].items()]
    assert [obj["metadata"]["name"] for obj in found] == [METRICS]
    offered = {port["name"]: port["port"] for port in found[0]["spec"]["ports"]}
    assert {e["port"] for e in spec["endpoints"]} == offered.keys()
    assert offered.items() <= ports(head(objects)).items()
    assert len(selected(objects, found[0]["spec"]["selector"])) == 2


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
@pytest.mark.parametrize("demand", [True, False])
def test_metrics_of_demand_are_scraped_where_there_are_any(kind: str, demand: bool) -> None:
    key = kind[0].lower() + kind[1:]
    values = {"monitoring": {key: {"enabled": True}}}
    worker = {"autoscaling": {"demand": {"enabled": demand}}}
    spec = find(template(values | {"worker": worker}), kind, METRICS)["spec"]
    endpoints = spec.get("endpoints") or spec["podMetricsEndpoints"]
    assert ("demand" in {endpoint["port"] for endpoint in endpoints}) == demand


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_every_endpoint_tells_the_cluster_and_takes_the_users_settings(kind: str) -> None:
    rule = {"targetLabel": "team", "replacement": "a"}
    own = {
        "interval": "15s",
        "scrapeTimeout": "5s",
        "relabelings": [rule],
        "metricRelabelings": [rule],
    }
    key = kind[0].lower() + kind[1:]
    spec = find(monitoring(**{key: {"enabled": True, **own}}), kind, METRICS)["spec"]
    cluster = {"targetLabel": "ray_io_cluster", "replacement": "ray-ray-cluster"}
    for endpoint in spec.get("endpoints") or spec["podMetricsEndpoints"]:
        assert endpoint == {
            "port": endpoint["port"],
            **own,
            "relabelings": [cluster, rule],
        }


def test_ports_with_metrics_are_fixed_by_values() -> None:
    objects = template({"ports": {"autoscalerMetrics": 21001, "dashboardMetrics": 21002}})
    assert ports(head(objects))["as-metrics"] == 21001
    assert env(head(objects))["AUTOSCALER_METRIC_PORT"] == "21001"
    assert ports(head(objects))["dash-metrics"] == 21002
    assert env(head(objects))["DASHBOARD_METRIC_PORT"] == "21002"


# --- alerts ----------------------------------------------------------------------------------


def alerts(values: Object | None = None, **options: Any) -> list[Object]:
    """The alerts of a release's rules."""
    rules = {"monitoring": {"rules": {"enabled": True, **(values or {})}}}
    found = [obj for obj in template(rules, **options) if obj["kind"] == "PrometheusRule"]
    rendered: list[Object] = found[0]["spec"]["groups"][0]["rules"]
    return rendered


def test_every_alert_says_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert
        assert alert["annotations"]["summary"], alert
        assert alert["annotations"]["runbook"], alert


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search(r"@\w*@", json.dumps(alerts()))


def test_every_expression_is_about_one_namespace() -> None:
    for alert in alerts(namespace="team-a"):
        selectors = re.findall(r"\{([^{}]*)\}", alert["expr"])
        assert selectors
        assert all('namespace="team-a"' in selector for selector in selectors), alert["expr"]


def test_alerts_name_objects_that_are_rendered_under_long_names() -> None:
    values = {"monitoring": {"rules": {"enabled": True}}}
    objects = template(values, release=LONG)
    names = {obj["metadata"]["name"] for obj in objects}
    rule = next(obj for obj in objects if obj["kind"] == "PrometheusRule")
    text = json.dumps(rule["spec"])
    named = re.findall(r'(?:deployment|horizontalpodautoscaler)=~?\\"([^\\]+)\\"', text)
    assert named
    assert set(named) <= names


def test_alert_labels_are_added_and_do_not_replace_the_severity() -> None:
    for alert in alerts({"alertLabels": {"team": "a", "severity": "none"}}):
        assert alert["labels"]["team"] == "a"
        assert alert["labels"]["severity"] != "none"


# --- dashboards ------------------------------------------------------------------------------


def dashboards() -> dict[str, Object]:
    """Grafana's dashboards by file name."""
    config_map = find(
        monitoring(dashboards={"enabled": True}), "ConfigMap", "ray-ray-cluster-dashboards"
    )
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    return {name: json.loads(text) for name, text in config_map["data"].items()}


def test_dashboards_differ_in_uid_and_choose_their_data_source() -> None:
    found = dashboards()
    assert found.keys() == {"ray-cluster.json", "ray-fleet.json"}
    assert len({dashboard["uid"] for dashboard in found.values()}) == 2
    for dashboard in found.values():
        assert dashboard["templating"]["list"][0]["type"] == "datasource"


def test_dashboards_use_the_variables_that_they_define() -> None:
    for name, dashboard in dashboards().items():
        defined = {variable["name"] for variable in dashboard["templating"]["list"]}
        used = set(re.findall(r"\$(\w+)", json.dumps(dashboard["panels"])))
        assert used == defined, name


def test_panels_stand_beside_each_other() -> None:
    for dashboard in dashboards().values():
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
        assert len(set(places)) == len(places)
        assert all(panel["targets"] for panel in dashboard["panels"])


# --- Ray's own dashboard ---------------------------------------------------------------------


def test_ray_is_told_of_prometheus_and_grafana_on_the_head_alone() -> None:
    values = {
        "prometheus": {"host": "http://p:9090", "name": "Mimir", "headers": {"X-Scope-OrgID": "a"}},
        "grafana": {
            "host": "http://g:3000",
            "iframeHost": "https://g.example.com",
            "orgId": "2",
            "clusterFilter": "ray-ray-cluster",
        },
    }
    objects = monitoring(**values)
    assert {
        "RAY_PROMETHEUS_HOST": "http://p:9090",
        "RAY_PROMETHEUS_NAME": "Mimir",
        "RAY_PROMETHEUS_HEADERS": '{"X-Scope-OrgID":"a"}',
        "RAY_GRAFANA_HOST": "http://g:3000",
        "RAY_GRAFANA_IFRAME_HOST": "https://g.example.com",
        "RAY_GRAFANA_ORG_ID": "2",
        "RAY_GRAFANA_CLUSTER_FILTER": "ray-ray-cluster",
    }.items() <= env(head(objects)).items()
    (worker,) = of_component(objects, "Deployment", "worker")
    assert not [name for name in env(worker) if re.search("PROMETHEUS|GRAFANA", name)]


def test_by_default_ray_looks_where_it_always_does() -> None:
    assert not [name for name in env(head(template())) if "GRAFANA" in name]


def test_secret_headers_come_from_a_secret() -> None:
    prometheus = {"existingSecret": "prometheus", "existingSecretHeadersKey": "all"}
    headers = env(head(monitoring(prometheus=prometheus)))["RAY_PROMETHEUS_HEADERS"]
    assert headers == {"secretKeyRef": {"name": "prometheus", "key": "all"}}
