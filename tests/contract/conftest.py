"""The stores that the contract suite runs against, and the indices that its tests use.

A kind of store is a session fixture named KIND_opener: a function that opens another handle of one and the same store.
Tests know the ports only, and give their indices names of their own, so that a kind may be a server that is shared.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dar_search.data import Provenance
from dar_search.ports import ImageIndex, Store
from dar_search.stores.sqlite.store import SQLiteStore
from tests.contract.gallery import DIMENSION, PROVENANCE, gallery_records
from tests.contract.ledgers import job, ledger, open_ledger, opensearch_ledger_opener  # noqa: F401  # fixtures
from tests.contract.opensearch_kinds import (
    LATER,
    LATER_SUITES,
    OPENSEARCH_KINDS,
    opensearch_3_5_opener,  # noqa: F401  # fixtures
    opensearch_fused_in_client_opener,  # noqa: F401
    opensearch_opener,  # noqa: F401
    opensearch_three_nodes_opener,  # noqa: F401
)

KINDS = ("sqlite", *OPENSEARCH_KINDS)
Opener = Callable[[], Store]
NewIndex = Callable[..., ImageIndex]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The later version beside the run's own is for some suites."""
    left_out = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("open_store") == LATER
        and item.path.stem not in LATER_SUITES
    ]
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def sqlite_opener(tmp_path_factory: pytest.TempPathFactory) -> Opener:
    path: Path = tmp_path_factory.mktemp("store") / "contract.db"
    return lambda: SQLiteStore(path)


@pytest.fixture(scope="session", params=KINDS)
def open_store(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens another handle of the store; all are closed at the end."""
    opener: Opener = request.getfixturevalue(f"{request.param}_opener")
    with ExitStack() as opened:

        def open_another() -> Store:
            store = opener()
            opened.callback(store.close)
            return store

        yield open_another


@pytest.fixture(scope="session")
def store(open_store: Opener) -> Store:
    return open_store()


@pytest.fixture
def names(store: Store) -> Iterator[Callable[[], str]]:
    """Makes up names of indices; what has such a name at the end is dropped."""
    made: list[str] = []

    def new_name() -> str:
        made.append(f"contract-{uuid.uuid4().hex[:12]}")
        return made[-1]

    yield new_name
    for name in set(made) & set(store.names()):
        store.drop(name)


@pytest.fixture
def new_index(store: Store, names: Callable[[], str]) -> NewIndex:
    """Makes an empty index of `dimension` dimensions."""

    def make(dimension: int = DIMENSION) -> ImageIndex:
        return store.create(names(), Provenance(PROVENANCE.encoder, PROVENANCE.revision, dimension, "crop 8x8 bicubic"))

    return make


@pytest.fixture
def index(new_index: NewIndex) -> ImageIndex:
    """An empty index."""
    return new_index()


@pytest.fixture(scope="session")
def gallery(store: Store) -> Iterator[ImageIndex]:
    """An index of `gallery_records()`, which tests only read."""
    made = store.create(f"contract-gallery-{uuid.uuid4().hex[:12]}", PROVENANCE)
    assert made.write(gallery_records()) == []
    made.refresh()
    yield made
    store.drop(made.name)
