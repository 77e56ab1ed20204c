"""OpenSearch as kinds of store for the contract suite: one node, one without neural-search, three nodes.

They are of the run's version (`tests.clusters`). A run of the default version has one node of a later one beside them,
for the suites in which versions could differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dar_search.ports import Store
from dar_search.settings import load_settings
from dar_search.stores.node import DEFAULT_VERSION
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.clusters import VERSION, local_cluster, need

Opener = Callable[[], Store]
LATER = "opensearch_3_5"
OPENSEARCH_KINDS = (
    "opensearch",
    "opensearch_fused_in_client",
    "opensearch_three_nodes",
    *([LATER] if VERSION == DEFAULT_VERSION else []),
)
#: What a server itself computes: scores, their order, and what a filter lets through.
LATER_SUITES = ("test_search", "test_ties_and_pages", "test_filters", "test_keyword_leg")


def opener(address: str, **index: Any) -> Opener:
    """Opens handles of the store at an address; `index`: settings of its new indices."""
    return lambda: OpenSearchStore(address, load_settings(opensearch={"index": index}))


@pytest.fixture(scope="session")
def opensearch_opener(opensearch_url: str) -> Opener:
    """Score fusion on the server."""
    return opener(opensearch_url)


@pytest.fixture(scope="session")
def opensearch_fused_in_client_opener(opensearch_without_neural_search: str) -> Opener:
    """No `hybrid` query: score fusion in the client."""
    return opener(opensearch_without_neural_search)


@pytest.fixture(scope="session")
def opensearch_three_nodes_opener() -> Iterator[Opener]:
    """Two shards, each with a replica, so that nodes have to work together."""
    with local_cluster(3) as cluster:
        need(cluster.url, "knn")
        yield opener(",".join(cluster.urls), shards=2, replicas=1)


@pytest.fixture(scope="session")
def opensearch_3_5_opener() -> Iterator[Opener]:
    """One node of OpenSearch 3.5."""
    with local_cluster(version="3.5") as cluster:
        yield opener(cluster.url)
