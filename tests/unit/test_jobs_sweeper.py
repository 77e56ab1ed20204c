"""Who is taken for dead, and when: by the sweeper's own clock, which the test moves by hand."""

from __future__ import annotations

import pytest

from dar_search.errors import StoreUnavailable
from dar_search.ingestion.jobs.data import HEAD, Job, JobSpec, Lease, Listed, Settled
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.sweeping import HINTS, Sweeper


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ledger(MemoryLedger):
    """away: nothing can be written."""

    away = False

    def draw(self) -> int:
        if self.away:
            raise StoreUnavailable("The disk is full.")
        return super().draw()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def sent() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def sweeper(ledger: Ledger, clock: Clock, sent: list[tuple[str, int]]) -> Sweeper:
    return Sweeper(
        ledger,
        lambda job, shard: sent.append((job, shard)),
        lease_seconds=30,
        resend_seconds=15,
        resume_seconds=60,
        clock=clock,
    )


def filled(ledger: Ledger, shards: int, *, local: bool = False) -> Job:
    job = ledger.create(JobSpec("photos", "/photos", local=local))
    head = claim(ledger, job, HEAD)
    for number in range(shards):
        name = str(number)
        ledger.append(head, [Listed(name, {"id": name, "key": name, "path": ""})], name, last=number == shards - 1)
    ledger.release(head)
    return job


def claim(ledger: Ledger, job: Job, shard: int) -> Lease:
    lease = ledger.claim(job.id, shard, "worker")
    assert lease is not None
    return lease


def test_a_worker_that_says_nothing_for_the_lease_loses_its_shard(
    ledger: Ledger, clock: Clock, sweeper: Sweeper, sent: list[tuple[str, int]]
) -> None:
    job = filled(ledger, 1)
    claim(ledger, job, 1)
    sweeper.sweep()
    clock.now += 29.9
    sweeper.sweep()
    assert len(ledger.held(job.id)) == 1
    clock.now += 0.2
    sweeper.sweep()
    assert ledger.held(job.id) == []
    sent.clear()
    clock.now += 16
    sweeper.sweep()
    assert (job.id, 1) in sent


def test_a_worker_that_beats_keeps_its_shard_however_long_it_takes(
    ledger: Ledger, clock: Clock, sweeper: Sweeper
) -> None:
    job = filled(ledger, 1)
    lease = claim(ledger, job, 1)
    for _ in range(20):
        sweeper.sweep()
        clock.now += 29
        ledger.beat(lease)
    assert len(ledger.held(job.id)) == 1


def test_a_sweeper_that_starts_watches_for_the_whole_lease_first(ledger: Ledger, clock: Clock) -> None:
    job = filled(ledger, 1)
    claim(ledger, job, 1)
    clock.now += 10_000
    Sweeper(ledger, lambda job, shard: None, lease_seconds=30, clock=clock).sweep()
    assert len(ledger.held(job.id)) == 1


def test_while_the_ledger_takes_no_writes_nobody_is_taken_for_dead(
    ledger: Ledger, clock: Clock, sweeper: Sweeper
) -> None:
    job = filled(ledger, 1)
    lease = claim(ledger, job, 1)
    sweeper.sweep()
    ledger.away = True
    clock.now += 100
    with pytest.raises(StoreUnavailable):
        sweeper.sweep()
    ledger.away = False
    sweeper.sweep()
    assert len(ledger.held(job.id)) == 1
    ledger.beat(lease)


def test_a_hint_is_sent_again_while_nobody_follows_it_and_not_at_every_look(
    ledger: Ledger, clock: Clock, sweeper: Sweeper, sent: list[tuple[str, int]]
) -> None:
    job = filled(ledger, 2)
    sweeper.sweep()
    sweeper.sweep()
    assert sent == [(job.id, 1), (job.id, 2)]
    clock.now += 16
    ledger.record(claim(ledger, job, 1), [Settled(0, "indexed")])
    sweeper.sweep()
    assert sent[2:] == [(job.id, 2)]


def test_a_job_with_many_open_shards_sends_some_hints_and_no_flood(
    ledger: Ledger, sweeper: Sweeper, sent: list[tuple[str, int]]
) -> None:
    filled(ledger, HINTS + 20)
    sweeper.sweep()
    assert len(sent) == HINTS


def test_what_is_left_is_the_head_to_list_or_to_end(
    ledger: Ledger, sweeper: Sweeper, sent: list[tuple[str, int]]
) -> None:
    new = ledger.create(JobSpec("photos", "/photos"))
    sweeper.sweep()
    assert sent == [(new.id, HEAD)]


def test_local_and_paused_jobs_are_left_alone(ledger: Ledger, sweeper: Sweeper, sent: list[tuple[str, int]]) -> None:
    filled(ledger, 1, local=True)
    ledger.pause(filled(ledger, 1).id)
    sweeper.sweep()
    assert sent == []


def test_a_job_that_trouble_paused_and_nobody_holds_is_tried_again_later(
    ledger: Ledger, clock: Clock, sweeper: Sweeper
) -> None:
    job = filled(ledger, 1)
    ledger.pause(job.id, "The disk is full.", automatic=True)
    sweeper.sweep()
    clock.now += 59
    sweeper.sweep()
    assert ledger.job(job.id).state == "paused"
    clock.now += 2
    sweeper.sweep()
    assert ledger.job(job.id).state == "running"


def test_a_broker_that_is_away_is_tried_again(ledger: Ledger, clock: Clock) -> None:
    job = filled(ledger, 1)
    tries: list[int] = []

    def send(job: str, shard: int) -> None:
        tries.append(shard)
        if len(tries) == 1:
            raise ConnectionError("no broker")

    sweeper = Sweeper(ledger, send, clock=clock)
    sweeper.sweep()
    sweeper.sweep()
    assert tries == [1, 1]
    assert ledger.open_shards(job.id) == [1]
