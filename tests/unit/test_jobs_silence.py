"""Whether a source that lists slowly is seen to go on: by all that it comes upon, not by whole shards."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dar_search.ingestion.jobs import remarks as remarks_module
from dar_search.ingestion.jobs.data import HEAD
from dar_search.ingestion.jobs.leasing import Leases
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.pipeline import listing as listing_module
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import SourceItem
from tests.contract.ledgers import SPEC


def test_what_a_source_comes_upon_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    for module in (remarks_module, listing_module):
        monkeypatch.setattr(module, "time", clock)
    seen: list[float | None] = []

    class Slow:
        def items(self, after: str | None, remarks: Remarks) -> Iterator[SourceItem]:
            for step in (remarks.look, lambda: remarks.skip("hidden", "x"), None, None):
                now[0] += 1
                seen.append(lister.silent_since)
                if step is None:
                    yield SourceItem(str(now[0]), str(now[0]), b"")
                else:
                    step()

    ledger = MemoryLedger()
    lister = Lister(ledger, Slow())  # type: ignore[arg-type]
    with closing(Leases(ledger)) as leases:
        head = leases.claim(ledger.create(SPEC).id, HEAD)
        assert head is not None
        assert lister.list_shard(head)
    assert (seen, lister.silent_since) == ([0, 1, 2, 3], None)


@pytest.mark.parametrize("kind", ["folder", "tar", "packed tar", "list"])
def test_a_source_tells_of_all_that_it_walks(tmp_path: Path, kind: str) -> None:
    """Of what comes before its cursor, too, where that is walked again."""
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(b"a picture")
        (folder / f"{number}.pdf").write_bytes(b"none")
    place, again = folder, 12
    if "tar" in kind:
        place = tmp_path / "x.tar"
        with tarfile.open(place, "w:gz" if "packed" in kind else "w") as shard:
            shard.add(folder, ".")
    if kind == "list":
        place, again = tmp_path / "x.jsonl", 0  # it goes on at once
        place.write_text("".join(f'{{"path": "{name}.jpg"}}\n\n' for name in range(6)))
    looks: list[int] = []

    class Told(Remarks):
        def look(self) -> None:
            looks.append(1)

    source: Any = open_source(place)
    cursors = [one.cursor for one in source.items(None, Told())]
    assert len(looks) >= 6
    looks.clear()
    assert list(source.items(cursors[-1], Told())) == []
    assert len(looks) >= again
