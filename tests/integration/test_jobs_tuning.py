"""An index's settings are others while a job loads it, and what they were afterwards, also after a crash."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dar_search.ingestion.jobs.data import HEAD, JobSpec
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.pipeline.tuning import put_back, tune
from dar_search.ingestion.pipeline.working import Worker
from dar_search.settings import load_settings
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.grid_encoder import GridEncoder
from tests.pictures import encoded, scene


@pytest.fixture
def store(opensearch_url: str) -> Iterator[OpenSearchStore]:
    opened = OpenSearchStore(opensearch_url, load_settings())
    yield opened
    opened.close()


@pytest.fixture
def name(store: OpenSearchStore) -> Iterator[str]:
    made = f"tuning-{uuid.uuid4().hex[:12]}"
    store.create(made, GridEncoder.provenance)
    yield made
    store.drop(made)


@pytest.fixture
def client(opensearch_url: str) -> Iterator[Any]:
    opened = connect(opensearch_url, load_settings())
    yield opened
    opened.close()


def settings_of(client: Any, name: str) -> tuple[str | None, str]:
    ((_, about),) = client.indices.get_settings(index=name).items()
    index = about["settings"]["index"]
    return index.get("refresh_interval"), index["number_of_replicas"]


@pytest.mark.parametrize("interval", [None, "7s"])
def test_settings_are_put_back_when_the_job_ends(
    store: OpenSearchStore, name: str, client: Any, tmp_path: Path, interval: str | None
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(scene(width=16, height=12), "PNG"))
    client.indices.put_settings(index=name, body={"index": {"refresh_interval": interval}})
    before = settings_of(client, name)
    during: list[tuple[str | None, str]] = []
    encoder = GridEncoder(lambda call: during.append(settings_of(client, name)))
    ledger = MemoryLedger()
    index = store.open(name)
    job = ledger.create(JobSpec(name, str(tmp_path), store.address))
    Worker(ledger, lambda job: index, encoder, processes=1, load_replicas=0).work(job.id, HEAD)
    assert ledger.job(job.id).state == "done"
    assert during == [("30100ms", "0")]
    assert settings_of(client, name) == before
    assert ledger.kept_settings() == {}


def test_after_a_crash_the_next_sweep_puts_them_back_once_no_job_needs_them(
    store: OpenSearchStore, name: str, client: Any
) -> None:
    before = settings_of(client, name)
    ledger = MemoryLedger()
    job = ledger.create(JobSpec(name, "/photos", store.address))
    for _ in range(2):  # the second one finds what the first one changed
        tune(ledger, store.address, store.open(name), replicas=None)
    assert settings_of(client, name)[0] == "30100ms"
    assert put_back(ledger, store.address, store.open) == []
    assert put_back(ledger, "http://another:9200", store.open) == []
    ledger.cancel(job.id)
    assert put_back(ledger, store.address, store.open) == [name]
    assert settings_of(client, name) == before
    assert put_back(ledger, store.address, store.open) == []


def test_settings_of_an_index_that_was_dropped_are_forgotten(store: OpenSearchStore) -> None:
    made = store.create(f"tuning-{uuid.uuid4().hex[:12]}", GridEncoder.provenance)
    ledger = MemoryLedger()
    tune(ledger, store.address, made)
    store.drop(made.name)
    assert put_back(ledger, store.address, store.open) == [made.name]
    assert ledger.kept_settings() == {}
