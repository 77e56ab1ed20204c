"""What every ledger does with a job's head: listing its source, and ending it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dar_search.errors import LeaseLost
from dar_search.ingestion.jobs.data import HEAD, MAX_KINDS, Job, Listed, Noted, Remarked, Settled
from dar_search.ingestion.jobs.ledger_port import Ledger, counted_jobs
from tests.contract.ledgers import BAD, claim, fill, listed


def test_listing_goes_on_where_the_last_one_stopped(ledger: Ledger, job: Job) -> None:
    head = claim(ledger, job, HEAD)
    ledger.append(head, listed("a", "b"), "two", last=False)
    assert ledger.claim(job.id, HEAD, "other") is None
    ledger.expire(ledger.held(job.id)[0])
    other = claim(ledger, job, HEAD, "other")
    with pytest.raises(LeaseLost):
        ledger.append(head, listed("late"), "three", last=False)
    assert ledger.job(job.id).cursor == "two"
    assert ledger.append(other, [*listed("c"), Listed(None, {}, BAD)], "four", last=True) == 2
    found = ledger.job(job.id)
    assert (found.listed, found.shards, found.items, found.failed) == (True, 2, 4, 1)
    assert list(ledger.listed_ids(job.id)) == [(1, ["a", "b"]), (2, ["c", None])]
    assert list(ledger.listed_ids(job.id, 1)) == [(2, ["c", None])]


def test_a_shard_of_failures_is_done_at_once(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, [Listed(None, {}, BAD)])
    assert ledger.open_shards(job.id) == []
    assert ledger.failures(job.id)[0].failure == BAD
    assert ledger.finish(claim(ledger, job, HEAD)) is True


def test_the_job_ends_when_all_shards_are_done_and_not_before(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a"), listed("b"))
    assert ledger.claim(job.id, HEAD, "me") is None
    for shard in (1, 2):
        ledger.record(claim(ledger, job, shard), [Settled(0, "indexed")])
    head = claim(ledger, job, HEAD)
    assert ledger.finish(head, 3, ("a note",)) is True
    found = ledger.job(job.id)
    assert (found.state, found.removed, found.notes) == ("done", 3, ("a note",))
    assert found.ended is not None
    assert ledger.claim(job.id, HEAD, "me") is None


def test_what_a_listing_remarks_is_added_up_and_kept_with_its_cursor(
    open_ledger: Callable[[], Ledger], ledger: Ledger, job: Job
) -> None:
    head = claim(ledger, job, HEAD)
    suffixes = {f".s{number}": 1 for number in range(MAX_KINDS)}
    first = Remarked(
        {"other_kind": Noted(MAX_KINDS, suffixes, ("file:///a", "file:///b", "file:///c"))},
        {"bad_metadata": Noted(1, {"two words": 1}, ('file:///ü.json: "two words"',))},
    )
    ledger.append(head, listed("a"), "one", last=False, remarked=first)
    assert ledger.job(job.id).remarked == first
    second = Remarked({"other_kind": Noted(2, {".s1": 1, ".new": 1}, ("file:///d",)), "hidden": Noted(1)})
    ledger.append(head, [], "two", last=True, remarked=second)
    ledger.release(head)
    found = open_ledger().job(job.id)
    assert found.remarked == first.plus(second)
    assert found.remarked.skipped["other_kind"].count == MAX_KINDS + 2
    assert found.remarked.skipped["other_kind"].kinds == suffixes | {".s1": 2, "others": 1}
    assert found.remarked.skipped["hidden"] == Noted(1)
    assert open_ledger().jobs()[0].remarked == found.remarked


def test_a_listing_that_lost_its_lease_adds_no_remarks(ledger: Ledger, job: Job) -> None:
    head = claim(ledger, job, HEAD)
    ledger.expire(ledger.held(job.id)[0])
    with pytest.raises(LeaseLost):
        ledger.append(head, listed("late"), "one", last=False, remarked=Remarked({"hidden": Noted(1)}))
    assert ledger.job(job.id).remarked == Remarked()


def test_a_list_of_jobs_with_counts_leaves_out_one_that_is_forgotten_meanwhile(
    ledger: Ledger, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ledger.create(job.spec)
    listing = ledger.jobs

    def and_somebody_forgets(**asked: Any) -> list[Job]:
        found = listing(**asked)
        ledger.cancel(other.id, "")
        ledger.forget(other.id)
        return found

    monkeypatch.setattr(ledger, "jobs", and_somebody_forgets)
    assert [found.id for found in counted_jobs(ledger)] == [job.id]
