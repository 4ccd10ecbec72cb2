"""Head fault tolerance with an external Redis, or with RocksDB on a claim."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.helm import template
from harness.paths import CHART

from .objects import (
    Object,
    command,
    container,
    deployments,
    env,
    find,
    flags,
    head,
    inventory,
    of_component,
    pod,
    volume,
    worker,
)

REDIS = {"address": "rediss://redis.db.svc:6379", "existingSecret": "redis", "username": "ray"}
VALUES = {"gcsFaultTolerance": {"mode": "redis", "redis": REDIS}}
CERTIFICATES = {"existingSecret": "certs", "certKey": "tls.crt", "keyKey": "tls.key"}
FILES = CHART / "files"
CLEANUP = "ray-ray-cluster-redis-cleanup"


def redis(**values: Any) -> list[Object]:
    """The objects of a release whose state is in a Redis, with these values of it."""
    return template({"gcsFaultTolerance": {"mode": "redis", "redis": {**REDIS, **values}}})


def rocksdb(**values: Any) -> list[Object]:
    """The objects of a release whose state is on a claim, with these values of it."""
    return template({"gcsFaultTolerance": {"mode": "rocksdb", "rocksdb": values}})


def cleanup(objects: list[Object]) -> Object:
    """The pod spec of the Job that removes keys."""
    return pod(find(objects, "Job", CLEANUP))


def test_nothing_about_redis_is_rendered_by_default(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        settings = [*env(deployment), *flags(deployment)]
        assert not [name for name in settings if "redis" in name.lower()]


def test_head_gets_address_and_user() -> None:
    deployment = head(template(VALUES))
    assert env(deployment)["RAY_REDIS_ADDRESS"] == "rediss://redis.db.svc:6379"
    assert flags(deployment)["redis-username"] == "ray"


def test_password_comes_from_the_secret_by_reference() -> None:
    deployment = head(template(VALUES))
    reference = {"secretKeyRef": {"name": "redis", "key": "redis-password"}}
    assert env(deployment)["RAY_REDIS_PASSWORD"] == reference
    assert flags(deployment)["redis-password"] == "$(RAY_REDIS_PASSWORD)"


def test_chart_makes_no_secret_beside_the_users() -> None:
    assert ("Secret", "ray-ray-cluster-redis") not in inventory(template(VALUES))


def test_chart_makes_a_secret_of_a_password() -> None:
    objects = redis(existingSecret="", password="pass: $(word)")  # noqa: S106
    name = "ray-ray-cluster-redis"
    assert find(objects, "Secret", name)["data"] == {"redis-password": "cGFzczogJCh3b3JkKQ=="}
    reference = {"secretKeyRef": {"name": name, "key": "redis-password"}}
    assert env(head(objects))["RAY_REDIS_PASSWORD"] == reference


def test_password_is_nowhere_but_in_secrets() -> None:
    objects = redis(existingSecret="", password="pass-word")  # noqa: S106
    assert not [obj for obj in objects if obj["kind"] != "Secret" and "pass-word" in str(obj)]


def test_head_finds_its_certificates() -> None:
    deployment = head(redis(tls={**CERTIFICATES, "serverName": "redis"}))
    assert volume(deployment, "redis-certificates")["secret"] == {"secretName": "certs"}
    (mount,) = (m for m in container(deployment)["volumeMounts"] if "redis" in m["name"])
    seen = {name: value for name, value in env(deployment).items() if "REDIS_C" in name}
    assert seen == {
        "RAY_REDIS_CA_CERT": f"{mount['mountPath']}/ca.crt",
        "RAY_REDIS_CLIENT_CERT": f"{mount['mountPath']}/tls.crt",
        "RAY_REDIS_CLIENT_KEY": f"{mount['mountPath']}/tls.key",
    }
    assert env(deployment)["RAY_REDIS_SERVER_NAME"] == "redis"


def test_image_may_know_the_authority() -> None:
    deployment = head(redis(tls={**CERTIFICATES, "caKey": ""}))
    assert "RAY_REDIS_CA_CERT" not in env(deployment)


def test_redis_without_password_gets_none() -> None:
    redis = {"mode": "redis", "redis": {"address": "redis:6379"}}
    deployment = head(template({"gcsFaultTolerance": redis}))
    assert "redis-password" not in flags(deployment)
    assert "RAY_REDIS_PASSWORD" not in env(deployment)


def test_workers_know_neither_redis_nor_its_password() -> None:
    deployment = worker(template(VALUES))
    assert "redis" not in str(pod(deployment)).lower()


def test_workers_wait_for_the_head() -> None:
    assert env(worker(template(VALUES)))["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"


def test_workers_find_the_gcs_by_an_address_that_outlives_the_head(defaults: list[Object]) -> None:
    address, _, port = flags(worker(defaults))["address"].rpartition(":")
    spec = find(defaults, "Service", address.partition(".")[0])["spec"]
    assert spec["type"] == "ClusterIP"
    assert "clusterIP" not in spec
    assert spec["publishNotReadyAddresses"] is True
    assert [str(entry["port"]) for entry in spec["ports"]] == [port]
    labels = head(defaults)["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()
    assert spec["selector"]["app.kubernetes.io/component"] == "head"


def namespace(release: str, kubernetes_namespace: str) -> str:
    """The Redis key prefix of a release."""
    rendered = template(VALUES, release=release, namespace=kubernetes_namespace)
    prefix: str = env(head(rendered))["RAY_external_storage_namespace"]
    return prefix


def test_tenants_share_a_redis_without_sharing_keys() -> None:
    assert namespace("ray", "team-a") == "team-a.ray-ray-cluster"


def test_hyphens_in_names_do_not_make_two_tenants_one() -> None:
    assert namespace("b-c", "a") != namespace("c", "a-b")


def test_storage_namespace_can_be_set() -> None:
    redis = {**REDIS, "storageNamespace": "old"}
    values = {"gcsFaultTolerance": {"mode": "redis", "redis": redis}}
    assert env(head(template(values)))["RAY_external_storage_namespace"] == "old"


def test_claim_for_rocksdb_is_for_one_pod_by_default() -> None:
    spec = find(rocksdb(), "PersistentVolumeClaim", "ray-ray-cluster-gcs")["spec"]
    assert spec == {
        "accessModes": ["ReadWriteOncePod"],
        "resources": {"requests": {"storage": "1Gi"}},
    }


def test_claim_for_rocksdb_can_be_another() -> None:
    objects = rocksdb(existingClaim="state")
    assert "PersistentVolumeClaim" not in {kind for kind, _ in inventory(objects)}
    claim = volume(head(objects), "gcs-storage")["persistentVolumeClaim"]
    assert claim == {"claimName": "state"}


def test_rocksdb_lies_on_the_claim() -> None:
    deployment = head(rocksdb())
    (mount,) = (m for m in container(deployment)["volumeMounts"] if m["name"] == "gcs-storage")
    assert env(deployment)["RAY_gcs_storage"] == "rocksdb"
    assert env(deployment)["RAY_gcs_storage_path"].startswith(f"{mount['mountPath']}/")


def test_workers_have_no_part_in_the_storage() -> None:
    deployment = worker(rocksdb())
    assert "gcs-storage" not in str(pod(deployment))
    assert env(deployment)["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"


def test_without_fault_tolerance_nobody_waits(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        assert command(deployment) == ["ray", "start"]


@pytest.mark.parametrize("objects", [redis(), rocksdb()], ids=["redis", "rocksdb"])
def test_only_the_head_waits_before_it_is_ray(objects: list[Object]) -> None:
    assert command(worker(objects)) == ["ray", "start"]
    words = command(head(objects))
    assert words[:2] == ["ray", (FILES / "wait_for_old_head.py").read_text()]
    assert words[-2:] == ["--", "start"]
    assert "ray-ray-cluster-head.ray.svc.cluster.local." in words


def test_head_waits_longer_than_a_head_may_take_to_leave() -> None:
    values = {**VALUES, "head": {"terminationGracePeriodSeconds": 90}}
    assert "100" in container(head(template(values)))["command"]


def wait(*options: str, host: str = "127.0.0.1", port: int = 1) -> subprocess.CompletedProcess[str]:
    """The end of a wait that may last for 1 s."""
    program = (FILES / "wait_for_old_head.py").read_text()
    return subprocess.run(
        [sys.executable, "-c", program, *options, host, str(port), "1"],
        capture_output=True,
        text=True,
    )


def test_head_starts_at_once_where_nobody_answers() -> None:
    assert wait().returncode == 0


def test_head_starts_where_dns_knows_nobody() -> None:
    assert wait(host="nobody.invalid").returncode == 0


def test_head_does_not_start_beside_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = wait(port=port)
    assert done.returncode == 1
    assert f"another head answers at 127.0.0.1, port {port}" in done.stderr


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A database in `path` that another process has open."""
    path.mkdir()
    with (path / "LOCK").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def test_head_does_not_start_on_a_locked_storage(tmp_path: Path) -> None:
    with locked(tmp_path / "kv"):
        done = wait(f"--rocksdb={tmp_path}")
    assert done.returncode == 1
    assert f"another head has locked {tmp_path}/kv/LOCK" in done.stderr


