"""The ledger's rules: who may work on what, what counts as done. `RowLedger` is `ledger_port.Ledger` over any `Rows`.

No clock decides anything. A lease ends when its holder says so, or when somebody has watched its token and beat stand
still for long enough by a clock of their own (see `sweeping`) and calls `expire`, which fails if the holder has beaten
meanwhile. The next lease has a greater token, and the old holder's calls are refused from then on (LeaseLost); what it
still writes to the index carries a lower version, and is superseded.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from dar_search.data import Failure
from dar_search.errors import JobEnded, LeaseLost, StoreUnavailable
from dar_search.ingestion.jobs.data import (
    HEAD,
    Held,
    Job,
    JobFailure,
    JobSpec,
    Lease,
    Listed,
    Pending,
    Remarked,
    Settled,
    version_of,
)
from dar_search.ingestion.jobs.ledger.access import RowAccess, attempts_at_it, lease_lost, part, too_busy
from dar_search.ingestion.jobs.ledger.job_rows import job_of, job_row
from dar_search.ingestion.jobs.ledger.rows import Change, Key, Row, Rows, Wanted
from dar_search.ingestion.jobs.ledger.shard_rows import (
    claimed,
    counted_attempt,
    expired,
    given_up,
    new_shard,
    outcomes_of,
    recorded,
    released,
    retried,
)
from dar_search.ingestion.jobs.ledger_port import NOTHING_REMARKED

MAX_ATTEMPTS = 3
_SEQUENCE = Key("sequence")


class RowLedger(RowAccess):
    """See `jobs.ledger_port.Ledger`.

    Args:
        max_attempts: at an item that was in hand when its worker died.
    """

    def __init__(self, rows: Rows, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        super().__init__(rows)
        self._max_attempts = max_attempts

    def draw(self) -> int:
        # Milliseconds, so that a ledger that was lost and made anew goes on above what it drew before. Within one
        # ledger the order never depends on a clock: it only rises.
        for attempt in attempts_at_it():
            found = self._rows.get(_SEQUENCE)
            last, version = (found[0].body["last"], found[1]) if found else (0, None)
            drawn: int = max(last + 1, int(time.time() * 1000))
            if self._rows.put([Change(Row(_SEQUENCE, body={"last": drawn}), version)]):
                return drawn
            part(attempt)
        raise too_busy(self.address)

    # jobs

    def create(self, spec: JobSpec) -> Job:
        sequence = self.draw()
        job = Job(f"{sequence:011x}", spec, "running", sequence, created=time.time())
        head = Row(Key("shard", job.id, HEAD), "open", body=new_shard(0, sequence))
        if not self._rows.put([Change(head, None), Change(job_row(job), None)]):
            raise StoreUnavailable(f"The ledger {self.address} has such a job already.", "Try again.")
        return job

    def job(self, job: str) -> Job:
        row, _ = self._job(job)
        indexed, unchanged, failed = self._rows.sums(job)
        codes: dict[str, int] = {}
        if failed:
            for shard in self._failed_shards(job):
                for _, code, _ in shard.body["failures"].values():
                    codes[code] = codes.get(code, 0) + 1
        counts: dict[str, Any] = {"indexed": indexed, "unchanged": unchanged, "failed": failed, "codes": codes}
        return dataclasses.replace(job_of(row), **counts)

    def jobs(self, *, running: bool = False, limit: int | None = 100) -> list[Job]:
        states = ("running", "paused") if running else None
        return [job_of(row) for row in self._rows.find(Wanted("job", states=states, limit=limit, newest=True))]

    def ended_jobs(self, limit: int) -> list[Job]:
        return [job_of(row) for row in self._rows.find(Wanted("job", states=("done", "cancelled"), limit=limit))]

    def expect(self, job: str, items: int) -> None:
        self._change_job(job, lambda found: {"expected": items})

    def add_remarked(self, job: str, remarked: Remarked) -> None:
        self._change_job(job, lambda found: {"remarked": found.remarked.plus(remarked)})

    def add_moved(self, job: str, records: int) -> None:
        self._change_job(job, lambda found: {"moved": found.moved + records})

    def pause(self, job: str, reason: str = "", *, automatic: bool = False) -> Job:
        def change(found: Job) -> dict[str, Any]:
            if found.state != "running" and automatic:
                return {}
            if found.state in ("done", "cancelled"):
                raise _ended(found)
            return {"state": "paused", "reason": reason, "automatic": automatic}

        return self._change_job(job, change)

    def hinder(self, job: str, reason: str) -> Job:
        return self._change_job(job, lambda found: {"reason": reason} if found.state == "running" else {})

    def resume(self, job: str, *, automatic: bool = False) -> Job:
        def change(found: Job) -> dict[str, Any]:
            if automatic and not (found.state == "paused" and found.automatic):
                return {}
            if found.state in ("done", "cancelled"):
                raise _ended(found)
            return {"state": "running", "reason": "", "automatic": False}

        return self._change_job(job, change)

    def cancel(self, job: str, reason: str = "") -> Job:
        def change(found: Job) -> dict[str, Any]:
            if found.state == "done":
                raise _ended(found)
            if found.state == "cancelled":
                return {}
            return {"state": "cancelled", "reason": reason, "automatic": False, "ended": time.time()}

        return self._change_job(job, change)

    def forget(self, job: str) -> None:
        def change(found: Job) -> dict[str, Any]:
            if found.state not in ("done", "cancelled"):
                raise JobEnded(f'The job "{job}" is {found.state}.', "Cancel it, or wait for its end.")
            return {"state": "cancelled", "reason": "It was removed."}  # so that no retry brings it back meanwhile

        self._change_job(job, change)
        self._rows.remove(job)

    # shards

    def claim(self, job: str, shard: int, holder: str) -> Lease | None:
        found = job_of(self._job(job)[0])
        if found.state != "running" or shard > found.shards:
            return None
        if shard == HEAD and found.listed and not self._all_done(job):
            return None
        taken = self._change(Key("shard", job, shard), lambda row: claimed(row, holder))
        if taken.state != "held" or taken.body["holder"] != holder:
            return None
        lease = _lease(taken)
        if shard != HEAD and self._give_up(lease, taken):
            return None
        return lease

    def open_shards(self, job: str, limit: int = 100) -> list[int]:
        last = job_of(self._job(job)[0]).shards
        found = self._rows.find(Wanted("shard", job=job, states=("open",), after=HEAD, limit=limit))
        return [row.key.number for row in found if row.key.number <= last]

    def pending(self, lease: Lease) -> list[Pending]:
        row = self._under(lease)
        items = self._items(lease.job, lease.shard)
        attempts = row.body.get("attempts", {})
        left = (number for number, outcome in enumerate(row.body["outcomes"]) if outcome == ".")
        return [Pending(number, items[number], attempts.get(str(number), 0)) for number in left]

    def begin(self, lease: Lease, positions: Sequence[int]) -> None:
        self._change_under(lease, lambda row: counted_attempt(row, positions))

    def record(self, lease: Lease, settled: Sequence[Settled]) -> bool:
        return self._change_under(lease, lambda row: recorded(row, settled), done_is_fine=settled).state == "done"

    def beat(self, lease: Lease) -> None:
        self._change_under(lease, lambda row: dataclasses.replace(row, body=row.body | {"beat": row.body["beat"] + 1}))

    def release(self, lease: Lease) -> None:
        try:
            self._change_under(lease, released)
        except LeaseLost:
            return

    def held(self, job: str | None = None) -> list[Held]:
        rows = self._rows.find(Wanted("shard", job=job, states=("held",)))
        return [Held(r.key.job, r.key.number, r.body["token"], r.body["beat"], r.body["holder"]) for r in rows]

    def expire(self, held: Held) -> bool:
        key = Key("shard", held.job, held.shard)
        found = self._rows.get(key)
        if found is None or (after := expired(found[0], held)) is None:
            return False
        return self._rows.put([Change(after, found[1])])

    # the head

    def append(
        self,
        head: Lease,
        items: Sequence[Listed],
        cursor: str | None,
        *,
        last: bool,
        remarked: Remarked = NOTHING_REMARKED,
    ) -> int:
        row, version = self._job(head.job)
        job = job_of(row)
        self._under(head)
        number = job.shards + 1 if items else 0
        changes = []
        if items:
            body = new_shard(len(items), job.sequence)
            shard = recorded(
                Row(Key("shard", job.id, number), "open", body=body),
                [Settled(place, "failed", item.failure) for place, item in enumerate(items) if item.failure],
            )
            shard = dataclasses.replace(shard, state="done" if "." not in outcomes_of(shard) else "open")
            kept = {"items": [item.item for item in items], "ids": [item.id for item in items]}
            changes = [self._over(Row(Key("items", job.id, number), body=kept)), self._over(shard)]
        new = dataclasses.replace(
            job,
            shards=number or job.shards,
            items=job.items + len(items),
            cursor=cursor,
            listed=last,
            remarked=job.remarked.plus(remarked),
        )
        if not self._rows.put([*changes, Change(job_row(new), version)]):
            # Somebody else lists now, or the job was paused meanwhile: look, and try again if it is still ours.
            self._under(head)
            if job_of(self._job(head.job)[0]).shards != job.shards:
                raise lease_lost(head)
            return self.append(head, items, cursor, last=last, remarked=remarked)
        return number

    def listed_ids(self, job: str, after_shard: int = 0) -> Iterator[tuple[int, list[str | None]]]:
        last = job_of(self._job(job)[0]).shards
        for number in range(after_shard + 1, last + 1):
            yield number, list(self._items_row(job, number).body["ids"])

    def finish(self, head: Lease, removed: int = 0, notes: Sequence[str] = ()) -> bool:
        for attempt in attempts_at_it():
            row, version = self._job(head.job)
            self._under(head)
            if not self._all_done(head.job):
                self.release(head)
                return False
            if job_of(row).state != "running":
                self.release(head)
                return False
            ending: dict[str, Any] = {"removed": removed, "notes": tuple(notes), "ended": time.time(), "reason": ""}
            done = dataclasses.replace(job_of(row), state="done", automatic=False, **ending)
            # The job's row changes with each retry, so one that comes between the look and this is seen.
            if self._rows.put([Change(job_row(done), version)]):
                self.release(head)
                return True
            part(attempt)
        raise too_busy(self.address)

    # failures

    def failures(self, job: str, *, after: str = "", limit: int = 100) -> list[JobFailure]:
        self._job(job)
        shard, position = (int(part) for part in (after or "0:-1").split(":"))
        found: list[JobFailure] = []
        for row in self._failed_shards(job, after=shard - 1):
            items = self._items(job, row.key.number)
            for place, fields in sorted((int(key), fields) for key, fields in row.body["failures"].items()):
                if (row.key.number, place) > (shard, position):
                    failure = JobFailure(Failure(*fields), f"{row.key.number}:{place}", bool(items[place]))
                    found.append(failure)
                    if len(found) == limit:
                        return found
        return found

    def retry(self, job: str, codes: Sequence[str] | None = None) -> int:
        found = job_of(self._job(job)[0])
        if found.state == "cancelled":
            raise _ended(found)
        sequence = self.draw()
        number = 0
        # Before and after: killed in between, the job runs and does what was freed; ended in between, it runs again.
        self._run_again(job)
        for shard in self._failed_shards(job):
            items = self._items(job, shard.key.number)
            replayable = frozenset(place for place, item in enumerate(items) if item)
            before = 0

            def change(row: Row, replayable: frozenset[int] = replayable) -> Row:
                nonlocal before
                again = retried(row, replayable, codes, sequence)
                before = row.failed - again.failed
                return again

            self._change(shard.key, change)
            number += before
        self._run_again(job)
        return number

    # settings of indices

    def keep_settings(self, index: str, settings: Any) -> None:
        key = Key("settings", index)
        for attempt in attempts_at_it():
            found = self._rows.get(key)
            version = found[1] if found else None
            if found and settings is not None and found[0].state == "kept":
                return  # what was there before the first load is what counts
            row = Row(key, "free" if settings is None else "kept", body=dict(settings or {}))
            if self._rows.put([Change(row, version)]):
                return
            part(attempt)
        raise too_busy(self.address)

    def kept_settings(self) -> dict[str, Any]:
        return {row.key.job: row.body for row in self._rows.find(Wanted("settings", states=("kept",)))}

    def _run_again(self, job: str) -> None:
        def change(found: Job) -> dict[str, Any]:
            again = {"state": "running", "reason": "", "ended": None} if found.state == "done" else {}
            return again | {"retries": 1}

        self._change_job(job, change)

    def _give_up(self, lease: Lease, row: Row) -> bool:
        """Fails the items that killed too many workers -> whether the shard is done with it."""
        tried = [int(place) for place, number in row.body["attempts"].items() if number >= self._max_attempts]
        left = [place for place in tried if outcomes_of(row)[place] == "."]
        if not left:
            return False
        items = self._items(lease.job, lease.shard)
        settled = [Settled(place, "failed", given_up(items[place], self._max_attempts)) for place in left]
        return self.record(lease, settled)


def _lease(row: Row) -> Lease:
    token = row.body["token"]
    version = version_of(row.body["sequence"], token)
    return Lease(row.key.job, row.key.number, token, version, row.body["holder"], row.body["losses"])


def _ended(job: Job) -> JobEnded:
    state: Literal["done", "cancelled"] = "done" if job.state == "done" else "cancelled"
    hint = "Retry its failures, or make a new job." if state == "done" else "Make a new job."
    return JobEnded(f'The job "{job.id}" is {state}.', hint)
