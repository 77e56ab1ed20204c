"""What every ledger does with failures: lists them, and has them done again."""

from __future__ import annotations

from dar_search.ingestion.jobs.data import HEAD, Job, Listed, Settled
from dar_search.ingestion.jobs.ledger_port import Ledger
from tests.contract.ledgers import BAD, claim, failed, fill, listed


def test_failures_are_listed_in_pages(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed(*"abcdefghijkl"), [*listed("m"), Listed(None, {}, BAD)])
    ledger.record(claim(ledger, job, 1), [failed(place) for place in range(12)])
    found, after = [], ""
    while page := ledger.failures(job.id, after=after, limit=5):
        assert len(page) <= 5
        found += page
        after = page[-1].place
    assert [one.failure.source for one in found] == [f"file:///{n}" for n in range(12)] + [BAD.source]
    assert [one.replayable for one in found] == [True] * 12 + [False]


def test_retry_takes_the_failures_that_can_be_done_again_and_the_job_runs(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a", "b", "c"), [Listed(None, {}, BAD)])
    first = claim(ledger, job, 1)
    ledger.record(first, [failed(0), failed(1, "out_of_memory"), Settled(2, "indexed")])
    assert ledger.finish(claim(ledger, job, HEAD)) is True
    assert ledger.retry(job.id, ["no_such_code"]) == 0
    assert ledger.retry(job.id, ["empty_file"]) == 1
    found = ledger.job(job.id)
    assert (found.state, found.failed, found.indexed, found.ended) == ("running", 2, 1, None)
    again = claim(ledger, job, 1)
    assert [one.position for one in ledger.pending(again)] == [0]
    assert again.version > first.version
    ledger.record(again, [Settled(0, "indexed")])
    assert ledger.finish(claim(ledger, job, HEAD)) is True
    assert ledger.retry(job.id) == 1
    assert ledger.job(job.id).codes == {BAD.code: 1}


def test_a_retry_that_comes_while_the_job_ends_is_not_forgotten(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a"))
    ledger.record(claim(ledger, job, 1), [failed(0)])
    head = claim(ledger, job, HEAD)
    assert ledger.retry(job.id) == 1
    assert ledger.finish(head) is False
    assert ledger.job(job.id).state == "running"
    assert ledger.open_shards(job.id) == [1]
