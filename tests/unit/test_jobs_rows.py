"""A job's row in a ledger: what an earlier version wrote is read, what a later one wrote is refused."""

import dataclasses

import pytest

from dar_search.errors import StoreCorrupt, StoreTooNew
from dar_search.ingestion.jobs.data import Job, JobSpec, Noted, Remarked
from dar_search.ingestion.jobs.ledger.job_rows import VERSION, job_of, job_row, jobs_fields

JOB = Job("1", JobSpec("photos", "/photos"), "done", 1, items=3, notes=("a note",))


def test_a_job_without_remarks_of_an_earlier_version_is_read_and_written_as_this_one() -> None:
    row = job_row(JOB)
    first = dataclasses.replace(
        row, body={name: value for name, value in row.body.items() if name != "remarked"} | {"version": 1}
    )
    assert job_of(first) == JOB
    assert job_row(job_of(first)).body["version"] == VERSION == 2
    assert jobs_fields(job_of(first))["skipped"] == {}


def test_a_job_comes_back_from_its_row_with_its_remarks() -> None:
    remarked = Remarked({"hidden": Noted(2, {"._*": 1}, ("file:///._a",))}, {"bad_caption": Noted(1)})
    job = dataclasses.replace(JOB, remarked=remarked)
    assert job_of(job_row(job)) == job
    assert jobs_fields(job)["skipped"] == {"hidden": {"count": 2, "kinds": {"._*": 1}, "examples": ["file:///._a"]}}
    assert jobs_fields(job)["warnings"] == {"bad_caption": {"count": 1, "kinds": {}, "examples": []}}


def test_a_row_of_a_newer_version_and_a_damaged_one_are_refused() -> None:
    row = job_row(JOB)
    with pytest.raises(StoreTooNew):
        job_of(dataclasses.replace(row, body=row.body | {"version": VERSION + 1}))
    for damage in ({"remarked": {"skipped": {"hidden": {"count": 1}}}}, {"remarked": [1]}, {"notes": None}):
        with pytest.raises(StoreCorrupt):
            job_of(dataclasses.replace(row, body=row.body | damage))
