"""What the tests of connections to clusters stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_connections import FORBIDDEN
from tests.nginx import Doors, nginx_before


@pytest.fixture
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("OPENSEARCH_URL", "OPENSEARCH_USERNAME", "OPENSEARCH_PASSWORD", "DAR_CONFIG", "DAR_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def doors(opensearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A node behind nginx, which has a door for each way of signing in, and one for each action that it forbids."""
    with nginx_before(opensearch_url, tmp_path_factory.mktemp("nginx"), FORBIDDEN) as doors:
        yield doors
