"""Fixtures of the render tests."""

import pytest

from harness.helm import template

from .objects import Object


@pytest.fixture(scope="session")
def defaults() -> list[Object]:
    """The objects of a release "ray" in namespace "ray" with default values. Do not change them."""
    return template()
