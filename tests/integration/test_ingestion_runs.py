"""Ingest runs against the real embedded store: what is in the index afterwards, and what was done for it."""

import dataclasses
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dar_search.data import Failure, ImageRecord
from dar_search.errors import DimensionMismatch, ModelFailed, StoreUnavailable
from dar_search.filters import parse_filter
from dar_search.ingestion.decoders import Decoders
from dar_search.ingestion.ingest import ingest
from dar_search.ingestion.locations import record_id
from dar_search.ingestion.report import IngestReport, Progress
from dar_search.ingestion.sources import BadItem, SourceItem, open_source
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite_index import SQLiteIndex
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.integration.test_ingestion_decoders import decoder_processes
from tests.pictures import COLOURS, jpeg, quadrants_of, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def index(tmp_path: Path) -> SQLiteIndex:
    return open_index(tmp_path / "store.db")


def picture(number: int, orientation: int = 1) -> bytes:
    """Pictures that differ."""
    colours = tuple((r, g, (b + 37 * number) % 256) for r, g, b in COLOURS)
    return jpeg(scene(colours, 96, 64), orientation)  # type: ignore[arg-type]


def fill(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(picture(number))


def identity(path: Path) -> str:
    return record_id(path.resolve().as_uri())


def stored(index: SQLiteIndex) -> dict[str, ImageRecord]:
    return index.get(list(index.ids()))


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.indexed, report.unchanged, report.failed, report.removed


def run(source: Path, index: Any, encoder: GridEncoder | None = None, **options: Any) -> IngestReport:
    encoder = encoder or GridEncoder()
    decoders = Decoders(encoder.preparation, processes=1)  # enough here: a process takes a third of a second to start
    return ingest(open_source(source), index, encoder, decoders=decoders, **options)


class Wrapped:
    """An index of which one method is another."""

    def __init__(self, index: SQLiteIndex, **methods: Callable[..., Any]) -> None:
        self._index = index
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._index, name)


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
    report = IngestReport(1, 2, 3, (Failure("file:///a.jpg", "empty_file", "The file is empty."),), ("a note",))
    assert json.loads(json.dumps(report.as_dict())) == {
        "indexed": 1,
        "unchanged": 2,
        "failed": 1,
        "removed": 3,
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


# failures of the other parts


def test_a_record_that_the_store_refuses_is_one_failure(tmp_path: Path, folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 3)
    listing = tmp_path / "list.jsonl"
    rows = [
        '{"path": "photos/000.jpg", "year": 1}',
        '{"path": "photos/001.jpg", "year": "old"}',
        '{"path": "photos/002.jpg"}',
    ]
    listing.write_text(rows[0])
    run(listing, index)
    listing.write_text("\n".join(rows))
    report = run(listing, index)
    assert counts(report) == (1, 1, 1, 0)
    assert report.failures[0].code == "metadata_type"
    assert report.failures[0].source.endswith("001.jpg")


def left_behind() -> list[str]:
    """Threads and processes of a run."""
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("dar-ingest")]
    return threads + [str(child) for child in decoder_processes()]


def test_a_store_that_fails_ends_the_run_with_its_error_and_leaves_nothing_running(
    folder: Path, index: SQLiteIndex
) -> None:
    fill(folder, 60)
    writes = 0

    def write(records: Sequence[ImageRecord], **options: Any) -> list[tuple[str, Failure]]:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise StoreUnavailable("The store is away.", "Try again later.")
        return index.write(records, **options)

    encoder = GridEncoder()
    with pytest.raises(StoreUnavailable, match="away"):
        run(folder, Wrapped(index, write=write), encoder, batch_size=4)
    assert left_behind() == []
    assert encoder.pictures < 60 or writes >= 3
    done = index.count()
    again = GridEncoder()
    assert counts(run(folder, index, again)) == (60 - done, done, 0, 0)
    assert again.pictures == 60 - done


def test_a_store_that_cannot_be_read_ends_the_run_with_its_error(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 2)

    def digests(ids: Sequence[str]) -> dict[str, str]:
        raise StoreUnavailable("The store is away.", "Try again later.")

    with pytest.raises(StoreUnavailable, match="away"):
        run(folder, Wrapped(index, digests=digests))
    assert left_behind() == []


