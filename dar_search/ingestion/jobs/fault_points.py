"""Named points of an ingest job where a test may have the process killed. In ordinary runs nothing happens there.

listed      items are listed, and not yet in the ledger
claimed     a shard is leased, and not yet begun
decoded     a picture is decoded, and not yet encoded
encoded     a batch is encoded, and not yet written
mid_write   a write has begun, and is not yet durable as a whole
written     records are in the index, and the ledger does not know
recorded    the ledger knows
ending      all shards are done, and the job is not
"""

from __future__ import annotations

from collections.abc import Callable

NAMES = ("listed", "claimed", "decoded", "encoded", "mid_write", "written", "recorded", "ending")


def _nothing(name: str) -> None:
    pass


_hook: Callable[[str], None] = _nothing


def reached(name: str) -> None:
    """Says that a point is reached."""
    _hook(name)


def set_hook(hook: Callable[[str], None] | None) -> None:
    """For a test's own process: what is called with each point's name."""
    global _hook
    _hook = hook or _nothing
