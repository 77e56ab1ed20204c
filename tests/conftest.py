"""Fixtures that all tests may use. A cluster starts when the first test asks for it, and serves the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dar_search.stores.node import LocalCluster
from tests.clusters import any_cluster, local_cluster

# Nothing can be fetched here. What is taken where none is named: tests/e2e/test_cli_encoder.py.
os.environ.setdefault("DAR_ENCODER", "demo")
# No command of a test leaves a process behind (but those of tests/integration/test_models_warm.py).
os.environ.setdefault("DAR_MODEL_PROCESS__WARM_MINUTES", "0")


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """A cluster with k-NN and neural-search. Tests share it: each uses index names of its own."""
    with any_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def opensearch_without_neural_search() -> Iterator[str]:
    """A node that has k-NN but no `hybrid`."""
    with local_cluster(without=("neural-search",)) as cluster:
        yield cluster.url


@pytest.fixture(scope="session")
def opensearch_without_knn() -> Iterator[str]:
    """A node that has no k-NN, and so no neural-search either."""
    with local_cluster(without=("knn",)) as cluster:
        yield cluster.url


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[LocalCluster]:
    """A cluster of three nodes that a test may kill and restart; it leaves all three running."""
    with local_cluster(3) as cluster:
        yield cluster
