"""What every ledger does: one suite, on real adapters."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dar_search.data import Failure
from dar_search.errors import JobEnded, JobNotFound, LeaseLost
from dar_search.ingestion.memory_ledger import MemoryLedger
from dar_search.job_data import HEAD, Job, JobSpec, Lease, Listed, Settled
from dar_search.ports import Ledger
from dar_search.settings import load_settings
from dar_search.stores.opensearch_connection import connect
from dar_search.stores.opensearch_ledger import OpenSearchLedger
from dar_search.stores.sqlite_ledger import SQLiteLedger

SPEC = JobSpec("photos", "/photos", "sqlite:x", {"follow_links": True}, prune=True)
BAD = Failure("file:///bad.jpg", "unreadable_folder", "It cannot be listed.")
KINDS = ("memory", "sqlite", "opensearch")


@pytest.fixture(params=KINDS)
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens another handle of one and the same ledger."""
    if request.param == "memory":
        kept = MemoryLedger()
        yield lambda: kept
        return
    if request.param == "opensearch":
        opener = request.getfixturevalue("opensearch_ledger_opener")
        yield opener
        return
    opened: list[SQLiteLedger] = []

    def opener() -> Ledger:
        opened.append(SQLiteLedger(tmp_path / "ledger.db"))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.close()


@pytest.fixture
def opensearch_ledger_opener(opensearch_url: str) -> Iterator[Callable[[], Ledger]]:
    name = f"contract-ledger-{uuid.uuid4().hex[:12]}"
    opened: list[OpenSearchLedger] = []

    def opener() -> Ledger:
        opened.append(OpenSearchLedger(opensearch_url, load_settings(), name))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.close()
    client = connect(opensearch_url, load_settings())
    client.indices.delete(index=f"{name}-*")
    client.close()


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()


@pytest.fixture
def job(ledger: Ledger) -> Job:
    return ledger.create(SPEC)


def listed(*names: str) -> list[Listed]:
    return [Listed(name, {"id": name, "key": f"file:///{name}", "path": name}) for name in names]


def claim(ledger: Ledger, job: Job, shard: int, holder: str = "me") -> Lease:
    lease = ledger.claim(job.id, shard, holder)
    assert lease is not None
    return lease


def fill(ledger: Ledger, job: Job, *shards: list[Listed]) -> None:
    """Lists these shards, and then nothing more."""
    head = claim(ledger, job, HEAD)
    for number, items in enumerate(shards, 1):
        assert ledger.append(head, items, str(number), last=False) == number
    assert ledger.append(head, [], str(len(shards)), last=True) == 0
    ledger.release(head)


def failed(position: int, code: str = "empty_file") -> Settled:
    return Settled(position, "failed", Failure(f"file:///{position}", code, "It is empty."))


# jobs


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


# shards and leases


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


# the head


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


# pause, resume, cancel


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


# failures


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


# settings of indices


def test_the_settings_from_before_the_first_load_are_kept_until_they_are_put_back(ledger: Ledger) -> None:
    ledger.keep_settings("kept-photos", {"refresh_interval": None})
    ledger.keep_settings("kept-photos", {"refresh_interval": "-1"})
    assert ledger.kept_settings()["kept-photos"] == {"refresh_interval": None}
    ledger.keep_settings("kept-photos", None)
    assert "kept-photos" not in ledger.kept_settings()
    ledger.keep_settings("kept-photos", {"refresh_interval": "5s"})
    assert ledger.kept_settings()["kept-photos"] == {"refresh_interval": "5s"}
    ledger.keep_settings("kept-photos", None)