def test_head_starts_on_a_storage_that_another_has_left(tmp_path: Path) -> None:
    with locked(tmp_path / "kv"):
        pass
    assert wait(f"--rocksdb={tmp_path}").returncode == 0


def test_uninstall_removes_keys_after_everything_else() -> None:
    hooks = {
        kind: obj["metadata"]["annotations"]
        for obj in redis(existingSecret="", password="secret")  # noqa: S106
        if obj["metadata"]["name"] == CLEANUP
        for kind in [obj["kind"]]
    }
    assert hooks.keys() == {"Job", "Secret", "Service"}
    for kind, annotations in hooks.items():
        assert annotations["helm.sh/hook"] == "post-delete", kind
        policies = annotations["helm.sh/hook-delete-policy"].split(",")
        assert set(policies) == {"before-hook-creation", "hook-succeeded", "hook-failed"}, kind
        weight = int(annotations["helm.sh/hook-weight"])
        assert weight == (0 if kind == "Job" else -1), kind
    assert "hook-succeeded" in hooks["Job"]["helm.sh/hook-output-log-policy"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"gcsFaultTolerance": {"mode": "rocksdb"}},
        {"gcsFaultTolerance": {"mode": "redis", "redis": {**REDIS, "cleanup": {"enabled": False}}}},
    ],
    ids=["none", "rocksdb", "switched off"],
)
def test_uninstall_removes_no_keys_where_there_are_none_to_remove(values: Object) -> None:
    assert CLEANUP not in {name for _, name in inventory(template(values))}


