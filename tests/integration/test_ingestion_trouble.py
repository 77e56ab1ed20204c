"""Ingest runs when a store, an encoder or the user ends them, and how they flow."""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dar_search.data import Failure, ImageRecord
from dar_search.errors import DimensionMismatch, ModelFailed, StoreUnavailable
from dar_search.ingestion.decoding.decoder_handle import MOST_JOBS
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.jobs.report import Progress
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.stores.sqlite.index import SQLiteIndex
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import Wrapped, counts, fill, picture, run, stored
from tests.integration.test_ingestion_decoders import decoder_processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def index(tmp_path: Path) -> SQLiteIndex:
    return open_index(tmp_path / "store.db")


# failures of the other parts


def test_a_field_of_another_type_is_a_warning_and_the_picture_goes_in(
    tmp_path: Path, folder: Path, index: SQLiteIndex
) -> None:
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
    assert counts(report) == (2, 1, 0, 0)
    warned = report.remarked.warnings["metadata_type"]
    assert (warned.count, warned.kinds) == (1, {"year": 1})
    assert '001.jpg: "year" is a number in this index' in warned.examples[0]
    assert {record.source[-7:]: record.metadata for record in stored(index).values()} == {
        "000.jpg": {"year": 1},
        "001.jpg": {},
        "002.jpg": {},
    }
    again = run(listing, index)
    assert (counts(again), again.remarked.warnings) == ((0, 3, 0, 0), {})


def test_what_other_programs_wrote_of_a_picture_in_other_types_never_costs_the_picture(
    folder: Path, index: SQLiteIndex
) -> None:
    # As `exiftool -j` writes it: a number where the value looks like one, else text.
    fill(folder, 4)
    for number, (software, exposure) in enumerate([(1.0, "1/60"), ("Picasa", 1), ("Adobe", "1/3"), (2.1, 2)]):
        fields = {"Software": software, "ExposureTime": exposure, "Make": "Canon"}
        (folder / f"{number:03}.json").write_text(json.dumps(fields))
    report = run(folder, index)
    assert (counts(report), report.remarked.warnings["metadata_type"].count) == ((4, 0, 0, 0), 4)
    assert [record.metadata["Make"] for record in stored(index).values()] == ["Canon"] * 4


def test_more_fields_than_an_index_has_are_left_out_and_counted(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 3)
    for number in range(3):
        fields = {f"field-{number}-{place}": place for place in range(90)}
        (folder / f"{number:03}.json").write_text(json.dumps(fields))
    report = run(folder, index)
    assert (counts(report), report.remarked.warnings["metadata_fields"].count) == ((3, 0, 0, 0), 90)


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
        if writes == 2:
            raise StoreUnavailable("The store is away.", "Try again later.")
        return index.write(records, **options)

    encoder = GridEncoder()
    with pytest.raises(StoreUnavailable, match="away"):
        run(folder, Wrapped(index, write=write), encoder, batch_size=4)
    assert left_behind() == []
    assert 0 < index.count() < 60
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


def test_batches_that_come_soon_are_joined_and_none_waits_long(folder: Path, index: SQLiteIndex) -> None:
    fill(folder, 60)
    sizes = []

    def write(records: Sequence[ImageRecord], **options: Any) -> list[tuple[str, Failure]]:
        sizes.append(len(records))
        return index.write(records, **options)

    def before_call(call: int) -> None:
        until = time.monotonic() + 30
        while call == 1 and not index.count() and time.monotonic() < until:
            time.sleep(0.01)

    encoder = GridEncoder(before_call)
    run(folder, Wrapped(index, write=write), encoder, batch_size=4)
    assert encoder.calls == 15
    assert sizes[0] == 4, "the first batch waited for the second, which came late"
    assert sum(sizes) == 60
    assert len(sizes) < 15


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

        def items(self, after: str | None = None, remarks: Remarks | None = None) -> Iterator[SourceItem | BadItem]:
            nonlocal listed
            for item in source.items(after, remarks):
                listed += 1
                yield item

    encoder = GridEncoder()
    ahead = []
    encoder.before_call = lambda call: ahead.append(listed - encoder.pictures)
    ingest(Counting(), index, encoder, IngestRequest(batch_size=4))
    assert encoder.pictures == 600
    # One part of the listing in hand (256), the jobs in the decoders, the outcomes that wait, and the batch.
    assert max(ahead) <= 256 + MOST_JOBS * (os.cpu_count() or 1) + 2 * 4 + 4 + 1


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
