"""Ended jobs are removed from the ledger when they are old, and no others."""

from __future__ import annotations

from dar_search.errors import StoreUnavailable
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ingestion.jobs.ledger import retention
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.ledger.retention import Retention, forget_old

DAY = 86_400


class Away(MemoryLedger):
    tried = 0

    def ended_jobs(self, limit):
        self.tried += 1
        raise StoreUnavailable("The ledger is away.", "Wait.")


def test_only_jobs_that_ended_long_ago_are_removed():
    ledger = MemoryLedger()
    ended, running = ledger.create(JobSpec("a", "file:///a")), ledger.create(JobSpec("a", "file:///b"))
    at = ledger.cancel(ended.id).ended
    assert forget_old(ledger, 2, now=lambda: at + 2 * DAY - 1) == 0
    assert forget_old(ledger, 0, now=lambda: at + 1_000 * DAY) == 0
    assert forget_old(ledger, 2, now=lambda: at + 2 * DAY + 1) == 1
    assert [job.id for job in ledger.jobs()] == [running.id]


def test_old_jobs_are_found_behind_any_number_of_newer_ones(monkeypatch):
    monkeypatch.setattr(retention, "_PAGE", 3)
    ledger = MemoryLedger()
    jobs = [ledger.create(JobSpec("a", f"file:///{number}")).id for number in range(10)]
    at = max(ledger.cancel(job).ended for job in jobs[1:8])
    assert forget_old(ledger, 2, now=lambda: at + 2 * DAY + 1) == 7
    assert {job.id for job in ledger.jobs()} == {jobs[0], *jobs[8:]}


def test_it_looks_once_an_hour_and_trouble_ends_nothing():
    ledger, clock = Away(), [0.0]
    upkeep = Retention(ledger, 1, clock=lambda: clock[0])
    for clock[0] in (0, 1, 3_599, 3_600, 3_601):
        upkeep.look()
    assert ledger.tried == 2
