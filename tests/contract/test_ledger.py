"""What every ledger does with jobs as a whole: one suite, on real adapters. The rest: test_ledger_*.py."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dar_search.errors import JobEnded, JobNotFound, LeaseLost
from dar_search.ingestion.jobs.data import HEAD, Job, JobSpec, Settled
from dar_search.ingestion.jobs.ledger_port import Ledger
from tests.contract.ledgers import SPEC, claim, fill, listed


def test_a_job_is_kept_as_it_was_made_and_seen_by_every_handle(open_ledger: Callable[[], Ledger]) -> None:
    job = open_ledger().create(SPEC)
    found = open_ledger().job(job.id)
    assert found == job
    assert (found.spec, found.state, found.settled, found.expected) == (SPEC, "running", 0, None)


def test_jobs_are_listed_newest_first(ledger: Ledger) -> None:
    made = [ledger.create(SPEC).id for _ in range(4)]
    ledger.cancel(made[2])
    ledger.pause(made[1])
    assert [job.id for job in ledger.jobs() if job.id in made] == made[::-1]
    assert [job.id for job in ledger.jobs(running=True) if job.id in made] == [made[3], made[1], made[0]]
    assert [job.id for job in ledger.jobs(limit=2)] == [made[3], made[2]]


def test_a_job_that_is_not_there_is_named(ledger: Ledger) -> None:
    for use in (ledger.job, ledger.open_shards, ledger.failures, ledger.pause, ledger.retry, ledger.cancel):
        with pytest.raises(JobNotFound, match="nosuch"):
            use("nosuch")
    with pytest.raises(JobNotFound):
        ledger.claim("nosuch", 1, "me")


def test_the_sequence_only_rises_whoever_draws(open_ledger: Callable[[], Ledger]) -> None:
    drawn: list[int] = []

    def draw() -> None:
        ledger = open_ledger()
        mine = [ledger.draw() for _ in range(8)]
        assert mine == sorted(mine)
        drawn.extend(mine)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 32
    assert open_ledger().create(SPEC).sequence > max(drawn)


def test_of_a_paused_job_nothing_can_be_claimed_and_what_is_held_can_be_recorded(ledger: Ledger, job: Job) -> None:
    fill(ledger, job, listed("a"), listed("b"))
    lease = claim(ledger, job, 1)
    paused = ledger.pause(job.id, "The disk is full.", automatic=True)
    assert (paused.state, paused.reason, paused.automatic) == ("paused", "The disk is full.", True)
    assert ledger.claim(job.id, 2, "me") is None
    assert ledger.record(lease, [Settled(0, "indexed")]) is True
    assert ledger.resume(job.id, automatic=True).state == "running"
    claim(ledger, job, 2)


def test_trouble_neither_pauses_nor_resumes_what_a_person_paused(ledger: Ledger, job: Job) -> None:
    ledger.pause(job.id, "Lunch.")
    ledger.pause(job.id, "The disk is full.", automatic=True)
    ledger.resume(job.id, automatic=True)
    found = ledger.job(job.id)
    assert (found.state, found.reason, found.automatic) == ("paused", "Lunch.", False)
    assert ledger.resume(job.id).state == "running"


def test_a_cancelled_job_stays_cancelled_and_a_done_one_done(ledger: Ledger, job: Job) -> None:
    assert ledger.cancel(job.id, "not needed").reason == "not needed"
    assert ledger.cancel(job.id).state == "cancelled"
    for use in (ledger.resume, ledger.pause, ledger.retry):
        with pytest.raises(JobEnded, match="cancelled"):
            use(job.id)
    done = ledger.create(SPEC)
    fill(ledger, done)
    ledger.finish(claim(ledger, done, HEAD))
    for use in (ledger.resume, ledger.pause, ledger.cancel):
        with pytest.raises(JobEnded, match="done"):
            use(done.id)


def test_an_ended_job_is_forgotten_with_all_that_was_kept_of_it_and_no_other(ledger: Ledger, job: Job) -> None:
    other = ledger.create(SPEC)
    for one in (job, other):
        fill(ledger, one, listed("a"), listed("b"))
    lease = claim(ledger, job, 1)
    with pytest.raises(JobEnded, match="running"):
        ledger.forget(job.id)
    ledger.cancel(job.id)
    ledger.forget(job.id)
    for use in (ledger.job, ledger.retry, ledger.forget):
        with pytest.raises(JobNotFound):
            use(job.id)
    with pytest.raises(LeaseLost):  # who still holds some of it learns that it is gone
        ledger.record(lease, [Settled(0, "indexed")])
    ledger.release(lease)
    assert job.id not in [one.id for one in ledger.jobs()]
    assert ledger.held(job.id) == []
    assert len(ledger.pending(claim(ledger, other, 1))) == 1
    assert ledger.create(SPEC).sequence > other.sequence


def test_ended_jobs_are_listed_from_the_oldest_on_without_those_that_go_on(ledger: Ledger) -> None:
    jobs = [ledger.create(SPEC).id for _ in range(4)]
    for job in (jobs[2], jobs[0], jobs[3]):
        ledger.cancel(job)
    ended = [job.id for job in ledger.ended_jobs(10_000) if job.id in jobs]
    assert ended == [jobs[0], jobs[2], jobs[3]]
    assert len(ledger.ended_jobs(1)) == 1


def test_the_settings_from_before_the_first_load_are_kept_until_they_are_put_back(ledger: Ledger) -> None:
    ledger.keep_settings("kept-photos", {"refresh_interval": None})
    ledger.keep_settings("kept-photos", {"refresh_interval": "-1"})
    assert ledger.kept_settings()["kept-photos"] == {"refresh_interval": None}
    ledger.keep_settings("kept-photos", None)
    assert "kept-photos" not in ledger.kept_settings()
    ledger.keep_settings("kept-photos", {"refresh_interval": "5s"})
    assert ledger.kept_settings()["kept-photos"] == {"refresh_interval": "5s"}
    ledger.keep_settings("kept-photos", None)


def test_records_that_moved_are_counted_whoever_moved_them(ledger: Ledger, job: Job) -> None:
    assert ledger.job(job.id).moved == 0
    ledger.add_moved(job.id, 2)
    ledger.add_moved(job.id, 3)
    assert ledger.job(job.id).moved == 5
    with pytest.raises(JobNotFound):
        ledger.add_moved("no such job", 1)


def test_a_job_says_where_its_pictures_were_before(ledger: Ledger) -> None:
    made = ledger.create(JobSpec("photos", "file:///new", moved_from=("/old",)))
    assert list(ledger.job(made.id).spec.moved_from) == ["/old"]
