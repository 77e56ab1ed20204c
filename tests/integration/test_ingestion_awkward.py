"""The awkward folder, ingested in one go by an ordinary user: every file is found the right way up, or is a failure."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.sources.locations import path_of
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite.index import SQLiteIndex
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.pictures import COLOURS, GREYS, Bad, Good, quadrants_of, scene, write_awkward_folder

ROOT = Path(__file__).resolve().parents[2]


def as_ordinary_user(command: Sequence[str]) -> list[str]:
    """Root without its powers is an ordinary user: the permissions of its own files bind it."""
    if os.geteuid() != 0:
        return list(command)
    return [
        "setpriv",
        "--securebits",
        "+noroot,+noroot_locked",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--",
        *command,
    ]


def ingest_as_ordinary_user(folder: Path, store: Path) -> dict[str, Any]:
    command = as_ordinary_user([sys.executable, "-m", "tests.ingest_child", str(folder), str(store), "16"])
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    report: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return report


@dataclass(frozen=True)
class Ingested:
    folder: Path
    expected: dict[bytes, Good | Bad]
    report: dict[str, Any]
    store: Path
    index: SQLiteIndex

    def name(self, uri: str) -> bytes:
        return os.path.relpath(path_of(uri), os.fsencode(self.folder))


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("awkward").resolve()
    expected = write_awkward_folder(folder)
    store = tmp_path_factory.mktemp("store") / "store.db"
    return Ingested(folder, expected, ingest_as_ordinary_user(folder, store), store, open_index(store))


def test_permissions_bind_the_user_that_the_test_runs_as(ingested: Ingested) -> None:
    code = f"open({str(ingested.folder / 'unreadable.jpg')!r})"
    finished = subprocess.run(as_ordinary_user([sys.executable, "-c", code]), capture_output=True, text=True)
    assert "PermissionError" in finished.stderr


def test_every_file_is_either_found_or_a_failure_with_its_code(ingested: Ingested) -> None:
    records = ingested.index.get(list(ingested.index.ids()))
    found = {ingested.name(record.source): "" for record in records.values()}
    failed = {ingested.name(failure["source"]): failure["code"] for failure in ingested.report["failures"]}
    assert not found.keys() & failed.keys()
    assert len(records) == ingested.report["indexed"] == len(found)
    assert len(failed) == ingested.report["failed"]
    assert found | failed == {
        name: outcome.code if isinstance(outcome, Bad) else "" for name, outcome in ingested.expected.items()
    }
    assert set(failed.values()) <= FAILURE_CODES.keys()


def test_every_found_picture_is_the_right_way_up_in_its_thumbnail(ingested: Ingested) -> None:
    for record in ingested.index.get(list(ingested.index.ids())).values():
        good = ingested.expected[ingested.name(record.source)]
        assert isinstance(good, Good)
        assert (record.width, record.height) == (good.width, good.height), record.source
        assert record.thumbnail is not None
        shown = quadrants_of(Image.open(io.BytesIO(record.thumbnail)))
        worst = max(abs(a - b) for x, y in zip(shown, good.quadrants, strict=True) for a, b in zip(x, y, strict=True))
        assert worst <= 12, record.source


def test_every_found_picture_is_found_by_the_upright_scene_and_by_no_other(ingested: Ingested) -> None:
    encoder = GridEncoder()
    for quadrants in (COLOURS, GREYS):
        upright = scene(quadrants)
        names = {
            name for name, good in ingested.expected.items() if isinstance(good, Good) and good.quadrants == quadrants
        }
        vector = encoder.encode_images([upright])[0]
        hits = ingested.index.search(SearchRequest(vector=vector, size=200)).hits
        assert {ingested.name(hit.source) for hit in hits if hit.score > 0.99} == names
        for turn in Image.Transpose:
            vector = encoder.encode_images([upright.transpose(turn).resize(upright.size)])[0]
            hits = ingested.index.search(SearchRequest(vector=vector, size=200)).hits
            assert max(hit.score for hit in hits if ingested.name(hit.source) in names) < 0.9


def test_a_second_run_changes_and_encodes_nothing(ingested: Ingested) -> None:
    before = ingested.index.get(list(ingested.index.ids()))
    report = ingest_as_ordinary_user(ingested.folder, ingested.store)
    assert (report["indexed"], report["unchanged"], report["removed"], report["encoded"]) == (0, len(before), 0, 0)
    assert sorted(failure["source"] for failure in report["failures"]) == sorted(
        failure["source"] for failure in ingested.report["failures"]
    )
    assert list(ingested.index.ids()) == sorted(before)


def test_an_unreadable_folder_is_a_failure_and_nothing_is_pruned_for_it(tmp_path: Path) -> None:
    folder, store = tmp_path / "photos", tmp_path / "store.db"
    expected = {b"a/b.jpg": scene(), b"c.jpg": scene(), b"d.jpg": scene()}
    for name, image in expected.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "JPEG")
    assert ingest_as_ordinary_user(folder, store)["indexed"] == 3
    (folder / "d.jpg").unlink()
    (folder / "a").chmod(0)
    try:
        report = ingest_as_ordinary_user(folder, store)
    finally:
        (folder / "a").chmod(0o755)
    assert [(failure["source"], failure["code"]) for failure in report["failures"]] == [
        ((folder / "a").as_uri(), "unreadable_folder")
    ]
    assert (report["unchanged"], report["removed"]) == (1, 0)
    assert ingest_as_ordinary_user(folder, store)["removed"] == 1
