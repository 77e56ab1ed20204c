"""Whatever lists them, the same pictures give the same index; what a killed run left, another finishes, each once."""

import random
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dar_search.data import ImageRecord
from dar_search.errors import PictureError
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import BadItem
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.store import SQLiteStore
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.ingestion_runs import stored
from tests.integration.test_ingestion_killed import finish, stop_after
from tests.listings import remarked, skipped
from tests.picture_lists import FAILED, csv_list, folder, img2dataset, parquet_list

COUNT = 25
FORMS = ("webdataset", "files", "parquet")


def by_content(index: SQLiteIndex) -> dict[str, tuple[Any, ...]]:
    """All of a record but where its picture is."""
    return {record.digest.partition(":")[0]: _said(record) for record in stored(index).values()}


def _said(record: ImageRecord) -> tuple[Any, ...]:
    metadata = {name: value for name, value in record.metadata.items() if name != "url"}  # img2dataset's, of the place
    return record.embedding.tobytes(), record.caption, metadata, record.width, record.height, record.thumbnail


def sources(root: Path) -> dict[str, Path]:
    pictures = folder(root / "pictures", COUNT)
    return {
        "folder": pictures,
        "csv": csv_list(root / "list.csv", pictures, COUNT),
        "parquet": parquet_list(root / "list.parquet", pictures, COUNT),
        **{form: img2dataset(root / form, form, COUNT) for form in FORMS},
    }


def test_the_same_pictures_give_the_same_index_whatever_lists_them(tmp_path: Path) -> None:
    found = {}
    with closing(SQLiteStore(tmp_path / "store.sqlite")) as store:
        for name, source in sources(tmp_path).items():
            index = store.create(name, GridEncoder.provenance)
            encoder = GridEncoder()
            report = ingest(open_source(source), index, encoder, IngestRequest(processes=1))
            assert (report.indexed, report.failures) == (COUNT, ()), name
            found[name] = by_content(index)
            again = ingest(open_source(source), index, encoder, IngestRequest(processes=1))
            assert (again.indexed, again.unchanged, encoder.pictures) == (0, COUNT, COUNT), name
            places = {record.source.partition("#")[0] for record in stored(index).values()}
            assert all(place.startswith(tmp_path.resolve().as_uri()) for place in places)
    assert len(found["folder"]) == COUNT
    for name, records in found.items():
        assert records == found["folder"], name
    ids = [sorted(item.id for item in open_source(tmp_path / one).items()) for one in ("pictures", "list.csv")]  # type: ignore[type-var]
    assert ids[0] == ids[1], "a picture has one id, whether a folder or a list names it"


@pytest.mark.parametrize("form", FORMS)
def test_what_img2dataset_could_not_get_is_counted_by_its_reason(tmp_path: Path, form: str) -> None:
    root = img2dataset(tmp_path / form, form, COUNT)
    assert skipped(root) == {"not_downloaded": 3}
    assert remarked(root).skipped["not_downloaded"].kinds == {FAILED: 3}
    assert list(open_source(root).count())[-1] == COUNT
    whole = list(open_source(root).items())
    for place in (0, 9, 10, 24):
        assert list(open_source(root).items(whole[place].cursor)) == whole[place + 1 :]
    chosen = open_source(root, metadata_fields=["w=width", "city"])
    assert {tuple(item.metadata.items()) for item in chosen.items()} == {(("w", 96), ("city", "Paris"))}  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_run_that_was_killed_goes_on_and_has_each_picture_once(tmp_path: Path, kind: str) -> None:
    """parquet: img2dataset's, with the pictures in it."""
    count = 60
    if kind == "csv":
        source = csv_list(tmp_path / "list.csv", folder(tmp_path / "pictures", count), count)
    else:
        source = img2dataset(tmp_path / "data", "parquet", count)
    _, steps = finish(source, tmp_path / "whole.sqlite")
    stop_after(source, tmp_path / "killed.sqlite", random.Random(kind).randrange(3, steps - 2), signal.SIGKILL)
    report, _ = finish(source, tmp_path / "killed.sqlite")
    assert report["indexed"] + report["unchanged"] == count
    assert report["failures"] == []
    whole, killed = open_index(tmp_path / "whole.sqlite"), open_index(tmp_path / "killed.sqlite")
    assert by_content(killed) == by_content(whole)
    assert killed.count() == count


def test_pictures_of_a_parquet_that_may_not_be_read_stay_unread(tmp_path: Path) -> None:
    root = img2dataset(tmp_path / "data", "parquet", 3)
    item = next(open_source(root).items())
    allowance = Allowance.named([str(tmp_path / "elsewhere")])
    with Outside(allowance=allowance) as outside, pytest.raises(PictureError) as refusal:
        outside.picture(item)  # type: ignore[arg-type]
    assert refusal.value.code == "not_allowed"


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_shards_that_are_gone_or_unfinished_are_said(tmp_path: Path, form: str) -> None:
    root = img2dataset(tmp_path / form, form, COUNT)
    suffix = {"webdataset": "tar", "parquet": "parquet"}[form]
    (root / f"00001.{suffix}").unlink()
    (root / f"00003.{suffix}").write_bytes(b"so far")
    listed = list(open_source(root).items())
    (bad,) = [item for item in listed if isinstance(item, BadItem)]
    assert (bad.failure.code, bad.id, len(listed)) == ("file_missing", None, 16)
    assert list(remarked(root).warnings) == ["broken_shard"]


def test_a_folder_with_statistics_and_no_shards_is_a_folder(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "pictures", 2)
    (pictures / "00000_stats.json").write_text("{}")
    assert len(list(open_source(pictures).items())) == 2