def test_a_wrong_dimension_ends_the_run_with_one_error(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 2)

    class Other(GridEncoder):
        provenance = dataclasses.replace(GridEncoder.provenance, dimension=7)

        def encode_prepared(self, pixels: Any) -> Any:
            return super().encode_prepared(pixels)[:, :7]

    with pytest.raises(DimensionMismatch):
        run(folder, index, Other())
    assert left_behind() == []


def test_an_encoder_that_gives_nonsense_is_found_out(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 3)

    class Blind(GridEncoder):
        def encode_prepared(self, pixels: Any) -> Any:
            vectors = super().encode_prepared(pixels)
            vectors[0] = np.nan
            return vectors

    report = run(folder, index, Blind())
    assert counts(report) == (2, 0, 1, 0)
    assert report.failures[0].code == "encoding_failed"

    class Short(GridEncoder):
        def encode_prepared(self, pixels: Any) -> Any:
            return super().encode_prepared(pixels)[:-1]

    (folder / "new.jpg").write_bytes(picture(50))
    with pytest.raises(ModelFailed, match="shape"):
        run(folder, index, Short())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelFailed("The model is broken.")])
def test_a_run_that_is_interrupted_keeps_what_was_encoded_and_leaves_nothing_running(
    folder: Path, index: SQLiteIndex, error: Any
) -> None:
    fill(folder, 50)

    def interrupt(call: int) -> None:
        if call == 5:
            raise error

    encoder = GridEncoder(interrupt)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(folder, index, encoder, batch_size=4)
    assert left_behind() == []
    assert index.count() == encoder.pictures == 20
    again = GridEncoder()
    assert counts(run(folder, index, again)) == (30, 20, 0, 0)
    assert again.pictures == 30


def test_a_record_that_another_process_removes_meanwhile_is_a_failure_and_not_a_crash(
    folder: Path, index: SQLiteIndex
) -> None:
    fill(folder, 1)
    run(folder, index)
    (folder / "000.txt").write_text("new")
    report = run(folder, Wrapped(index, get=lambda ids: {}))
    assert counts(report) == (0, 0, 1, 0)
    assert report.failures[0].code == "record_vanished"


# flow


def test_the_encoder_is_called_from_the_callers_thread_in_full_batches(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 25)
    threads = set()
    sizes = []

    class Noting(GridEncoder):
        def encode_prepared(self, pixels: Any) -> Any:
            threads.add(threading.current_thread())
            sizes.append(len(pixels))
            return super().encode_prepared(pixels)

    run(folder, index, Noting(), batch_size=10)
    assert threads == {threading.current_thread()}
    assert sizes == [10, 10, 5]


def test_memory_does_not_grow_with_the_source(tmp_path: Path, folder: Path, index: SQLiteIndex) -> None:
    """What has been listed and is not yet encoded stays within the queues' bounds, however slow the encoder."""
    fill(folder, 1)
    listing = tmp_path / "list.jsonl"
    listing.write_text("".join(f'{{"path": "photos/000.jpg", "id": "{number}"}}\n' for number in range(600)))
    source = open_source(listing)
    listed = 0

    class Counting:
        origin = source.origin
        count = staticmethod(source.count)

        def items(self, after: str | None = None) -> Iterator[SourceItem | BadItem]:
            nonlocal listed
            for item in source.items(after):
                listed += 1
                yield item

    encoder = GridEncoder()
    ahead = []
    encoder.before_call = lambda call: ahead.append(listed - encoder.pictures)
    ingest(Counting(), index, encoder, batch_size=4)
    assert encoder.pictures == 600
    # One part of the listing in hand (256), the jobs in the decoders, the outcomes that wait, and the batch.
    assert max(ahead) <= 256 + 2 * (os.cpu_count() or 1) + 2 * 4 + 4 + 1


def test_progress_rises_to_the_whole(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 40)
    (folder / "bad.jpg").write_bytes(b"")
    run(folder, index)
    (folder / "new.jpg").write_bytes(picture(99))
    shown: list[Progress] = []
    run(folder, index, progress=shown.append)
    assert [progress.done for progress in shown] == sorted(progress.done for progress in shown)
    last = shown[-1]
    assert (last.done, last.total) == (42, 42)
    assert (last.indexed, last.unchanged, last.failed) == (1, 40, 1)
    assert last.rate > 0


def test_equal_pictures_under_two_names_are_two_records(folder: Path, index: SQLiteIndex) -> None:
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(picture(1))
    assert counts(run(folder, index)) == (2, 0, 0, 0)
    assert index.count() == 2
