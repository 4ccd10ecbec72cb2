"""Memory: Ray's own numbers, /dev/shm and the pod's limit agree."""

import math
from fractions import Fraction

import pytest

from harness.helm import template

from .objects import Object, container, flags, head, volume, worker

Mi, Gi = 2**20, 2**30


def rendered(store: str | float, limit: str | float = "8Gi") -> Object:
    """The default group with this object store and memory limit."""
    memory = {"requests": {"memory": limit}, "limits": {"memory": limit}}
    return worker(template({"worker": {"objectStoreMemory": store, "resources": memory}}))


@pytest.mark.parametrize(
    ("quantity", "size"),
    [
        ("134217728", 128 * Mi),
        (134217728, 128 * Mi),
        ("134217728000m", 128 * Mi),
        ("134217727001m", 128 * Mi),  # fractions of a byte are rounded up
        ("200000k", 200_000_000),
        ("200M", 200_000_000),
        ("1G", 1_000_000_000),
        ("0.5G", 500_000_000),
        (".5G", 500_000_000),
        ("1.G", 1_000_000_000),
        ("1e9", 1_000_000_000),
        ("1E9", 1_000_000_000),
        ("12e+8", 1_200_000_000),
        ("131072Ki", 128 * Mi),
        ("512Mi", 512 * Mi),
        ("1Gi", Gi),
        ("1.5Gi", 3 * Gi // 2),
        ("0.1Gi", math.ceil(Fraction(1, 10) * Gi)),
    ],
)
def test_quantity_becomes_bytes(quantity: str | float, size: int) -> None:
    assert int(flags(rendered(quantity))["object-store-memory"]) == size


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ("1Ti", 2**40),
        ("1T", 10**12),
        ("1Pi", 2**50),
        ("1P", 10**15),
        ("1Ei", 2**60),
        ("1E", 10**18),
    ],
)
def test_large_limit_becomes_bytes(limit: str, size: int) -> None:
    deployment = rendered("1Gi", limit)
    assert int(flags(deployment)["memory"]) == size - Gi


def test_percentage_is_taken_of_the_limit() -> None:
    assert int(flags(rendered("25%", "8Gi"))["object-store-memory"]) == 2 * Gi
    assert int(flags(rendered("12.5%", "8Gi"))["object-store-memory"]) == Gi


def test_tasks_get_the_limit_without_the_object_store() -> None:
    rendered_flags = flags(rendered("3Gi", "8Gi"))
    total = int(rendered_flags["memory"]) + int(rendered_flags["object-store-memory"])
    assert total == 8 * Gi


@pytest.mark.parametrize("store", ["75Mi", "100M", "25%", "1Gi", "3Gi"])
def test_shared_memory_is_a_tenth_larger_than_the_object_store(store: str) -> None:
    deployment = rendered(store)
    size = int(flags(deployment)["object-store-memory"])
    shm = volume(deployment, "shm")["emptyDir"]
    assert shm["medium"] == "Memory"
    assert int(shm["sizeLimit"].removesuffix("Mi")) == math.ceil(Fraction(11, 10) * size / Mi)


def test_shared_memory_is_mounted_where_ray_looks_for_it(defaults: list[Object]) -> None:
    for deployment in (head(defaults), worker(defaults)):
        mount = {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108
        assert mount in container(deployment)["volumeMounts"]


def test_two_idle_workers_with_full_object_stores_scale_in(defaults: list[Object]) -> None:
    idle = 290_000_000  # an idle worker of Ray 2.60
    deployment = worker(defaults)
    store = int(flags(deployment)["object-store-memory"])
    hpa = worker(defaults, kind="HorizontalPodAutoscaler")
    target = hpa["spec"]["metrics"][1]["resource"]["target"]["averageUtilization"]
    request = container(deployment)["resources"]["requests"]["memory"]
    assert request == "2Gi"
    assert idle + store <= target / 100 * 2 * Gi / 2