def test_suspended_cluster_is_cleaned_up_too() -> None:
    assert ("Job", CLEANUP) in inventory(template({**VALUES, "suspend": True}))


def test_job_begins_without_the_secrets_of_the_release() -> None:
    spec = cleanup(redis(tls=CERTIFICATES))
    assert spec["volumes"][0]["secret"]["optional"] is True
    (password,) = (e for e in spec["containers"][0]["env"] if e["name"] == "RAY_REDIS_PASSWORD")
    assert password["valueFrom"]["secretKeyRef"]["optional"] is True


def test_job_has_an_account_that_is_still_there() -> None:
    assert "serviceAccountName" not in cleanup(template(VALUES))
    theirs = template({**VALUES, "serviceAccount": {"name": "theirs"}})
    assert cleanup(theirs)["serviceAccountName"] == "theirs"
    made = template({**VALUES, "serviceAccount": {"create": True}})
    assert cleanup(made)["serviceAccountName"] == CLEANUP
    account = find(made, "ServiceAccount", CLEANUP)
    assert account["metadata"]["annotations"]["helm.sh/hook"] == "post-delete"


def test_job_runs_where_the_head_may_run() -> None:
    where = {
        "nodeSelector": {"pool": "heads"},
        "tolerations": [{"key": "heads", "operator": "Exists"}],
        "priorityClassName": "heads",
    }
    secrets = {"image": {"pullSecrets": ["harbor"]}}
    spec = cleanup(template({**VALUES, "head": where, **secrets}))
    assert {key: spec[key] for key in where} == where
    assert spec["imagePullSecrets"] == [{"name": "harbor"}]


def test_job_is_stopped_before_helm_gives_up() -> None:
    assert find(template(VALUES), "Job", CLEANUP)["spec"]["activeDeadlineSeconds"] < 300


