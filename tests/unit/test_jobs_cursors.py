"""A listing that was interrupted goes on where it stopped."""

import itertools
import json
from pathlib import Path

import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.jobs.data import HEAD, JobSpec
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.pipeline.listing import Lister
from dar_search.ingestion.sources.opening import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names whose plain order differs from the order of the walk: "a" and "a.jpg", "a b", bytes that are no text."""
    root = tmp_path / "photos"
    for name in ("a/1.jpg", "a/b/2.jpg", "a/b.jpg", "a.jpg", "a b/1.jpg", "z/y/x/1.jpg", "Ä/%2F.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "z/loop.jpg").symlink_to("loop.jpg")
    return root


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    path = tmp_path / "list.jsonl"
    rows = [json.dumps({"path": f"{number}.jpg"}) for number in range(7)]
    path.write_text("\ufeff" + "\n\n".join([*rows[:3], "no row", *rows[3:]]))
    return path


@pytest.mark.parametrize("kind", ["folder", "listing"])
def test_a_listing_goes_on_after_any_item_in_another_process(kind: str, request: pytest.FixtureRequest) -> None:
    target = request.getfixturevalue(kind)
    everything = list(open_source(target).items())
    assert len(everything) == 8
    for number, listed in enumerate(everything):
        assert list(open_source(target).items(listed.cursor)) == everything[number + 1 :]


def test_a_listing_goes_on_after_an_item_that_is_gone(folder: Path) -> None:
    everything = list(open_source(folder).items())
    (folder / "a/b.jpg").unlink()
    gone = next(number for number, item in enumerate(everything) if item.cursor == "a/b.jpg")
    assert list(open_source(folder).items("a/b.jpg")) == everything[gone + 1 :]


def test_a_cursor_of_another_source_is_refused(listing: Path) -> None:
    with pytest.raises(SourceError):
        list(open_source(listing).items("a/b.jpg"))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_what_a_listing_leaves_out_is_counted_once_whoever_goes_on_with_it(folder: Path, size: int) -> None:
    for name in ("a/x.nef", "a/b/lost.txt", ".hidden.jpg", "z/@eaDir/t.jpg", "zz.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "a/1.json").write_text('{"n": NaN}')
    ledger = MemoryLedger()
    job = ledger.create(JobSpec("photos", str(folder)))
    head = ledger.claim(job.id, HEAD, "me")
    assert head is not None
    for number in itertools.count():
        lister = Lister(ledger, open_source(folder), size=size)
        lister.catch_up(ledger.job(job.id))
        if number % 2 and lister.list_shard(head):  # every other one dies before it has listed anything
            break
    found = ledger.job(job.id).remarked
    assert {code: noted.count for code, noted in found.skipped.items()} == {
        "other_kind": 2, "unmatched_sidecar": 1, "hidden": 1, "system_folder": 1,
    }  # fmt: skip
    assert found.warnings["bad_metadata"].count == 1
    assert ledger.job(job.id).items == 8
