"""One worker, several jobs: one that is paused, cancelled, refused by its index or left by its source holds up none."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dar_search.errors import StoreUnavailable
from dar_search.ingestion.jobs.data import HEAD, Job, JobSpec
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.pipeline import supply, working
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.pipeline.working import Worker, job_source
from dar_search.ingestion.sources.source import Source
from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import Wrapped, fill

pytestmark = pytest.mark.timeout(60)
PICTURES = 90


class Place:
    """A ledger, two jobs, and what a worker needs."""

    def __init__(self, folder: Path) -> None:
        self.ledger = SQLiteLedger(folder / "ledger.db")
        self.index = open_index(folder / "store.db")
        self.jobs = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            fill(folder / name, PICTURES)
            self.jobs.append(self.ledger.create(JobSpec(name, str(folder / name))).id)

    def worker(self, encoder: GridEncoder | None = None, **options: Any) -> Worker:
        given: dict[str, Any] = {"open_index": lambda job: self.index, "batch_size": 4, "processes": 1, "shard_size": 6}
        return Worker(self.ledger, encoder=encoder or GridEncoder(), first_wait=0.01, **given | options)

    def list_all(self, job: str) -> None:
        leases = Leases(self.ledger)
        head = leases.claim(job, HEAD)
        assert head is not None
        lister = Lister(self.ledger, job_source(self.ledger.job(job)), size=6)
        while not lister.list_shard(head):
            pass
        leases.close()

    def states(self) -> list[tuple[str, int]]:
        found = [self.ledger.job(job) for job in self.jobs]
        return [(job.state, job.failed) for job in found]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.ledger.close()


@pytest.mark.parametrize("end", ["pause", "cancel"])
def test_a_job_that_is_paused_or_cancelled_with_open_shards_lets_its_worker_go(place: Place, end: str) -> None:
    first, second = place.jobs
    place.list_all(first)
    worker = place.worker(GridEncoder(lambda call: getattr(place.ledger, end)(first) if call == 0 else None))
    worker.work(first)
    assert place.ledger.open_shards(first)
    assert place.ledger.held() == []
    worker.work(second)
    assert place.states() == [("paused" if end == "pause" else "cancelled", 0), ("done", 0)]


def test_a_job_whose_index_takes_nothing_makes_room_for_others_and_is_done_after_the_mend(place: Place) -> None:
    first, second = place.jobs
    refusing = threading.Event()
    refusing.set()

    def write(*arguments: Any, **options: Any) -> Any:
        if refusing.is_set():
            raise StoreUnavailable("The index is read-only.")
        return place.index.write(*arguments, **options)

    def opened(job: Job) -> Any:
        return Wrapped(place.index, write=write) if job.id == first else place.index  # type: ignore[arg-type]

    worker = place.worker(open_index=opened, alone_seconds=0.0)
    worker.work(first)
    assert place.ledger.job(first).state == "paused"
    assert place.ledger.job(first).automatic
    worker.work(second)
    refusing.clear()
    place.ledger.resume(first, automatic=True)
    worker.work(first)
    assert place.states() == [("done", 0), ("done", 0)]


class Silent:
    """A source that says nothing more after its first pictures, until it is let go."""

    def __init__(self, source: Source, let_go: threading.Event, silent: Callable[[], object]) -> None:
        self.origin, self.count = source.origin, source.count
        self._source, self._let_go, self._silent = source, let_go, silent

    def items(self, *arguments: Any) -> Iterator[Any]:
        for number, item in enumerate(self._source.items(*arguments)):
            if number == 10 and not self._let_go.is_set():
                self._silent()
                self._let_go.wait()
            yield item


@pytest.mark.parametrize("end", ["others wait", "paused", "worker ends"])
def test_a_source_that_is_never_open_lets_its_worker_go(
    place: Place, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(supply, "STOP_SECONDS", 0.2)
    first, second = place.jobs
    let_go = threading.Event()

    def opened(job: Job) -> Source:
        if job.id == first and not let_go.is_set():
            if end == "paused":
                place.ledger.pause(first)
            if end == "worker ends":
                worker.stop()
            let_go.wait()
        return job_source(job)

    worker = place.worker(open_pictures=opened, source_seconds=0.1 if end == "others wait" else 600.0)
    worker.work(first)
    found = place.ledger.job(first)
    assert (found.state, found.automatic) == {
        "others wait": ("paused", True), "paused": ("paused", False), "worker ends": ("running", False)
    }[end]  # fmt: skip
    assert ("does not answer" in found.reason) == (end == "others wait")
    if end != "worker ends":
        worker.work(second)
        assert place.ledger.job(second).state == "done"
    before = [thread for thread in threading.enumerate() if thread.name == "dar-ingest-opening"]
    let_go.set()
    for thread in before:
        thread.join(30)
    place.ledger.resume(first)
    place.worker(open_pictures=opened).work(first)
    assert place.ledger.job(first).indexed == PICTURES


def test_a_worker_that_ends_blames_no_source_and_asks_seldom_whether_others_wait(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(working, "_OTHERS_SECONDS", 600.0)
    first, second = place.jobs
    place.ledger.cancel(second)
    let_go, asked, jobs = threading.Event(), [], place.ledger.jobs

    def look(**options: Any) -> Any:
        asked.extend([options] if options.get("running") else [])
        return jobs(**options)

    monkeypatch.setattr(place.ledger, "jobs", look)
    begun = threading.Event()
    worker = place.worker(open_pictures=lambda job: Silent(job_source(job), let_go, begun.set), source_seconds=0.0)
    work = threading.Thread(target=worker.work, args=(first,))
    work.start()
    assert begun.wait(30)
    work.join(2)  # time to ask again and again
    worker.stop()
    work.join(30)
    assert len(asked) == 1, "it asks the ledger all the time"
    found = place.ledger.job(first)
    assert (found.state, found.reason, place.ledger.held()) == ("running", "", [])
    let_go.set()


def running_children() -> set[int]:
    """This process's."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}


@pytest.mark.parametrize("paused", [True, False], ids=["paused", "running"])
def test_a_job_whose_source_does_not_answer_lets_its_worker_go_to_others(
    place: Place, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    monkeypatch.setattr(supply, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(working, "AHEAD", 1)
    first, second = place.jobs
    let_go = threading.Event()
    decoders: list[set[int]] = []

    def silent() -> None:
        decoders.append(running_children() - children)
        if paused:
            place.ledger.pause(first)

    def pictures(job: Job) -> Any:
        found = job_source(job)
        return Silent(found, let_go, silent) if job.id == first else found

    worker = place.worker(open_pictures=pictures, source_seconds=0.1)
    before, children = set(threading.enumerate()), running_children()
    worker.work(first)
    assert decoders[0]
    assert running_children() <= children, "decoder processes are left"
    assert place.ledger.held() == []
    found = place.ledger.job(first)
    assert (found.state, found.automatic) == ("paused", not paused)
    left = set(threading.enumerate()) - before
    place.ledger.resume(first)
    worker.work(first)  # it still does not answer: nobody waits a second time
    assert "does not answer" in place.ledger.job(first).reason
    assert set(threading.enumerate()) - before == left
    worker.work(second)
    assert place.states() == [("paused", 0), ("done", 0)]
    place.ledger.resume(first)
    let_go.set()
    for thread in left:
        thread.join(30)
        assert not thread.is_alive()
    assert place.ledger.held() == [], "nobody works on it"
    worker.work(first)
    assert place.states() == [("done", 0), ("done", 0)]
    assert place.ledger.job(first).indexed == PICTURES