def test_job_sees_all_pods_of_the_release() -> None:
    objects = template(VALUES)
    selector = find(objects, "Service", CLEANUP)["spec"]["selector"].items()
    for component in ("head", "worker"):
        (deployment,) = of_component(objects, "Deployment", component)
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
    job = find(objects, "Job", CLEANUP)
    assert selector <= job["spec"]["template"]["metadata"]["labels"].items()


# Stands in for Ray's function, which is given the connection and what to remove.
RAY = """
import json, os
def cleanup_redis_storage(*arguments, **others):
    with open(os.environ["CALLED"], "w") as file:
        json.dump([arguments, others], file)
    os.write(2, os.environ["SAYS"].encode())
    if os.environ["SAYS"]:
        os.abort()
"""


def remove(
    tmp_path: Path, *, port: int, wait: str = "", says: str = "", username: str = ""
) -> tuple[str, Any]:
    """What the Job prints, and what it asked Ray to do; it must not fail."""
    package = tmp_path / "ray" / "_private"
    package.mkdir(parents=True)
    for module in (package.parent / "__init__.py", package / "__init__.py"):
        module.touch()
    (package / "gcs_utils.py").write_text(RAY)
    called = tmp_path / "called"
    program = (FILES / "remove_redis_keys.py").read_text().replace("_SECONDS = 10", "_SECONDS = 0")
    address = f"rediss://127.0.0.1:{port}"
    done = subprocess.run(
        [sys.executable, "-c", program, "--", address, username, "ns", "COMMAND", wait],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "CALLED": str(called),
            "SAYS": says,
            "RAY_REDIS_PASSWORD": "secret",
        },
    )
    assert done.returncode == 0, done
    return done.stdout, json.loads(called.read_text()) if called.exists() else None


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_keys_are_removed_by_rays_own_function(tmp_path: Path, port: int) -> None:
    said, called = remove(tmp_path, port=port)
    assert called == [["127.0.0.1", port, "secret", True, "ns"], {}]
    assert "Removed the keys RAYns@*" in said


def test_redis_user_is_told_to_ray(tmp_path: Path, port: int) -> None:
    _, called = remove(tmp_path, port=port, username="-x")
    assert called[1] == {"username": "-x"}


def test_refused_removal_is_a_warning_with_the_reason(tmp_path: Path, port: int) -> None:
    said, _ = remove(tmp_path, port=port, says="[1 C] bad: RedisError: WRONGPASS, no.\n0x1 main\n")
    assert "WARNING: the keys RAYns@* stay" in said
    assert "(WRONGPASS, no.). To remove them: COMMAND" in said


def test_redis_that_is_gone_is_a_warning(tmp_path: Path) -> None:
    said, called = remove(tmp_path, port=1)
    assert called is None
    assert "127.0.0.1:1 cannot be reached ([Errno 111] Connection refused)" in said
    assert said.endswith("To remove them: COMMAND\n")


def test_keys_of_a_head_that_stays_are_not_touched(tmp_path: Path, port: int) -> None:
    said, called = remove(tmp_path, port=port, wait="raise SystemExit(1)")
    assert called is None
    assert "stay: the head is still there" in said


@pytest.mark.parametrize(
    ("values", "command"),
    [
        (
            {"address": "redis:6379", "username": "", "existingSecret": ""},
            "redis-cli -h redis -p 6379 --scan --pattern 'RAYray.ray-ray-cluster@*' | "
            "xargs -r redis-cli -h redis -p 6379 unlink",
        ),
        (
            {"tls": CERTIFICATES, "storageNamespace": "mine"},
            "redis-cli -h redis.db.svc -p 6379 --user ray --tls --cacert ca.crt --cert tls.crt "
            "--key tls.key --scan --pattern 'RAYmine@*' | xargs -r redis-cli -h redis.db.svc "
            "-p 6379 --user ray --tls --cacert ca.crt --cert tls.crt --key tls.key unlink",
        ),
    ],
    ids=["plain", "tls"],
)
def test_command_to_remove_keys_by_hand_is_complete(values: Object, command: str) -> None:
    assert command in cleanup(redis(**values))["containers"][0]["args"]
