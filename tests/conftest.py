"""What every test run has: scenario ids and the commit in the JUnit report."""

import pytest
from _pytest.junitxml import xml_key

from harness import report


def pytest_sessionstart(session: pytest.Session) -> None:
    """Write the commit into the report; only xdist's controller has one."""
    if xml := session.config.stash.get(xml_key, None):
        xml.add_global_property("commit", report.commit())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write each scenario's id as a property of its test case."""
    for item in items:
        for marker in item.iter_markers("scenario"):
            item.user_properties.append(("scenario", marker.args[0]))
