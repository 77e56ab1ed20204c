"""Connections to clusters, as the tests of connections make them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException

from dar_search.errors import DarError
from dar_search.settings import Settings, load_settings
from dar_search.stores.opensearch.cluster.connection import connect, mapped
from tests.programs import found

nginx_needed = pytest.mark.skipif(
    found("nginx") is None and "DAR_TEST_REQUIRE_ALL" not in os.environ, reason="nginx is not installed"
)
FORBIDDEN = {
    "no_writing": ("~ ^/(_bulk|_aliases|[^_/][^/]*)$", "indices:admin/create"),
    "no_asking": ("~ ^/_nodes", "cluster:monitor/nodes/info"),
    "no_search": ("~ _search$", "indices:data/read/search"),
}


def settings(**access: Any) -> Settings:
    return load_settings(opensearch=access)


@contextmanager
def connected(address: str, **access: Any) -> Iterator[OpenSearch]:
    client = connect(address, settings(**access))
    try:
        yield client
    finally:
        client.close()


def refusal(address: str, **access: Any) -> DarError:
    """How a request through this connection fails."""
    with connected(address, **access) as client, pytest.raises(OpenSearchException) as caught:
        client.info()
    return mapped(caught.value)
