"""What every ledger does with shards and their leases."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dar_search.errors import LeaseLost
from dar_search.ingestion.jobs.data import Job, Lease, Settled
from dar_search.ingestion.jobs.ledger_port import Ledger
from tests.contract.ledgers import SPEC, claim, failed, fill, listed


def test_a_shard_is_leased_to_one_of_many(open_ledger: Callable[[], Ledger]) -> None:
    ledger = open_ledger()
    job = ledger.create(SPEC)
    fill(ledger, job, listed("a"))
    won: list[Lease] = []
    start = threading.Barrier(6)

    def take(name: str) -> None:
        mine = open_ledger()
        start.wait()
        lease = mine.claim(job.id, 1, name)
        if lease:
            won.append(lease)

    threads = [threading.Thread(target=take, args=(f"worker {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [(held.shard, held.holder) for held in ledger.held(job.id)] == [(1, won[0].holder)]
    assert ledger.open_shards(job.id) == []


def test_results_are_counted_and_the_last_one_ends_the_shard(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a", "b", "c", "d"), listed("e"))
    lease = claim(ledger, job, 1)
    assert [(one.position, one.item["id"]) for one in ledger.pending(lease)] == list(enumerate("abcd"))
    assert ledger.record(lease, [Settled(0, "indexed"), failed(2)]) is False
    assert [one.position for one in ledger.pending(lease)] == [1, 3]
    assert ledger.record(lease, [Settled(1, "unchanged"), failed(3, "truncated_picture")]) is True
    found = ledger.job(job.id)
    assert (found.indexed, found.unchanged, found.failed, found.items, found.shards) == (1, 1, 2, 5, 2)
    assert found.codes == {"empty_file": 1, "truncated_picture": 1}
    assert ledger.open_shards(job.id) == [2]
    assert ledger.held(job.id) == []
    assert ledger.claim(job.id, 1, "other") is None


def test_a_result_stands_and_one_told_twice_counts_once(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a", "b"))
    lease = claim(ledger, job, 1)
    for _ in range(2):
        ledger.record(lease, [Settled(0, "indexed")])
    ledger.record(lease, [failed(0)])
    assert ledger.record(lease, [Settled(1, "indexed")]) is True
    assert ledger.record(lease, [Settled(1, "indexed")]) is True  # the answer to the first was lost on its way
    found = ledger.job(job.id)
    assert (found.indexed, found.failed) == (2, 0)


def test_a_released_shard_goes_on_where_it_was(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a", "b"))
    first = claim(ledger, job, 1)
    ledger.record(first, [Settled(0, "indexed")])
    ledger.release(first)
    assert ledger.open_shards(job.id) == [1]
    second = claim(ledger, job, 1)
    assert (second.token, second.losses) == (first.token + 1, 0)
    assert second.version > first.version
    assert [one.position for one in ledger.pending(second)] == [1]


def test_who_lost_the_lease_can_change_nothing(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a"))
    late = claim(ledger, job, 1, "late")
    (held,) = ledger.held(job.id)
    assert ledger.expire(held) is True
    for holder in (None, "new"):
        if holder:
            claim(ledger, job, 1, holder)
        for use in (
            lambda: ledger.record(late, [Settled(0, "indexed")]),
            lambda: ledger.beat(late),
            lambda: ledger.begin(late, [0]),
            lambda: ledger.pending(late),
        ):
            with pytest.raises(LeaseLost):
                use()
        ledger.release(late)
    assert ledger.job(job.id).indexed == 0
    assert [one.holder for one in ledger.held(job.id)] == ["new"]


def test_a_lease_whose_holder_beats_does_not_expire(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a"))
    lease = claim(ledger, job, 1)
    (seen,) = ledger.held(job.id)
    ledger.beat(lease)
    assert ledger.expire(seen) is False
    (again,) = ledger.held(job.id)
    assert again.beat > seen.beat
    assert ledger.expire(again) is True
    assert ledger.expire(again) is False
    assert claim(ledger, job, 1).losses == 1


def test_an_item_that_killed_its_worker_too_often_is_a_failure(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("poison", "b"))
    for attempt in range(3):
        lease = claim(ledger, job, 1)
        assert ledger.pending(lease)[0].attempts == attempt
        ledger.begin(lease, [0])
        ledger.expire(ledger.held(job.id)[0])
    lease = claim(ledger, job, 1)
    assert [one.position for one in ledger.pending(lease)] == [1]
    (failure,) = ledger.failures(job.id)
    assert (failure.failure.code, failure.failure.source) == ("gave_up", "file:///poison")


def test_an_attempt_that_its_worker_survived_is_none(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a"))
    for _ in range(5):
        lease = claim(ledger, job, 1)
        ledger.begin(lease, [0])
        ledger.release(lease)
    assert ledger.pending(claim(ledger, job, 1))[0].attempts == 0
