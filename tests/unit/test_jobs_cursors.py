"""A listing that was interrupted goes on where it stopped."""

import json
from pathlib import Path

import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.sources.source import open_source


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
