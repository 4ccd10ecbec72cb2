"""The head: one at a time, reachable, healthy by Ray's own account."""

from typing import Any

import pytest

from harness.helm import template

from .objects import (
    Object,
    command,
    container,
    env,
    find,
    flags,
    head,
    inventory,
    of_component,
    pod,
    volume,
)

NAME = "ray-ray-cluster-head"


def test_there_are_never_two_heads(defaults: list[Object]) -> None:
    spec = head(defaults)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_service_is_headless_and_finds_a_head_that_is_not_ready(defaults: list[Object]) -> None:
    spec = find(defaults, "Service", NAME)["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)


def test_service_has_the_fields_ports(defaults: list[Object]) -> None:
    ports = find(defaults, "Service", NAME)["spec"]["ports"]
    expected = {"client": 10001, "dashboard": 8265, "gcs-server": 6380}
    assert {port["name"]: port["port"] for port in ports} == expected


def test_service_ports_lead_to_container_ports(defaults: list[Object]) -> None:
    targets = {port["targetPort"] for port in find(defaults, "Service", NAME)["spec"]["ports"]}
    assert targets <= {port["name"] for port in container(head(defaults))["ports"]}


def test_changed_port_reaches_ray_service_and_workers() -> None:
    objects = template({"ports": {"gcs": 7000}})
    service = find(objects, "Service", NAME)["spec"]["ports"]
    workers = find(objects, "Deployment", "ray-ray-cluster-worker-default")
    assert flags(head(objects))["port"] == "7000"
    assert {"name": "gcs-server", "port": 7000, "targetPort": "gcs-server"} in service
    assert flags(workers)["address"].endswith(":7000")


def test_ray_start_is_process_one_without_a_shell(defaults: list[Object]) -> None:
    assert command(head(defaults)) == ["ray", "start"]
    assert {"head", "block"} <= set(flags(head(defaults)))


def test_no_port_of_ray_is_left_to_chance(defaults: list[Object]) -> None:
    fixed = {flag: value for flag, value in flags(head(defaults)).items() if "port" in flag}
    assert fixed == {
        "port": "6380",
        "dashboard-port": "8265",
        "ray-client-server-port": "10001",
        "object-manager-port": "8076",
        "node-manager-port": "8077",
        "dashboard-agent-grpc-port": "8078",
        "runtime-env-agent-port": "8079",
        "metrics-export-port": "8080",
        "dashboard-agent-listen-port": "52365",
        "min-worker-port": "10002",
        "max-worker-port": "19999",
    }


def test_dashboard_can_be_reached_from_other_pods_and_by_port_forward(
    defaults: list[Object],
) -> None:
    assert flags(head(defaults))["dashboard-host"] == "0.0.0.0"  # noqa: S104


def test_no_task_runs_on_the_head_by_default(defaults: list[Object]) -> None:
    assert flags(head(defaults))["num-cpus"] == "0"


def test_head_takes_its_cpu_request_when_asked_to() -> None:
    deployment = head(template({"head": {"numCpus": "auto"}}))
    assert flags(deployment)["num-cpus"] == "$(CPU_REQUEST)"
    assert env(deployment)["CPU_REQUEST"]["resourceFieldRef"]["containerName"] == "ray-head"


def test_node_knows_its_own_address_without_asking_dns(defaults: list[Object]) -> None:
    assert flags(head(defaults))["node-ip-address"] == "$(POD_IP)"
    assert env(head(defaults))["POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_head_leaves_without_draining(defaults: list[Object]) -> None:
    assert env(head(defaults))["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "0"


def test_usage_statistics_are_off(defaults: list[Object]) -> None:
    assert env(head(defaults))["RAY_USAGE_STATS_ENABLED"] == "0"
    assert env(head(defaults))["RAY_USAGE_STATS_REPORT_URL"] == "http://127.0.0.1:1"


def test_head_has_started_when_its_dashboard_answers(defaults: list[Object]) -> None:
    probe = container(head(defaults))["startupProbe"]["httpGet"]
    assert probe == {"path": "/api/gcs_healthz", "port": "dashboard"}


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_probe_asks_rays_health_endpoint(defaults: list[Object], probe: str) -> None:
    assert container(head(defaults))[probe]["httpGet"] == {"path": "/api/healthz", "port": "agent"}


def test_agent_port_is_the_dashboard_agents() -> None:
    ports = container(head(template({"ports": {"dashboardAgentListen": 9000}})))["ports"]
    assert {"name": "agent", "containerPort": 9000} in ports


@pytest.mark.parametrize(
    "handler",
    [
        {"httpGet": {"path": "/", "port": 1}},
        {"exec": {"command": ["true"]}},
        {"tcpSocket": {"port": 1}},
        {"grpc": {"port": 1}},
    ],
    ids=lambda handler: next(iter(handler)),
)
def test_users_handler_replaces_the_health_endpoint(handler: dict[str, Any]) -> None:
    probe = container(head(template({"head": {"livenessProbe": handler}})))["livenessProbe"]
    found = {"httpGet", "exec", "tcpSocket", "grpc"} & set(probe)
    assert {key: probe[key] for key in found} == handler


def test_probe_that_is_null_is_left_out() -> None:
    assert "startupProbe" not in container(head(template({"head": {"startupProbe": None}})))


def test_ray_start_params_become_flags() -> None:
    params = {"log-color": "false", "no-monitor": ""}
    arguments = container(head(template({"head": {"rayStartParams": params}})))["args"]
    assert {"--log-color=false", "--no-monitor"} <= set(arguments)


def test_dashboard_host_can_be_changed_for_ipv6() -> None:
    values = {"head": {"rayStartParams": {"dashboard-host": "::"}}}
    arguments = container(head(template(values)))["args"]
    assert [argument for argument in arguments if "dashboard-host" in argument] == [
        "--dashboard-host=::"
    ]


def test_session_files_lie_on_a_volume_of_the_pod(defaults: list[Object]) -> None:
    mounts = container(head(defaults))["volumeMounts"]
    assert {"name": "ray-tmp", "mountPath": "/tmp/ray"} in mounts  # noqa: S108
    assert volume(head(defaults), "ray-tmp")["emptyDir"] == {}


def test_persistence_makes_a_claim_and_mounts_it() -> None:
    persistence = {
        "enabled": True,
        "size": "7Gi",
        "annotations": {"helm.sh/resource-policy": "keep"},
    }
    objects = template({"head": {"persistence": persistence}})
    claim = find(objects, "PersistentVolumeClaim", NAME)
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "7Gi"}},
    }
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert volume(head(objects), "ray-tmp")["persistentVolumeClaim"] == {"claimName": NAME}


