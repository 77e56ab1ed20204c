"""What a worker may read became less, or is less than another worker's: nothing is lost, and nobody is held up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dar_search.ingestion.jobs.data import Job, JobSpec
from dar_search.ingestion.pipeline.working import Worker
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ingestion.sources.outside import Outside
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import fill

pytestmark = pytest.mark.timeout(60)


class Place:
    """A ledger and an index, and workers that differ in what they may read."""

    def __init__(self, folder: Path) -> None:
        self.ledger = SQLiteLedger(folder / "ledger.db")
        self.index: SQLiteIndex = open_index(folder / "store.db")
        self.photos = folder / "photos"
        self.photos.mkdir()

    def worker(self, *sources: object, encoder: GridEncoder | None = None) -> Worker:
        outside = Outside(allowance=Allowance.named([str(one) for one in sources]))
        return Worker(self.ledger, lambda job: self.index, encoder or GridEncoder(), processes=1, outside=outside)

    def make(self) -> str:
        return self.ledger.create(JobSpec("photos", str(self.photos), "", {"follow_links": True}, prune=True)).id

    def ingested(self, *sources: object) -> Job:
        job = self.make()
        self.worker(*sources).work(job)
        return self.ledger.job(job)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with closing(made.ledger):
        yield made


def test_records_behind_a_link_that_may_not_be_followed_any_more_are_not_pruned(place: Place, tmp_path: Path) -> None:
    fill(place.photos, 2)
    for name in ("2023", "trip.rome", "notes.txt", "data.json"):
        (tmp_path / f"disk {name}").mkdir()
        fill(tmp_path / f"disk {name}", 2)
        (place.photos / name).symlink_to(tmp_path / f"disk {name}")
    everything = place.ingested("*")
    assert (everything.state, everything.indexed, place.index.count()) == ("done", 10, 10)
    (place.photos / "001.jpg").unlink()
    for allowed in ((place.photos,), (place.photos, tmp_path / "disk 2023")):
        found = place.ingested(*allowed)
        assert (found.state, found.removed, place.index.count()) == ("done", 0, 10)
        assert found.codes == {"not_allowed": 5 - len(allowed)}
        assert found.notes, "nobody is told why nothing is pruned"
    assert place.ingested("*").removed == 1


def test_a_worker_that_may_not_read_a_job_holds_up_none_that_may(place: Place) -> None:
    fill(place.photos, 3)
    job = place.make()
    refused = place.worker()
    refused.work(job)
    found = place.ledger.job(job)
    assert (found.state, found.indexed) == ("running", 0), "those that may read it cannot have it"
    assert "ingest.sources" in found.reason, "nobody is told why nothing happens"
    said: list[str] = []

    def look_too(call: int) -> None:
        refused.work(job)
        said.append(place.ledger.job(job).reason)

    allowed = place.worker(place.photos, encoder=GridEncoder(look_too))
    allowed.work(job)
    found = place.ledger.job(job)
    assert (found.state, found.indexed, found.reason) == ("done", 3, "")
    assert said == [""], "it says that nothing happens, while another works on it"
