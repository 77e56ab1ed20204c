"""The ledgers that the contract suite runs against, and what its tests do with them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dar_search.data import Failure
from dar_search.ingestion.jobs.data import HEAD, Job, JobSpec, Lease, Listed, Settled
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.settings import load_settings
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.ledger import OpenSearchLedger
from dar_search.stores.sqlite.ledger import SQLiteLedger

KINDS = ("memory", "sqlite", "opensearch")
SPEC = JobSpec("photos", "/photos", "sqlite:x", {"follow_links": True}, prune=True)
BAD = Failure("file:///bad.jpg", "unreadable_folder", "It cannot be listed.")


@pytest.fixture(params=KINDS)
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens another handle of one and the same ledger."""
    if request.param == "memory":
        kept = MemoryLedger()
        yield lambda: kept
        return
    if request.param == "opensearch":
        opener = request.getfixturevalue("opensearch_ledger_opener")
        yield opener
        return
    opened: list[SQLiteLedger] = []

    def opener() -> Ledger:
        opened.append(SQLiteLedger(tmp_path / "ledger.db"))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.close()


@pytest.fixture
def opensearch_ledger_opener(bare_opensearch_url: str) -> Iterator[Callable[[], Ledger]]:
    name = f"contract-ledger-{uuid.uuid4().hex[:12]}"
    opened: list[OpenSearchLedger] = []

    def opener() -> Ledger:
        opened.append(OpenSearchLedger(bare_opensearch_url, load_settings(), name))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.close()
    client = connect(bare_opensearch_url, load_settings())
    client.indices.delete(index=f"{name}-*")
    client.close()


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()


@pytest.fixture
def job(ledger: Ledger) -> Job:
    return ledger.create(SPEC)


def listed(*names: str) -> list[Listed]:
    return [Listed(name, {"id": name, "key": f"file:///{name}", "path": name}) for name in names]


def claim(ledger: Ledger, job: Job, shard: int, holder: str = "me") -> Lease:
    lease = ledger.claim(job.id, shard, holder)
    assert lease is not None
    return lease


def fill(ledger: Ledger, job: Job, *shards: list[Listed]) -> None:
    """Lists these shards, and then nothing more."""
    head = claim(ledger, job, HEAD)
    for number, items in enumerate(shards, 1):
        assert ledger.append(head, items, str(number), last=False) == number
    assert ledger.append(head, [], str(len(shards)), last=True) == 0
    ledger.release(head)


def failed(position: int, code: str = "empty_file") -> Settled:
    return Settled(position, "failed", Failure(f"file:///{position}", code, "It is empty."))
