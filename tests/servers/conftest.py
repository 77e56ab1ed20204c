"""Tests of `make test-servers` alone: they start several versions, and take minutes."""

from __future__ import annotations

import os

import pytest

SWITCH = "DAR_TEST_SERVERS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(SWITCH) != "1":
        for item in items:
            if "tests/servers/" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason="`make test-servers` runs it"))
