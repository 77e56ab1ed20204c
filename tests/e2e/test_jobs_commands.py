"""`dar jobs`: what it prints, what it changes, and how it ends."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dar_search.bootstrap import open_ledger
from dar_search.data import Failure
from dar_search.ingestion.jobs.data import HEAD, Job, JobSpec, Listed, Settled
from dar_search.settings import load_settings
from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder

pytestmark = pytest.mark.usefixtures("light_models")


@pytest.fixture
def job(home: Path) -> Job:
    """A service's job with one item in and two failures, that is not ended."""
    with closing(open_ledger(load_settings())) as ledger:
        job = ledger.create(JobSpec("photos", "file:///photos"))
        head = ledger.claim(job.id, HEAD, "test")
        assert head is not None
        items = [
            Listed(str(number), {"id": str(number), "key": f"file:///{number}.jpg", "path": ""}) for number in range(3)
        ]
        ledger.append(head, items, "end", last=True)
        ledger.release(head)
        lease = ledger.claim(job.id, 1, "test")
        assert lease is not None
        failed = [
            Settled(n, "failed", Failure(f"file:///{n}.jpg", "refused", "The \x1b[31mcluster refused it."))
            for n in (1, 2)
        ]
        ledger.record(lease, [Settled(0, "indexed"), *failed])
        return ledger.job(job.id)


def test_a_run_of_dar_ingest_is_a_job_that_can_be_looked_at(dar: Dar, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    assert dar("ingest", "photos", "--index", "photos").status == 3
    (found,) = dar("jobs", "list", "--json").json["jobs"]
    assert (found["state"], found["index"], found["failed"], found["local"]) == ("done", "photos", 1, True)
    assert found["failures"] == {"not_a_picture": 1}
    assert found["total"] == found["indexed"] + 1
    assert found["source"] == photos.resolve().as_uri()
    assert dar("jobs", "show", "last", "--json").json == found
    (failure,) = dar("jobs", "failures", "last", "--json").json["failures"]
    assert (failure["code"], failure["replayable"]) == ("not_a_picture", True)
    assert "bad.jpg" in dar("jobs", "failures", found["id"]).out
    assert "not_a_picture" in dar("jobs", "show", "last").out
    assert dar("jobs", "watch", "last", "--json").status == 3
    refused = dar("jobs", "retry", "last", "--json")
    assert refused.status == 2
    assert "dar ingest" in refused.json["error"]["hint"]


def test_a_run_that_fails_leaves_a_cancelled_job_with_the_reason(
    dar: Dar, photos: Path, light_models: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = light_models.encode_prepared
    monkeypatch.setattr(light_models, "encode_prepared", lambda pixels: original(pixels)[:0])
    assert dar("ingest", "photos", "--index", "photos").status == 1
    found = dar("jobs", "show", "last", "--json").json
    assert found["state"] == "cancelled"
    assert "shape" in found["reason"]


def test_jobs_are_listed_for_people(dar: Dar, job: Job) -> None:
    outcome = dar("jobs", "list", "--running")
    assert outcome.status == 0
    assert job.id in outcome.out
    assert "3 of 3" in outcome.out


def test_a_job_is_paused_resumed_and_cancelled(dar: Dar, job: Job) -> None:
    assert dar("jobs", "pause", job.id, "--json").json["state"] == "paused"
    assert dar("jobs", "resume", "last", "--json").json["state"] == "running"
    assert dar("jobs", "cancel", job.id).out.strip() == f"Job {job.id} is cancelled."
    again = dar("jobs", "resume", job.id, "--json")
    assert again.status == 1
    assert again.json["error"]["code"] == "job_ended"


def test_a_job_is_removed_once_it_is_ended(dar: Dar, job: Job) -> None:
    assert dar("jobs", "remove", job.id, "--json").json["error"]["code"] == "job_ended"
    dar("jobs", "cancel", job.id)
    assert dar("jobs", "remove", job.id).out.strip() == f"Job {job.id} is removed."
    assert dar("jobs", "show", job.id, "--json").json["error"]["code"] == "job_not_found"


def test_failures_come_in_pages_and_obey_no_escape_code(dar: Dar, job: Job) -> None:
    first = dar("jobs", "failures", job.id, "--limit", "1", "--json").json
    second = dar("jobs", "failures", job.id, "--limit", "1", "--after", first["after"], "--json").json
    assert [page["failures"][0]["source"] for page in (first, second)] == ["file:///1.jpg", "file:///2.jpg"]
    assert "\x1b[31m" not in dar("jobs", "failures", job.id).out


def test_retry_counts_what_is_done_again(dar: Dar, job: Job) -> None:
    assert dar("jobs", "retry", job.id, "--code", "no_such", "--json").json["retried"] == 0
    found = dar("jobs", "retry", job.id, "--code", "refused", "--json").json
    assert (found["retried"], found["failed"], found["state"]) == (2, 0, "running")


def test_what_is_not_there_is_said(dar: Dar, home: Path) -> None:
    nothing = dar("jobs", "show", "last", "--json")
    assert (nothing.status, nothing.json["error"]["code"]) == (2, "bad_request")
    unknown = dar("jobs", "show", "nosuch", "--json")
    assert unknown.json["error"]["code"] == "job_not_found"
    assert dar("jobs", "list", "--json").json["jobs"] == []
