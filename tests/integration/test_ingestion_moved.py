"""Pictures that are at a new place: their records go with them, and whose file may still be there keeps its own.

On both stores, with real files. Sources of the kinds: immich #5629, #18933, #4925, #29996.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from dar_search.data import Failure, ImageRecord
from dar_search.errors import StoreUnavailable
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ingestion.jobs.ledger.memory import MemoryLedger
from dar_search.ingestion.jobs.report import IngestReport
from dar_search.ingestion.pipeline import absence
from dar_search.ingestion.pipeline.absence import is_gone
from dar_search.ingestion.sources.locations import record_id
from dar_search.ports import Store
from dar_search.settings import load_settings
from dar_search.stores.opensearch.store import OpenSearchStore
from dar_search.stores.sqlite.store import SQLiteStore
from tests.grid_encoder import GridEncoder
from tests.ingestion_runs import Wrapped, fill, identity, picture, run


def _make_older(address: str, name: str) -> None:
    """An empty index as it was made before digests could be searched."""
    with httpx.Client(base_url=address) as cluster:
        ((index, about),) = cluster.get(f"/{name}").json().items()
        about["mappings"]["properties"]["digest"]["index"] = False
        for own in ("uuid", "version", "creation_date", "provided_name"):
            del about["settings"]["index"][own]
        cluster.delete(f"/{index}").raise_for_status()
        cluster.put(f"/{index}", json=about).raise_for_status()


class Place:
    """An index, the ledger of its jobs, and a folder "old" of three pictures."""

    def __init__(self, folder: Path, store: Store, name: str) -> None:
        self.folder = folder
        self.old, self.new = folder / "old", folder / "new"
        self.old.mkdir()
        fill(self.old, 3)
        (self.old / "001.txt").write_text("the second")
        self.store = store
        self.index: Any = store.create(name, GridEncoder.provenance)
        self.ledger = MemoryLedger()

    def ingest(self, source: Path, **options: Any) -> tuple[IngestReport, int]:
        """The report, and how many pictures were encoded."""
        encoder = GridEncoder()
        given: dict[str, Any] = {"ledger": self.ledger, "store": self.store.address} | options
        return run(source, given.pop("index", self.index), encoder, **given), encoder.pictures

    def records(self) -> dict[str, ImageRecord]:
        return {record.source: record for record in self.index.get(list(self.index.ids())).values()}

    def dead(self) -> list[str]:
        return [source for source in self.records() if not _is_there(source)]


def _is_there(source: str) -> bool:
    return Path(source.removeprefix("file://").partition("#")[0]).exists()


@pytest.fixture(params=["sqlite", "opensearch", "opensearch-older"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    name = f"moved-{uuid.uuid4().hex[:12]}"
    if request.param == "sqlite":
        store: Store = SQLiteStore(tmp_path / "store.db")
    else:
        store = OpenSearchStore(request.getfixturevalue("opensearch_url"), load_settings())
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    made = Place(pictures, store, name)
    if request.param == "opensearch-older":
        _make_older(request.getfixturevalue("opensearch_url"), name)
        made.index = store.open(name)
    yield made
    store.drop(name)
    store.close()


@pytest.mark.parametrize("prune", [False, True])
def test_the_records_of_a_folder_go_with_it_and_nothing_is_encoded_again(place: Place, *, prune: bool) -> None:
    place.ingest(place.old)
    before = place.records()
    place.old.rename(place.new)
    report, encoded = place.ingest(place.new, prune=prune)
    assert (report.indexed, report.moved, report.removed, report.failed, encoded) == (3, 3, 0, 0, 0)
    after = place.records()
    assert set(after) == {(place.new / f"{number:03}.jpg").resolve().as_uri() for number in range(3)}
    for source, record in after.items():
        old = before[source.replace("/new/", "/old/")]
        assert np.array_equal(record.embedding, old.embedding)
        assert record.id == identity(Path(source.removeprefix("file://"))) != old.id
        assert (record.caption, record.thumbnail, record.width) == (old.caption, old.thumbnail, old.width)
        assert record.origin == place.new.resolve().as_uri()
    assert place.ledger.job(place.ledger.jobs()[0].id).moved == 3
    again, _ = place.ingest(place.new, prune=prune)
    assert (again.indexed, again.unchanged, again.moved, again.removed) == (0, 3, 0, 0)


def test_a_file_and_a_subfolder_that_are_renamed_within_a_folder_leave_nothing_behind(place: Place) -> None:
    (place.old / "a").mkdir()
    (place.old / "001.jpg").rename(place.old / "a" / "001.jpg")
    place.ingest(place.old)
    (place.old / "a").rename(place.old / "b")
    (place.old / "000.jpg").rename(place.old / "zero.jpg")
    report, encoded = place.ingest(place.old)
    assert (report.indexed, report.unchanged, report.moved, encoded) == (2, 1, 2, 0)
    assert (place.dead(), len(place.records())) == ([], 3)


def test_a_copy_that_was_deleted_is_for_prune(place: Place) -> None:
    shutil.copy(place.old / "000.jpg", place.old / "copy.jpg")
    place.ingest(place.old)
    (place.old / "copy.jpg").unlink()
    report, _ = place.ingest(place.old)
    assert (report.unchanged, report.moved, len(place.records())) == (3, 0, 4)
    report, _ = place.ingest(place.old, prune=True)
    assert (report.moved, report.removed, place.dead()) == (0, 1, [])


def test_a_rename_within_a_folder_that_was_interrupted_is_finished_by_the_next_run(place: Place) -> None:
    place.ingest(place.old)
    (place.old / "000.jpg").rename(place.old / "zero.jpg")

    def killed(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.ingest(place.old, index=Wrapped(place.index, delete=killed))
    report, encoded = place.ingest(place.old)
    assert (report.moved, place.dead(), len(place.records()), encoded) == (1, [], 3, 0)


def test_two_files_that_change_names_change_their_records(place: Place) -> None:
    place.ingest(place.old)
    (place.old / "000.jpg").rename(place.old / "x")
    (place.old / "002.jpg").rename(place.old / "000.jpg")
    (place.old / "x").rename(place.old / "002.jpg")
    place.ingest(place.old)
    records = place.records()
    assert len(records) == 3
    first = records[(place.old / "000.jpg").resolve().as_uri()]
    assert first.digest.partition(":")[0] == hashlib.sha256(picture(2)).hexdigest()


def test_two_copies_that_are_both_there_stay_two(place: Place) -> None:
    place.ingest(place.old)
    shutil.copytree(place.old, place.new)
    report, _ = place.ingest(place.new, prune=True)
    assert (report.indexed, report.moved, report.removed) == (3, 0, 0)
    assert len(place.records()) == 6
    shutil.rmtree(place.old)
    again, encoded = place.ingest(place.new)
    assert (again.unchanged, again.moved, encoded) == (3, 3, 0)
    assert (place.dead(), len(place.records())) == ([], 3)


def test_one_picture_that_was_copied_twice_and_then_removed_is_two(place: Place) -> None:
    for number in (1, 2):
        (place.old / f"{number:03}.jpg").unlink()
    place.ingest(place.old)
    place.new.mkdir()
    shutil.copy(place.old / "000.jpg", place.new / "a.jpg")
    (place.old / "000.jpg").rename(place.new / "b.jpg")
    (place.old / "notes").touch()
    report, encoded = place.ingest(place.new)
    assert (report.indexed, report.moved, encoded) == (2, 1, 0)
    assert (place.dead(), len(place.records())) == ([], 2)


def test_a_folder_that_is_empty_as_that_of_a_disk_that_is_not_mounted_keeps_its_records(place: Place) -> None:
    place.ingest(place.old)
    shutil.copytree(place.old, place.new)
    shutil.rmtree(place.old)
    place.old.mkdir()
    report, _ = place.ingest(place.new, prune=True)
    assert (report.moved, report.removed, len(place.records())) == (0, 0, 6)


def test_a_list_that_was_moved_with_its_pictures_takes_its_records_along(place: Place) -> None:
    rows = [{"path": "000.jpg"}, {"path": "001.jpg", "id": "mine"}, {"path": "002.jpg", "caption": "a third"}]
    (place.old / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    place.ingest(place.old / "list.jsonl")
    place.old.rename(place.new)
    report, encoded = place.ingest(place.new / "list.jsonl", prune=True)
    assert (report.indexed, report.moved, report.removed, encoded) == (3, 2, 0, 0)
    records = place.records()
    assert (place.dead(), len(records)) == ([], 3)
    assert "mine" in {record.id for record in records.values()}
    assert {record.origin for record in records.values()} == {(place.new / "list.jsonl").resolve().as_uri()}


def test_two_rows_of_one_picture_keep_their_ids_when_it_moves(place: Place) -> None:
    rows = [{"path": "000.jpg", "id": identity} for identity in ("one", "two")]
    (place.old / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    place.ingest(place.old / "list.jsonl")
    place.old.rename(place.new)
    report, encoded = place.ingest(place.new / "list.jsonl", moved_from=[str(place.old)], prune=True)
    assert (report.indexed, report.moved, report.removed, encoded) == (2, 0, 0, 0)
    assert sorted(place.index.ids()) == ["one", "two"]
    found = place.index.get(["one", "two"]).values()
    assert {record.source for record in found} == {(place.new / "000.jpg").resolve().as_uri()}


def test_a_list_that_was_moved_alone_is_the_new_origin_of_its_pictures(place: Place) -> None:
    lists = place.folder / "lists"
    lists.mkdir()
    (lists / "other").touch()
    (lists / "a.jsonl").write_text(json.dumps({"path": str(place.old / "000.jpg")}) + "\n")
    place.ingest(lists / "a.jsonl")
    (lists / "a.jsonl").rename(lists / "b.jsonl")
    place.ingest(lists / "b.jsonl")
    assert {record.origin for record in place.records().values()} == {(lists / "b.jsonl").resolve().as_uri()}


def test_tar_shards_that_were_moved_take_their_records_along(place: Place) -> None:
    with tarfile.open(place.old / "a.tar", "w") as shard:
        shard.add(place.old / "000.jpg", "000.jpg")
        shard.add(place.old / "001.jpg", "001.jpg")
    place.ingest(place.old / "a.tar")
    (place.old / "a.tar").rename(place.folder / "b.tar")
    report, encoded = place.ingest(place.folder / "b.tar")
    assert (report.indexed, report.moved, encoded) == (2, 2, 0)
    assert (place.dead(), len(place.records())) == ([], 2)


def test_a_run_that_was_killed_before_the_old_records_went_is_finished_by_the_next(place: Place) -> None:
    place.ingest(place.old)
    place.old.rename(place.new)

    def killed(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.ingest(place.new, index=Wrapped(place.index, delete=killed))
    place.index.refresh()
    assert len(place.records()) == 6, "the new ones are durable before the old ones go"
    report, encoded = place.ingest(place.new)
    assert (report.unchanged, report.moved, encoded) == (3, 3, 0)
    assert (place.dead(), len(place.records())) == ([], 3)


def test_a_record_that_the_index_refuses_leaves_the_old_one_where_it_is(place: Place) -> None:
    place.ingest(place.old)
    place.old.rename(place.new)

    def write(records: list[ImageRecord], *, versions: list[int]) -> list[tuple[str, Failure]]:
        kept = [(one, version) for one, version in zip(records, versions, strict=True) if "000" not in one.source]
        refused = [(one.id, Failure(one.source, "refused", "Not this one.")) for one in records if "000" in one.source]
        return refused + place.index.write([one for one, _ in kept], versions=[version for _, version in kept])

    report, _ = place.ingest(place.new, index=Wrapped(place.index, write=write))
    assert (report.failed, report.moved) == (1, 2)
    assert len(place.dead()) == 1


def test_an_origin_that_another_machine_may_have_is_left_alone(place: Place) -> None:
    place.ingest(place.old)
    place.old.rename(place.new)
    report, _ = place.ingest(place.new, ledger=MemoryLedger(), store="https://shared.example:9200")
    assert (report.moved, len(place.dead())) == (0, 3)


def test_where_the_pictures_were_may_be_said_where_it_cannot_be_known(place: Place) -> None:
    place.ingest(place.old)
    shutil.copytree(place.old, place.new)
    (place.old / "000.jpg").unlink()
    elsewhere: dict[str, Any] = {"ledger": MemoryLedger(), "store": "https://shared.example:9200"}
    report, _ = place.ingest(place.new, moved_from=[str(place.folder / "another")], **elsewhere)
    assert report.moved == 0
    (note,) = report.notes
    assert f'"{place.folder / "another"}"' in note, "where nothing was is not passed over in silence"
    report, _ = place.ingest(place.new, moved_from=[str(place.old)], **elsewhere)
    assert (report.unchanged, report.moved, len(place.records())) == (3, 1, 5), "what is there stays there"
    assert report.notes == ()
    shutil.rmtree(place.old)
    place.old.mkdir()
    report, _ = place.ingest(place.new, moved_from=[str(place.old)], **elsewhere)
    assert (report.moved, place.dead(), len(place.records())) == (2, [], 3)


def test_a_store_that_is_away_while_old_records_are_looked_for_ends_the_run(place: Place) -> None:
    place.ingest(place.old)
    place.old.rename(place.new)

    def away(*_: Any) -> int:
        raise StoreUnavailable("It is away.")

    with pytest.raises(StoreUnavailable):
        place.ingest(place.new, index=Wrapped(place.index, with_content=away))
    report, _ = place.ingest(place.new)
    assert (report.indexed, place.dead()) == (3, [])


def test_what_was_left_behind_by_an_older_program_is_found_later(place: Place) -> None:
    place.ingest(place.old)
    gone = [one.replace("/old/", "/before/") for one in place.records()]
    left = zip(gone, place.records().values(), strict=True)
    origin = (place.folder / "before").as_uri()
    place.index.write(
        [dataclasses.replace(one, id=record_id(source), source=source, origin=origin) for source, one in left]
    )
    place.index.refresh()
    place.ledger.create(JobSpec(place.index.name, origin, place.store.address))
    report, encoded = place.ingest(place.old)
    assert (report.unchanged, report.moved, encoded) == (3, 3, 0)
    assert place.dead() == []


# what is gone


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/gone.jpg",
        "opensearch:products/1",
        "file://another-host/a.jpg",
        "file:///mnt/no-such-disk/photos/a.jpg",
        "file:///media/me/no-such-stick/a.jpg",
        "file:///run/media/me/no-such-stick/a.jpg",
        "file:///Volumes/no-such-disk/a.jpg",
        "file:///home/nobody-of-this-name/a.jpg",
        "file:///no-such-folder-at-the-root/a.jpg",
        "",
    ],
)
def test_what_may_be_elsewhere_is_not_gone(uri: str) -> None:
    assert not is_gone(uri)


def test_a_file_is_gone_where_its_folder_is_there_and_has_something_in_it(tmp_path: Path) -> None:
    file = tmp_path / "inhabited" / "a b#ü.jpg"
    file.parent.mkdir()
    assert not is_gone(file.as_uri()), "an empty folder looks like a disk that is not mounted"
    (file.parent / "other").touch()
    assert is_gone(file.as_uri())
    assert is_gone(f"{(file.parent / 'gone.tar').as_uri()}#a.jpg")
    assert is_gone((file.parent / "deeper" / "a.jpg").as_uri())
    assert is_gone((file.parent / "other" / "a.jpg").as_uri()), "a file is where its folder was"
    file.symlink_to("nothing")
    assert not is_gone(file.as_uri()), "a link that leads to nothing is there itself"
    file.unlink()
    file.touch()
    assert not is_gone(file.as_uri())
    assert not is_gone(f"{file.as_uri()}#member")


def test_what_a_disk_that_this_machine_knows_has_is_not_gone_while_it_is_not_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "my disk"
    disk.mkdir()
    (disk / "README").touch()
    assert is_gone((disk / "a.jpg").as_uri())
    table = tmp_path / "fstab"
    table.write_text(f"# a comment\nUUID=1 {str(disk).replace(' ', chr(92) + '040')} ext4 noauto 0 2\nnone none swap\n")
    monkeypatch.setattr(absence, "_MOUNTS", table)
    assert not is_gone((disk / "a.jpg").as_uri())
