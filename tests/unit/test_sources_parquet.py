"""Parquet files as sources: what values become, pictures within them, and files that are damaged."""

import datetime
import decimal
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dar_search.errors import SourceError
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import BadItem
from tests.listings import items, jsonl, remarked, skipped, warnings


def table(folder: Path, columns: dict[str, Any], *, name: str = "list.parquet", group: int = 1_000) -> Path:
    path = folder / name
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_a_row_says_what_the_same_row_of_a_jsonl_says(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        {
            "path": ["a.jpg", None],
            "url": [None, "http://example.org/b.jpg"],
            "text": [" a\ncat", None],
            "id": pa.array([7, None]),
            "city": pa.array(["Rome", "Rome"]).dictionary_encode(),
            "metadata": ['{"who": "me"}', None],
        },
    )
    rows = (
        '{"path": "a.jpg", "text": "a cat", "id": 7, "city": "Rome", "who": "me"}',
        '{"url": "http://example.org/b.jpg", "city": "Rome"}',
    )
    said = [(item.id, item.key, item.path, item.at, item.caption, item.metadata) for item in items(path)]
    by_row = items(jsonl(tmp_path, *rows))
    assert said == [(item.id, item.key, item.path, item.at, item.caption, item.metadata) for item in by_row]
    assert [item.place.rpartition("#")[2] for item in items(path)] == ["R1", "R2"]


def test_values_keep_what_they_are(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 5, 1, 12, 30, tzinfo=datetime.UTC)
    path = table(
        tmp_path,
        {
            "path": ["a.jpg"],
            "exact": pa.array([9007199254740993], pa.int64()),
            "small": pa.array([7], pa.uint8()),
            "unsigned": pa.array([2**63 - 1], pa.uint64()),
            "half": pa.array([0.5], pa.float16()),
            "single": pa.array([0.25], pa.float32()),
            "truth": [True],
            "day": [moment.date()],
            "moment": pa.array([moment], pa.timestamp("ms", "UTC")),
            "finer": pa.array([1_714_566_600_000_000_001], pa.timestamp("ns")),
            "clock": [datetime.time(12, 30)],
            "price": pa.array([decimal.Decimal("12.50")], pa.decimal128(10, 2)),
            "count": pa.array([decimal.Decimal(12)], pa.decimal128(10, 0)),
            "tags": [["x", "y"]],
            "none": pa.array([None], pa.string()),
            "nothing": pa.nulls(1),
        },
    )
    (item,) = items(path)
    assert item.metadata == {
        "exact": 9007199254740993,
        "small": 7,
        "unsigned": 2**63 - 1,
        "half": 0.5,
        "single": 0.25,
        "truth": True,
        "day": "2024-05-01",
        "moment": "2024-05-01T12:30:00+00:00",
        "finer": "2024-05-01T12:30:00",
        "clock": "12:30:00",
        "price": 12.5,
        "count": 12,
        "tags": ("x", "y"),
    }
    assert {type(item.metadata[name]) for name in ("exact", "count")} == {int}


def test_what_no_index_keeps_is_a_warning(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        {
            "path": ["a.jpg"],
            "unsigned": pa.array([2**64 - 1], pa.uint64()),
            "gap": pa.array([float("nan")]),
            "inner": [{"a": 1}],
            "emb": pa.array([[0.5, 0.5]], pa.list_(pa.float32(), 2)),
            "raw": pa.array([b"xyz"]),
            "__index_level_0__": pa.array([7]),
        },
    )
    (item,) = items(path)
    assert item.metadata == {}
    assert warnings(path) == [
        ("bad_metadata", name) for name in ("__index_level_0__", "emb", "gap", "inner", "raw", "unsigned")
    ]
    (named,) = items(path, metadata_fields=["emb"])
    assert named.metadata == {"emb": (0.5, 0.5)}


@pytest.mark.parametrize("kind", ["bytes", "dataset"])
def test_pictures_lie_in_a_column(tmp_path: Path, kind: str) -> None:
    held = [b"one", None, b"three"]
    column = held if kind == "bytes" else [{"bytes": one, "path": "x.jpg"} for one in held]
    path = table(tmp_path, {"image": column, "caption": ["a", "b", "c"], "url": ["http://example.org/a"] * 3}, group=2)
    listed = list(open_source(path).items())
    first, missing, last = listed
    assert isinstance(missing, BadItem)
    assert missing.failure.code == "bad_line"
    assert not isinstance(first, BadItem)
    assert not isinstance(last, BadItem)
    assert (first.key, first.caption) == (f"{path.resolve().as_uri()}#R1", "a")
    assert first.metadata == {"url": "http://example.org/a"}
    with Outside() as outside:
        assert [outside.picture(one) for one in (first, last, first)] == [b"one", b"three", b"one"]


def test_a_listing_goes_on_after_any_row(tmp_path: Path) -> None:
    numbers = list(range(1_300))
    path = table(tmp_path, {"path": [f"{number}.jpg" for number in numbers], "n": numbers}, group=600)
    source = open_source(path)
    whole = list(source.items())
    assert [item.metadata["n"] for item in whole] == numbers  # type: ignore[union-attr]
    for number in (0, 1, 511, 512, 599, 600, 1_250, 1_299):
        assert list(open_source(path).items(whole[number].cursor)) == whole[number + 1 :]
    assert list(source.count()) == [1_300]
    with pytest.raises(SourceError, match="no place"):
        list(source.items("1:2"))


def test_a_damaged_file_is_one_failure_after_what_could_be_read(tmp_path: Path) -> None:
    path = table(tmp_path, {"path": [f"{number:04}.jpg" for number in range(4_000)]}, group=2_000)
    data = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[place : place + 64] = b"\xff" * 64
    path.write_bytes(data)
    *good, bad = open_source(path).items()
    assert isinstance(bad, BadItem)
    assert (bad.failure.code, bad.id, len(good)) == ("broken_shard", None, 2_000)
    assert list(open_source(path).items(bad.cursor)) == []


def test_what_is_no_such_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="not a Parquet file"):
        open_source(tmp_path / "cut.parquet")
    with pytest.raises(SourceError, match="names no pictures"):
        open_source(table(tmp_path, {"title": ["x"]}))
    path = table(tmp_path, {"path": ["a.jpg"]})
    with pytest.raises(SourceError, match="has no column"):
        open_source(path, field="image_url")
    with pytest.raises(SourceError, match="has no column"):
        open_source(path, vectors="emb")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SourceError, match="pyarrow") as refusal:
        open_source(path)
    assert "dar-search[parquet]" in refusal.value.hint


def test_excluded_addresses_are_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, {"path": ["a.gif", "b.jpg"]})
    assert [item.key.rpartition("/")[2] for item in items(path, exclude=["*.gif"])] == ["b.jpg"]
    assert skipped(path, exclude=["*.gif"]) == {"excluded": 1}
    assert remarked(path).skipped == {}
