"""Reading and changing a ledger's rows: what `row_ledger.RowLedger` stands on."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dar_search.errors import JobNotFound, LeaseLost, StoreUnavailable
from dar_search.ingestion.jobs.data import HEAD, Job, Lease, Settled
from dar_search.ingestion.jobs.ledger.job_rows import job_of, job_row
from dar_search.ingestion.jobs.ledger.rows import Change, Key, Row, Rows, Wanted

_TRIES = 200


class RowAccess:
    """Rows, by what they mean; changes made again and again until nobody came in between."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @property
    def address(self) -> str:
        return self._rows.address

    def close(self) -> None:
        self._rows.close()

    def _job(self, job: str) -> tuple[Row, Any]:
        found = self._rows.get(Key("job", job))
        if found is None:
            raise JobNotFound(f'There is no job "{job[:80]}" in {self.address}.', "`dar jobs list` names them.")
        return found

    def _items_row(self, job: str, shard: int) -> Row:
        found = self._rows.get(Key("items", job, shard))
        if found is None:
            raise JobNotFound(f'The ledger {self.address} lost the items of shard {shard} of "{job}".', "")
        return found[0]

    def _items(self, job: str, shard: int) -> list[dict[str, Any]]:
        return list(self._items_row(job, shard).body["items"])

    def _all_done(self, job: str) -> bool:
        last = job_of(self._job(job)[0]).shards
        found = self._rows.find(Wanted("shard", job=job, states=("open", "held"), after=HEAD, limit=1))
        return not found or found[0].key.number > last  # above it: a listing that was interrupted

    def _failed_shards(self, job: str, after: int = HEAD) -> Iterator[Row]:
        while rows := self._rows.find(Wanted("shard", job=job, failed=True, after=max(after, HEAD), limit=50)):
            yield from rows
            after = rows[-1].key.number

    def _over(self, row: Row) -> Change:
        """A write over what an interrupted listing left there, if anything."""
        found = self._rows.get(row.key)
        return Change(row, found[1] if found else None)

    def _under(self, lease: Lease) -> Row:
        found = self._rows.get(Key("shard", lease.job, lease.shard))
        if found is None or not self._is_held(found[0], lease):
            raise lease_lost(lease)
        return found[0]

    def _is_held(self, row: Row, lease: Lease) -> bool:
        return row.state == "held" and row.body["token"] == lease.token and row.body["holder"] == lease.holder

    def _change(self, key: Key, change: Callable[[Row], Row]) -> Row:
        for attempt in attempts_at_it():
            found = self._rows.get(key)
            if found is None:
                raise JobNotFound(f'There is no job "{key.job[:80]}" in {self.address}.', "`dar jobs list` names them.")
            new = change(found[0])
            if new == found[0] or self._rows.put([Change(new, found[1])]):
                return new
            part(attempt)
        raise too_busy(self.address)

    def _change_job(self, job: str, change: Callable[[Job], dict[str, Any]]) -> Job:
        def changed(row: Row) -> Row:
            found = job_of(row)
            fields = change(found)
            retries = fields.pop("retries", 0)
            return job_row(dataclasses.replace(found, **fields), row.body.get("retries", 0) + retries)

        return job_of(self._change(Key("job", job), changed))

    def _change_under(self, lease: Lease, change: Callable[[Row], Row], *, done_is_fine: Sequence[Settled] = ()) -> Row:
        def checked(row: Row) -> Row:
            if self._is_held(row, lease):
                return change(row)
            # The answer to our own last record may have been lost on its way.
            if done_is_fine and row.state == "done" and row.body["token"] == lease.token:
                return row
            raise lease_lost(lease)

        try:
            return self._change(Key("shard", lease.job, lease.shard), checked)
        except JobNotFound:
            raise lease_lost(lease) from None  # the job was removed


def lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f'Shard {lease.shard} of job "{lease.job}" is held by somebody else now.', "Nothing is lost.")


def too_busy(address: str) -> StoreUnavailable:
    return StoreUnavailable(f"The ledger {address} is changed by too many at once.", "Use fewer workers.")


def attempts_at_it() -> range:
    return range(_TRIES)


def part(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.002 * min(attempt + 1, 25)))  # noqa: S311  # to part those who collide
