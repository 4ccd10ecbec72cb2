"""Head fault tolerance with an external Redis."""

from harness.helm import template

from .objects import Object, deployments, env, flags, head, inventory, pod, worker

REDIS = {"address": "rediss://redis.db.svc:6379", "existingSecret": "redis", "username": "ray"}
VALUES = {"gcsFaultTolerance": {"mode": "redis", "redis": REDIS}}


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


def test_chart_makes_no_secret() -> None:
    assert "Secret" not in {kind for kind, _ in inventory(template(VALUES))}


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