def test_existing_claim_is_mounted_and_none_is_made() -> None:
    objects = template({"head": {"persistence": {"enabled": True, "existingClaim": "logs"}}})
    assert volume(head(objects), "ray-tmp")["persistentVolumeClaim"] == {"claimName": "logs"}
    assert not {kind for kind, _ in inventory(objects)} & {"PersistentVolumeClaim"}


@pytest.mark.parametrize("storage_class", ["", "fast"])
def test_storage_class_is_passed_on_and_empty_is_not_the_default(storage_class: str) -> None:
    persistence = {"enabled": True, "storageClass": storage_class}
    objects = template({"head": {"persistence": persistence}})
    claim = find(objects, "PersistentVolumeClaim", NAME)
    assert claim["spec"]["storageClassName"] == storage_class


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("affinity", {"nodeAffinity": {}}),
        ("dnsConfig", {"options": [{"name": "ndots", "value": "2"}]}),
        ("dnsPolicy", "None"),
        ("hostAliases", [{"ip": "10.0.0.1", "hostnames": ["a"]}]),
        ("hostNetwork", True),
        ("hostUsers", False),
        ("initContainers", [{"name": "init", "image": "i"}]),
        ("nodeSelector", {"a": "b"}),
        ("priorityClassName", "high"),
        ("readinessGates", [{"conditionType": "a"}]),
        ("resourceClaims", [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]),
        ("runtimeClassName", "gvisor"),
        ("schedulerName", "volcano"),
        ("schedulingGates", [{"name": "quota"}]),
        ("shareProcessNamespace", True),
        ("tolerations", [{"operator": "Exists"}]),
    ],
)
def test_pod_field_is_passed_through(field: str, value: Any) -> None:
    assert pod(head(template({"head": {field: value}})))[field] == value


