"""Jobs through trouble with a real cluster: it refuses, it is blocked, a mapping conflicts. Nothing is lost.

The ledger is on the same cluster.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dar_search.ingestion.jobs.data import Job, JobSpec
from dar_search.ingestion.jobs.sweeping import Sweeper
from dar_search.ingestion.pipeline.working import Worker
from dar_search.settings import Settings, load_settings
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.ledger import OpenSearchLedger
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.faulty_proxy import FaultyProxy
from tests.grid_encoder import GridEncoder
from tests.pictures import COLOURS, encoded, scene

pytestmark = pytest.mark.timeout(180)
PICTURES = 100
CONFLICTING = 1


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file of pictures, of which CONFLICTING have the caption "conflict"."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number in range(PICTURES):
        colours = tuple((r, (g + number) % 256, (b + number * 7) % 256) for r, g, b in COLOURS)
        (folder / f"{number:03}.png").write_bytes(encoded(scene(colours, 16, 12), "PNG"))  # type: ignore[arg-type]
        rows.append({"path": f"{number:03}.png", "id": str(number), "caption": "a house"})
    rows[41]["caption"] = "conflict"
    path = folder / "list.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


class Site:
    """An index and a ledger on a cluster, and a worker with its sweeper in threads."""

    def __init__(self, url: str, listing: Path) -> None:
        self.name = f"trouble-{uuid.uuid4().hex[:12]}"
        self.settings: Settings = load_settings(
            opensearch={"bulk_megabytes": 0.02, "retry_seconds": 0.3, "timeout": 10}
        )
        self.url = url
        self.client = connect(url, self.settings)
        self.store = OpenSearchStore(url, self.settings)
        self.index = self.store.create(self.name, GridEncoder.provenance)
        self.ledger = OpenSearchLedger(url, self.settings, f"{self.name}-ledger")
        self.encoder = GridEncoder()
        self.job = self.ledger.create(JobSpec(self.name, str(listing))).id

    @contextmanager
    def working(self, url: str | None = None) -> Iterator[None]:
        """A worker that reaches the cluster at `url`, until the block ends."""
        ledger = OpenSearchLedger(url or self.url, self.settings, f"{self.name}-ledger")
        store = OpenSearchStore(url or self.url, self.settings)
        worker = Worker(
            ledger,
            lambda job: store.open(self.name, GridEncoder.provenance),
            self.encoder,
            batch_size=8,
            processes=1,
            beat_seconds=0.3,
            first_wait=0.1,
            shard_size=40,
        )
        sweeper = Sweeper(
            ledger,
            worker.work,
            lease_seconds=5,
            resend_seconds=0,
            resume_seconds=0.5,
            takes=lambda job: job.id == self.job,
        )
        ended = threading.Event()

        def run() -> None:
            from dar_search.errors import StoreError

            while not ended.wait(0.1):
                try:
                    sweeper.sweep()
                except StoreError:
                    continue

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            worker.stop()
            thread.join()
            ledger.close()
            store.close()

    def until(self, holds: Callable[[Job], bool]) -> Job:
        """The job, once this holds of it; the test's time limit ends the waiting."""
        while not holds(job := self.ledger.job(self.job)):
            time.sleep(0.05)
        return job

    def assert_in(self, count: int) -> None:
        assert self.index.count() == count
        assert len(set(self.index.ids())) == count

    def block(self, value: bool | None) -> None:
        """What the flood-stage watermark does to the indices of a full disk."""
        body = {"index": {"blocks": {"read_only_allow_delete": value}}}
        for name in (self.name, f"{self.name}-ledger"):
            self.client.indices.put_settings(index=name, body=body)

    def close(self) -> None:
        self.client.indices.delete(index=f"{self.name}-*")
        self.store.close()
        self.ledger.close()
        self.client.close()


@pytest.fixture
def site(opensearch_url: str, listing: Path) -> Iterator[Site]:
    made = Site(opensearch_url, listing)
    yield made
    made.close()


def test_items_and_whole_requests_that_are_refused_for_a_while_all_get_in(site: Site) -> None:
    faults = ["half", "busy", "third", "away", "lost", "third", "busy", "third", "half", "away", "third", "lost"]
    with FaultyProxy(site.url, faults) as proxy, site.working(proxy.url):
        job = site.until(lambda job: job.state == "done")
    assert (job.indexed, job.failed, dict(job.codes)) == (PICTURES, 0, {})
    site.assert_in(PICTURES)
    assert len(proxy.bulks) > len(faults), "not every fault was met"


class Said(logging.Handler):
    """Waits until a logger has said something."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.said = threading.Event()
        self._logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.set()

    def __enter__(self) -> Said:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


def test_a_full_disk_pauses_the_job_which_goes_on_by_itself_and_encodes_nothing_twice(site: Site) -> None:
    site.encoder.before_call = lambda call: site.block(True) if call == 4 else None
    with site.working(), Said("dar_search.ingestion.jobs.patience") as pausing:
        # The ledger is on the blocked cluster: it can take neither results nor the pause, so the log says it.
        assert pausing.said.wait(60)
        assert site.ledger.job(site.job).settled < PICTURES
        site.block(None)
        job = site.until(lambda job: job.state == "done")
    assert (job.indexed, job.failed) == (PICTURES, 0)
    site.assert_in(PICTURES)
    assert site.encoder.pictures == PICTURES


def test_a_blocked_index_pauses_the_job_with_the_reason(site: Site) -> None:
    body = {"index": {"blocks": {"read_only_allow_delete": True}}}
    site.client.indices.put_settings(index=site.name, body=body)
    with site.working():
        paused = site.until(lambda job: job.state == "paused")
        assert paused.automatic
        assert "read-only" in paused.reason or "block" in paused.reason
        site.client.indices.put_settings(index=site.name, body={"index": {"blocks": {"read_only_allow_delete": None}}})
        job = site.until(lambda job: job.state == "done")
    assert (job.indexed, job.failed, job.reason) == (PICTURES, 0, "")
    site.assert_in(PICTURES)
    assert site.encoder.pictures == PICTURES


def test_exactly_what_conflicts_with_the_mapping_fails_and_retry_after_the_mend_empties_the_list(site: Site) -> None:
    """A pipeline of the index gives some documents a width that is no number: a mapper_parsing_exception for each."""
    pipeline = f"{site.name}-wide"
    script = {"set": {"if": "ctx.caption == 'conflict'", "field": "width", "value": "wide"}}
    site.client.ingest.put_pipeline(id=pipeline, body={"processors": [script]})
    try:
        site.client.indices.put_settings(index=site.name, body={"index": {"final_pipeline": pipeline}})
        with site.working():
            job = site.until(lambda job: job.state == "done")
            assert (job.indexed, job.failed, dict(job.codes)) == (PICTURES - CONFLICTING, CONFLICTING, {"refused": 1})
            (failure,) = site.ledger.failures(site.job)
            assert failure.failure.source.endswith("041.png")
            assert "mapper_parsing_exception" in failure.failure.message
            site.client.indices.put_settings(index=site.name, body={"index": {"final_pipeline": "_none"}})
            assert site.ledger.retry(site.job) == CONFLICTING
            job = site.until(lambda job: job.state == "done")
    finally:
        site.client.indices.put_settings(index=site.name, body={"index": {"final_pipeline": "_none"}})
        site.client.ingest.delete_pipeline(id=pipeline)
    assert (job.indexed, job.failed, site.ledger.failures(site.job)) == (PICTURES, 0, [])
    site.assert_in(PICTURES)
    assert site.encoder.pictures == PICTURES + CONFLICTING
