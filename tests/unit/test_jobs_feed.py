"""What a worker does next: with the ledger in memory."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.pipeline.shard_feed import ShardFeed
from tests.contract.ledgers import SPEC, fill, listed

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("end", ["pause", "cancel"])
def test_the_feed_ends_where_the_job_was_stopped_with_shards_open(end: str) -> None:
    ledger = MemoryLedger()
    job = ledger.create(SPEC)
    fill(ledger, job, listed("a"), listed("b"), listed("c"))
    lister: Any = None  # nobody lists more
    with closing(Leases(ledger)) as leases:
        feed = ShardFeed(ledger, leases, lister, job.id)
        assert feed.next() is not None
        getattr(ledger, end)(job.id, "By a person.")
        assert ledger.open_shards(job.id)
        assert feed.next() is None