def test_pod_in_the_machines_network_still_finds_services() -> None:
    assert pod(head(template({"head": {"hostNetwork": True}})))["dnsPolicy"] == (
        "ClusterFirstWithHostNet"
    )
    values = {"hostNetwork": True, "dnsPolicy": "Default"}
    assert pod(head(template({"head": values})))["dnsPolicy"] == "Default"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("envFrom", [{"secretRef": {"name": "s"}}]),
        ("lifecycle", {"preStop": {"sleep": {"seconds": 1}}}),
        ("resizePolicy", [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
        ("terminationMessagePolicy", "FallbackToLogsOnError"),
        ("volumeDevices", [{"name": "a", "devicePath": "/dev/a"}]),
        ("workingDir", "/app"),
    ],
)
def test_container_field_is_passed_through(field: str, value: Any) -> None:
    assert container(head(template({"head": {field: value}})))[field] == value


@pytest.mark.parametrize(
    ("value", "field", "entry"),
    [
        ("env", "env", {"name": "MINE"}),
        ("extraPorts", "ports", {"name": "mine", "containerPort": 1234}),
        ("volumeMounts", "volumeMounts", {"name": "mine", "mountPath": "/mine"}),
    ],
)
def test_entries_are_added_behind_the_charts_own_in_the_container(
    value: str, field: str, entry: Object
) -> None:
    entries = container(head(template({"head": {value: [entry]}})))[field]
    assert len(entries) > 1
    assert entries[-1] == entry


@pytest.mark.parametrize(
    ("field", "value"),
    [("minReadySeconds", 5), ("progressDeadlineSeconds", 1000000), ("revisionHistoryLimit", 0)],
)
def test_deployment_field_is_passed_through(field: str, value: int) -> None:
    assert head(template({"head": {field: value}}))["spec"][field] == value


def test_deployment_fields_are_kubernetes_own_by_default(defaults: list[Object]) -> None:
    assert set(head(defaults)["spec"]) == {"replicas", "strategy", "selector", "template"}


def test_head_has_no_budget_by_default(defaults: list[Object]) -> None:
    assert not of_component(defaults, "PodDisruptionBudget", "head")


def test_budget_keeps_the_head_where_it_is() -> None:
    objects = template({"head": {"podDisruptionBudget": {"enabled": True}}})
    budget = find(objects, "PodDisruptionBudget", NAME)["spec"]
    assert budget["maxUnavailable"] == 0
    assert budget["selector"] == head(objects)["spec"]["selector"]


def test_volumes_and_sidecars_are_added_behind_the_charts_own() -> None:
    sidecar, data = {"name": "logs", "image": "i"}, {"name": "data", "emptyDir": {}}
    spec = pod(head(template({"head": {"sidecars": [sidecar], "volumes": [data]}})))
    assert spec["containers"][1:] == [sidecar]
    assert spec["volumes"][-1] == data


def test_annotations_and_labels_reach_the_pod() -> None:
    values = {"head": {"podAnnotations": {"a": "1"}, "podLabels": {"b": "2"}}}
    metadata = head(template(values))["spec"]["template"]["metadata"]
    assert metadata["annotations"] == {"a": "1"}
    assert metadata["labels"]["b"] == "2"
