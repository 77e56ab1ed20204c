"""A ledger whose place is lost, or answers nonsense for a while: nobody who works with it ends, and all comes back."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from dar_search.errors import JobNotFound, StoreCorrupt, StoreError
from dar_search.ingestion.jobs.data import HEAD, JobSpec, Listed, Settled
from dar_search.ingestion.jobs.ledger.row_ledger import RowLedger
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.jobs.sweeping import Sweeper
from dar_search.settings import load_settings
from dar_search.stores.opensearch import ledger as opensearch_ledger
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.ledger import OpenSearchLedger
from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.forwarding_proxy import ForwardingProxy, answer

pytestmark = pytest.mark.timeout(120)
SPEC = JobSpec("photos", "/photos")
NONSENSE = (b"{}", b"[]", b"null", b'"yes"', b"7", b"<html><title>Sign in</title></html>",
            b'{"found": true, "hits": {"hits": [{"_source": []}]}, "_shards": {"failed": 0}, "items": []}')  # fmt: skip


class Astray(ForwardingProxy):
    """Before a real cluster; answers 200 with `says`, where that is set, whatever is asked."""

    says: bytes | None = None

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        if self.says is None:
            super()._handle(request, body)
        else:
            answer(request, 200, self.says)


@pytest.fixture
def name(opensearch_url: str) -> Iterator[str]:
    name = f"trouble-ledger-{uuid.uuid4().hex[:12]}"
    yield name
    with closing(connect(opensearch_url, load_settings())) as client:
        client.indices.delete(index=f"{name}*", ignore_unavailable=True)


def opened(url: str, name: str) -> OpenSearchLedger:
    return OpenSearchLedger(url, load_settings(opensearch={"retry_seconds": 0.1}), name)


def calls(ledger: Ledger, job: str) -> list[Callable[[], Any]]:
    return [
        ledger.draw,
        lambda: ledger.create(SPEC),
        lambda: ledger.job(job),
        ledger.jobs,
        lambda: ledger.claim(job, 1, "me"),
        lambda: ledger.open_shards(job),
        ledger.held,
        lambda: ledger.pause(job),
        lambda: ledger.failures(job),
        lambda: ledger.keep_settings("photos", {}),
        ledger.kept_settings,
    ]


def listed(ledger: Ledger, shards: int) -> str:
    job = ledger.create(SPEC).id
    head = ledger.claim(job, HEAD, "me")
    assert head is not None
    for number in range(shards):
        item = {"id": str(number), "key": f"file:///{number}", "path": ""}
        ledger.append(head, [Listed(str(number), item)], str(number), last=number == shards - 1)
    ledger.release(head)
    return job


def test_what_is_no_answer_is_an_error_that_passes_and_counts_for_nothing(
    opensearch_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch_ledger, "READ_PATIENCE", 0.0)
    with Astray(opensearch_url) as proxy, closing(opened(proxy.url, name)) as ledger:
        job = listed(ledger, 2)
        before = ledger.job(job)
        for says in NONSENSE:
            for call in calls(ledger, job):
                proxy.says = says
                with pytest.raises(StoreError) as raised:
                    call()
                assert not isinstance(raised.value, JobNotFound), says
        with closing(opened(proxy.url, name)) as fresh:
            for says in NONSENSE:
                proxy.says = says
                with pytest.raises(StoreError):
                    fresh.create(SPEC)
            proxy.says = None
            assert fresh.job(job) == ledger.job(job) == before
        assert [one.id for one in ledger.jobs()] == [job]
        lease = ledger.claim(job, 1, "me")
        assert lease is not None
        assert ledger.record(lease, [Settled(0, "indexed")])


def test_a_sweeper_goes_on_after_nonsense_and_said_it_once(
    opensearch_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[tuple[str, int]] = []
    done, asked = threading.Event(), threading.Semaphore(0)

    def send(job: str, shard: int) -> None:
        taken.append((job, shard))
        done.set()

    class Counted(Astray):
        def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
            super()._handle(request, body)
            asked.release()

    with Counted(opensearch_url) as proxy, closing(opened(proxy.url, name)) as ledger:
        job = listed(ledger, 1)
        proxy.says = b"[]"
        while asked.acquire(blocking=False):
            pass
        sweeper = Sweeper(ledger, send, interval=0.01)
        sweeper.start()
        try:
            for _ in range(10):
                assert asked.acquire(timeout=30)
            proxy.says = None
            assert done.wait(30)
        finally:
            sweeper.stop()
    assert taken[0] == (job, 1)
    said = [record.getMessage() for record in caplog.records if record.name.endswith("sweeping")]
    assert len(said) == 2
    assert said[1] == "That is over: The sweeper cannot use the ledger."


def test_an_index_that_is_removed_is_made_anew_with_its_mapping(opensearch_url: str, name: str) -> None:
    with (
        closing(opened(opensearch_url, name)) as ledger,
        closing(opened(opensearch_url, name)) as other,
        closing(connect(opensearch_url, load_settings())) as client,
    ):
        lost = listed(ledger, 1)
        last = ledger.draw()
        lease = ledger.claim(lost, 1, "me")
        assert other.job(lost).items == 1
        mapping = client.indices.get_mapping(index=name)
        client.indices.delete(index=f"{name}-000001")
        assert (ledger.jobs(), ledger.held(), ledger.kept_settings()) == ([], [], {})
        for call in (lambda: ledger.job(lost), lambda: other.pause(lost), lambda: ledger.claim(lost, 1, "me")):
            with pytest.raises(JobNotFound):
                call()
        assert lease is not None
        with pytest.raises(StoreError):
            ledger.record(lease, [Settled(0, "indexed")])
        assert not client.indices.exists(index=name)
        assert ledger.draw() > last
        assert client.indices.get_mapping(index=name) == mapping
        made = other.create(SPEC)
        assert [one.id for one in ledger.jobs()] == [made.id]
        client.indices.delete(index=f"{name}-000001")
        again = other.create(SPEC)  # the first that this one hears of it is a write
        assert client.indices.get_mapping(index=name) == mapping
        assert ledger.job(again.id) == again


def test_a_closed_or_blocked_index_and_a_lost_alias_are_named_and_pass(opensearch_url: str, name: str) -> None:
    index = f"{name}-000001"
    with closing(opened(opensearch_url, name)) as ledger, closing(connect(opensearch_url, load_settings())) as client:
        job = listed(ledger, 1)
        client.indices.close(index=index)
        for call in calls(ledger, job):
            with pytest.raises(StoreError, match="closed"):
                call()
        client.indices.open(index=index)
        client.cluster.health(index=index, wait_for_status="yellow")
        client.indices.delete_alias(index=index, name=name)
        with pytest.raises(StoreCorrupt, match="no alias"):
            ledger.draw()
        client.indices.put_alias(index=index, name=name, body={"is_write_index": True})
        assert [one.id for one in ledger.jobs()] == [job]
        assert ledger.pause(job).state == "paused"


def test_many_that_make_a_ledger_at_once_make_one(opensearch_url: str, name: str) -> None:
    ledgers = [opened(opensearch_url, name) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = {job.id for job in pool.map(lambda ledger: ledger.create(SPEC), ledgers)}
    assert {job.id for job in ledgers[0].jobs()} == made
    assert len(made) == 8
    for ledger in ledgers:
        ledger.close()


def test_all_jobs_are_all_however_many_pages_they_fill(
    opensearch_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch_ledger, "_PAGE", 2)
    with closing(opened(opensearch_url, name)) as ledger:
        made = [ledger.create(SPEC).id for _ in range(5)]
        assert [job.id for job in ledger.jobs(limit=None)] == made[::-1]
        assert [job.id for job in ledger.jobs(limit=3)] == made[:1:-1]


@pytest.mark.parametrize("what", ["removed", "replaced", "emptied", "spoiled"])
def test_a_file_that_is_lost_while_it_is_open_is_made_anew_or_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / "ledger.db"
    ledger: RowLedger = SQLiteLedger(path)
    lost, last = listed(ledger, 1), ledger.draw()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the log alone is not lost with the file
    found: list[str] = []
    if what in ("emptied", "spoiled"):
        os.truncate(path, 0 if what == "emptied" else 20_000)
        with pytest.raises(StoreError):
            ledger.create(SPEC)
    for one in tmp_path.iterdir():  # as the hint says
        one.unlink()
    if what == "replaced":
        with closing(SQLiteLedger(tmp_path / "other.db")) as other:
            found.append(other.create(SPEC).id)
        (tmp_path / "other.db").replace(path)
    assert [job.id for job in ledger.jobs()] == found
    with pytest.raises(JobNotFound):
        ledger.job(lost)
    assert ledger.draw() > last
    made = ledger.create(SPEC)
    assert ledger.job(made.id) == made
    ledger.close()


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    with closing(SQLiteLedger(tmp_path / "ledger.db")) as ledger:
        job = listed(ledger, 1)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
            connection.execute("UPDATE ledger SET body = x'00' WHERE kind = 'job'")
        with pytest.raises(StoreCorrupt, match="damaged"):
            ledger.job(job)
