"""Ingest runs against the real embedded store: what is in the index afterwards, and what was done for it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dar_search.data import Failure
from dar_search.filters import parse_filter
from dar_search.ingestion.jobs.data import Noted, Remarked
from dar_search.ingestion.jobs.report import IngestReport
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite.index import SQLiteIndex
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import counts, fill, identity, picture, run, stored
from tests.pictures import COLOURS, jpeg, quadrants_of, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def index(tmp_path: Path) -> SQLiteIndex:
    return open_index(tmp_path / "store.db")


# what a record holds


def test_a_record_holds_all_that_is_known_of_its_picture(folder: Path, index: SQLiteIndex) -> None:
    (folder / "a.jpg").write_bytes(jpeg(scene(), 6))
    (folder / "a.txt").write_text("Four colours.")
    (folder / "a.json").write_text('{"year": 1999, "tags": ["x", "y"]}')
    assert counts(run(folder, index)) == (1, 0, 0, 0)
    (record,) = stored(index).values()
    assert record.id == identity(folder / "a.jpg")
    assert record.source == (folder / "a.jpg").resolve().as_uri()
    assert record.origin == folder.resolve().as_uri()
    assert (record.caption, record.width, record.height) == ("Four colours.", 200, 120)
    assert record.metadata == {"year": 1999.0, "tags": ("x", "y")}
    assert record.thumbnail is not None
    assert quadrants_of(Image.open(io.BytesIO(record.thumbnail)))[1] == pytest.approx(COLOURS[1], abs=12)
    assert record.embedding == pytest.approx(GridEncoder().encode_images([scene()])[0], abs=0.01)
    assert index.count(parse_filter({"year": {"gte": 1999}, "tags": "y"})) == 1


def test_rows_of_a_jsonl_file_become_records(tmp_path: Path, folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 3)
    rows = [
        {"path": f"photos/{n:03}.jpg", "caption": f"number {n}", "id": f"n{n}", "even": n % 2 == 0} for n in range(3)
    ]
    rows.append({"path": "photos/missing.jpg"})
    (tmp_path / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "not a row\n")
    report = run(tmp_path / "list.jsonl", index)
    assert counts(report) == (3, 0, 2, 0)
    missing = (folder / "missing.jpg").resolve().as_uri()
    last = f"{(tmp_path / 'list.jsonl').resolve().as_uri()}#L5"
    assert {(failure.source, failure.code) for failure in report.failures} == {
        (missing, "file_missing"),
        (last, "bad_line"),
    }
    records = stored(index)
    assert {key: record.caption for key, record in records.items()} == {f"n{n}": f"number {n}" for n in range(3)}
    assert records["n1"].metadata == {"even": False}


def test_a_report_is_one_json_object_of_the_agreed_shape() -> None:
    remarked = Remarked({"other_kind": Noted(2, {".nef": 2}, ("file:///b.nef", "file:///c.nef"))})
    failure = Failure("file:///a.jpg", "empty_file", "The file is empty.")
    report = IngestReport(1, 2, 3, (failure,), ("a note",), remarked=remarked)
    assert json.loads(json.dumps(report.as_dict())) == {
        "indexed": 1,
        "unchanged": 2,
        "failed": 1,
        "moved": 0,
        "removed": 3,
        "skipped": {"other_kind": {"count": 2, "kinds": {".nef": 2}, "examples": ["file:///b.nef", "file:///c.nef"]}},
        "warnings": {},
        "failures": [{"source": "file:///a.jpg", "code": "empty_file", "message": "The file is empty."}],
    }


# runs after runs


def test_a_second_run_encodes_nothing_and_a_change_is_one_rewrite(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 70)
    encoder = GridEncoder()
    assert counts(run(folder, index, encoder)) == (70, 0, 0, 0)
    before = stored(index)
    assert encoder.pictures == 70
    assert counts(run(folder, index, encoder)) == (0, 70, 0, 0)
    assert encoder.pictures == 70
    (folder / "007.jpg").write_bytes(picture(7, orientation=3) + b"\0")
    assert counts(run(folder, index, encoder)) == (1, 69, 0, 0)
    assert encoder.pictures == 71
    after = stored(index)
    changed = identity(folder / "007.jpg")
    assert after.keys() == before.keys()
    assert after[changed].digest != before[changed].digest
    assert all(after[key].digest == before[key].digest for key in before if key != changed)


def test_a_new_caption_is_written_with_the_stored_embedding(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 3)
    encoder = GridEncoder()
    run(folder, index, encoder)
    before = stored(index)
    (folder / "001.txt").write_text("a new caption")
    assert counts(run(folder, index, encoder)) == (1, 2, 0, 0)
    assert encoder.pictures == 3
    record = stored(index)[identity(folder / "001.jpg")]
    old = before[record.id]
    assert record.caption == "a new caption"
    assert np.array_equal(record.embedding, old.embedding)
    assert (record.thumbnail, record.width, record.height) == (old.thumbnail, old.width, old.height)
    assert index.search(SearchRequest(text="caption")).hits[0].id == record.id
    assert counts(run(folder, index, encoder)) == (0, 3, 0, 0)
    (folder / "001.txt").unlink()
    assert counts(run(folder, index, encoder)) == (1, 2, 0, 0)
    assert stored(index)[record.id].digest == old.digest


def test_a_deleted_picture_is_removed_only_where_pruning_is_asked_for(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 4)
    run(folder, index)
    (folder / "002.jpg").unlink()
    assert counts(run(folder, index)) == (0, 3, 0, 0)
    assert index.count() == 4
    assert counts(run(folder, index, prune=True)) == (0, 3, 0, 1)
    assert set(stored(index)) == {identity(folder / f"{number:03}.jpg") for number in (0, 1, 3)}


def test_pruning_leaves_the_records_of_other_origins(tmp_path: Path, folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 2)
    other = tmp_path / "other"
    other.mkdir()
    fill(other, 2)
    run(folder, index)
    run(other, index)
    (folder / "000.jpg").unlink()
    assert run(folder, index, prune=True).removed == 1
    assert index.count() == 3


def test_a_picture_that_became_unreadable_keeps_its_record(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 2)
    run(folder, index)
    before = stored(index)
    (folder / "001.jpg").write_bytes(b"half a copy")
    report = run(folder, index, prune=True)
    assert counts(report) == (0, 1, 1, 0)
    assert report.failures[0].code == "not_a_picture"
    assert stored(index).keys() == before.keys()


def test_nothing_is_pruned_where_a_part_of_the_source_is_unknown(
    tmp_path: Path, folder: Path, index: SQLiteIndex
) -> None:
    fill(folder, 3)
    listing = tmp_path / "list.jsonl"
    listing.write_text("".join(f'{{"path": "photos/{number:03}.jpg"}}\n' for number in range(3)))
    run(listing, index)
    listing.write_text('{"path": "photos/000.jpg"}\n{"path": "photos/001.j\n')
    report = run(listing, index, prune=True)
    assert counts(report) == (0, 1, 1, 0)
    assert "Nothing was pruned" in report.notes[0]
    listing.write_text('{"path": "photos/000.jpg"}\n')
    assert run(listing, index, prune=True).removed == 2


def test_an_empty_source_prunes_nothing_and_says_so(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 2)
    run(folder, index)
    for path in folder.iterdir():
        path.unlink()
    report = run(folder, index, prune=True)
    assert counts(report) == (0, 0, 0, 0)
    assert [note.split(":")[0] for note in report.notes] == ["The source lists no picture.", "Nothing was pruned"]
    assert index.count() == 2


def test_rows_with_the_same_id_are_failures_and_the_first_one_counts_in_every_run(
    tmp_path: Path, folder: Path, index: SQLiteIndex
) -> None:
    fill(folder, 2)
    listing = tmp_path / "list.jsonl"
    listing.write_text(
        '{"path": "photos/000.jpg", "caption": "first"}\n{"path": "photos/000.jpg", "caption": "second"}\n'
        '{"path": "photos/001.jpg", "id": "x"}\n{"path": "photos/000.jpg", "id": "x"}\n'
    )
    for expected in ((2, 0, 2, 0), (0, 2, 2, 0)):
        report = run(listing, index)
        assert counts(report) == expected
        assert [(failure.code, failure.source[-3:]) for failure in report.failures] == [
            ("duplicate_id", "#L2"),
            ("duplicate_id", "#L4"),
        ]
    assert stored(index)[identity(folder / "000.jpg")].caption == "first"
    assert stored(index)["x"].source.endswith("001.jpg")
