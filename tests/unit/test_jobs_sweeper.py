"""Who is taken for dead, and when: by the sweeper's own clock, which the test moves by hand."""

from __future__ import annotations

import threading

import pytest

from dar_search.errors import StoreUnavailable
from dar_search.ingestion.jobs.data import HEAD, Job, JobSpec, Lease, Listed, Settled
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.sweeping import HINTS, Sweeper
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.pipeline.shard_feed import ShardFeed


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


def test_a_dead_workers_job_is_found_behind_a_hundred_newer_ones_that_are_paused(
    ledger: Ledger, clock: Clock, sweeper: Sweeper, sent: list[tuple[str, int]]
) -> None:
    job = filled(ledger, 1)
    claim(ledger, job, 1)
    for number in range(101):
        ledger.pause(ledger.create(JobSpec("photos", f"/{number}")).id, automatic=number % 2 == 0)
    sweeper.sweep()
    clock.now += 31
    sweeper.sweep()
    assert ledger.held() == []
    clock.now += 16
    sweeper.sweep()
    assert (job.id, 1) in sent


class Nonsense(Ledger):
    """Raises what is no StoreError, as long as it is told to; `looked` counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.raised: list[Exception] = []
        self.looked = threading.Semaphore(0)

    def jobs(self, *, running: bool = False, limit: int | None = 100) -> list[Job]:
        self.looked.release()
        if self.raised:
            raise self.raised[0]
        return super().jobs(running=running, limit=limit)

    def beat(self, lease: Lease) -> None:
        self.looked.release()
        if self.raised:
            raise self.raised[0]
        super().beat(lease)

    def wait(self, times: int) -> None:
        for _ in range(times):
            assert self.looked.acquire(timeout=30)


def test_a_sweeper_outlives_whatever_its_ledger_raises_and_says_each_trouble_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger, taken = Nonsense(), threading.Event()
    ledger.raised = [KeyError("hits")]
    sweeper = Sweeper(ledger, lambda job, shard: taken.set(), interval=0.01)
    filled(ledger, 1)
    sweeper.start()
    try:
        ledger.wait(5)
        ledger.raised = [StoreUnavailable("The disk is full.")]
        ledger.wait(5)
        ledger.raised = []
        assert taken.wait(30)
        ledger.wait(2)
    finally:
        sweeper.stop()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "The sweeper cannot use the ledger.",
        "The sweeper cannot use the ledger: The disk is full.",
        "That is over: The sweeper cannot use the ledger.",
    ]


def test_leases_are_kept_alive_through_whatever_the_ledger_raises(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Nonsense()
    leases = Leases(ledger, beat_seconds=0.01)
    job = filled(ledger, 1)
    try:
        lease = leases.claim(job.id, 1)
        assert lease is not None
        ledger.raised = [TypeError("a list has no fields")]
        ledger.wait(5)
        ledger.raised = []
        before = ledger.held(job.id)[0].beat
        ledger.wait(5)
        assert ledger.held(job.id)[0].beat > before
        assert leases.holds(lease)
    finally:
        leases.close()
    assert [record.getMessage() for record in caplog.records] == [
        "A lease was not renewed.",
        "That is over: A lease was not renewed.",
    ]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["pause", "cancel"])
def test_open_shards_of_a_job_that_was_paused_or_cancelled_meanwhile_hold_nobody_up(ledger: Ledger, end: str) -> None:
    job = filled(ledger, 3)
    leases = Leases(ledger)
    try:
        feed = ShardFeed(ledger, leases, Lister(ledger, NoSource()), job.id, first=1)  # type: ignore[arg-type]
        assert feed.next() is not None
        getattr(ledger, end)(job.id)
        assert feed.next() is None
    finally:
        leases.close()


class NoSource:
    """Is never asked: the job is listed."""
