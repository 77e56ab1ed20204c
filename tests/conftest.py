"""Fixtures that all tests may use. A cluster starts when the first test asks for it, and serves the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dar_search.stores.node import LocalCluster
from tests.clusters import any_cluster, local_cluster, need

_CLUSTERS = {"bare_opensearch_url", "opensearch_without_neural_search", "opensearch_without_knn", "three_nodes"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs on a cluster, so that `make test-servers` can run it on each version."""
    for item in items:
        if isinstance(item, pytest.Function):
            chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
            kinds = (str(value).startswith("opensearch") for value in chosen)
            if _CLUSTERS.intersection(item.fixturenames) or any(kinds):
                item.add_marker(pytest.mark.cluster)


# Nothing can be fetched here. What is taken where none is named: tests/e2e/test_cli_encoder.py.
os.environ.setdefault("DAR_ENCODER", "demo")
# No command of a test leaves a process behind (but those of tests/integration/test_models_warm.py).
os.environ.setdefault("DAR_MODEL_PROCESS__WARM_MINUTES", "0")


@pytest.fixture(scope="session")
def bare_opensearch_url() -> Iterator[str]:
    """A cluster of the run's version, whatever plugins that has. Tests share it: each uses index names of its own."""
    with any_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def opensearch_url(bare_opensearch_url: str) -> str:
    """The same, for tests that need k-NN."""
    return need(bare_opensearch_url, "knn")


@pytest.fixture(scope="session")
def opensearch_with_neural_search(opensearch_url: str) -> str:
    """The same, for tests that need `hybrid` too."""
    return need(opensearch_url, "neural-search")


@pytest.fixture(scope="session")
def opensearch_without_neural_search() -> Iterator[str]:
    """A node that has k-NN but no `hybrid`."""
    with local_cluster(without=("neural-search",)) as cluster:
        yield need(cluster.url, "knn")


@pytest.fixture(scope="session")
def opensearch_without_knn() -> Iterator[str]:
    """A node that has no k-NN, and so no neural-search either."""
    with local_cluster(without=("knn",)) as cluster:
        yield cluster.url


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[LocalCluster]:
    """A cluster of three nodes with k-NN that a test may kill and restart; it leaves all three running."""
    with local_cluster(3) as cluster:
        need(cluster.url, "knn")
        yield cluster
