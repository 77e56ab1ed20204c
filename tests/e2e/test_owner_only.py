"""What commands leave behind is for its owner alone, under a usual umask: what people said or showed is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dar_search.answering.search_log import SearchLog
from dar_search.settings import owner_only
from tests.e2e.conftest import Dar
from tests.evaluation_world import make_world, perform
from tests.unit.test_search_log import used


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[Path]:
    """All below a folder, and itself, that a group or others have any right to."""
    return [path for path in (folder, *folder.rglob("*")) if path.lstat().st_mode & 0o077]


@pytest.mark.usefixtures("light_models", "indexed")
def test_what_commands_write_is_for_its_owner_alone(dar: Dar, home: Path) -> None:
    assert dar("search", "--index", "photos", "--caption", "number 3").status == 0
    assert dar("demo", "--size", "100", "--dialogues", "3").status == 0
    assert dar("index", "check", "--save-to", "new/saved.sqlite").status == 0
    used(home / "log.jsonl")
    assert dar("evaluate", "--search-log", "log.jsonl", "--output", "measured/online").status == 0
    (home / "world").mkdir()
    perform(make_world(home / "world"), home / "measured" / "run")
    for name in ("data", "new", "measured"):
        assert any((home / name).rglob("*.*"))
        assert open_to_others(home / name) == []


def test_a_search_log_and_its_folder_are(tmp_path: Path) -> None:
    SearchLog(tmp_path / "logs" / "deep" / "log.jsonl").choice("search", "hit")
    assert open_to_others(tmp_path / "logs") == []
    assert len(list((tmp_path / "logs").rglob("*.*"))) == 2


def test_the_doctor_says_where_others_may_enter(dar: Dar, home: Path) -> None:
    (home / "data").mkdir(mode=0o755)
    found = [one for one in dar("doctor", "--quick", "--json").json["checks"] if one["check"] == "data folder"]
    assert [one["status"] for one in found] == ["note"]
    assert f"chmod 700 {home / 'data'}" in found[0]["fix"]


def test_what_is_there_keeps_the_mode_that_its_owner_gave_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    (shared / "report").touch(0o640)
    owner_only.make_folder(shared)
    owner_only.write(shared / "report", "new")
    assert [path.stat().st_mode & 0o777 for path in (shared, shared / "report")] == [0o750, 0o640]
