"""Damaged files, full disks, folders that may not be written: an error that says so, and nothing lost."""

from __future__ import annotations

import gc
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dar_search.errors import StoreCorrupt, StoreError
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite.store import SQLiteStore
from tests.integration.sqlite_writer import BATCH, PROVENANCE, batch

#: Tries to use a store as another user, or under a limit, and prints the error it gets.
TRY = """
import os, resource, sys
from pathlib import Path
from dar_search.errors import DarError
from dar_search.stores.sqlite.store import SQLiteStore
from tests.integration.sqlite_writer import PROVENANCE, batch

path, use, user, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    store = SQLiteStore(path)
    if use == "create":
        store.create("new", PROVENANCE)
    elif use == "save":
        store.save_to(path.with_name("saved.db"))
    elif use == "count":
        print(store.open("photos").count())
    else:
        index = store.open("photos")
        for number in range(1, 200):
            index.write(batch(number))
            print("written", number)
except DarError as error:
    print(error.code, type(error).__name__, error.message, "HINT", error.hint)
"""


def attempt(path: Path, use: str, *, user: int = 0, limit: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(path), use, str(user), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with a batch in it."""
    store = SQLiteStore(tmp_path / "store.db")
    store.create("photos", PROVENANCE).write(batch(0))
    store.close()
    return tmp_path / "store.db"


#: Someone whom permissions hold: oneself, or nobody if one is root.
ORDINARY_USER = 0 if os.geteuid() else 65534


@pytest.fixture
def folder(path: Path) -> Iterator[Path]:
    """A folder that anybody can reach, unlike pytest's own, with a copy of the store."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        made.chmod(0o755)
        shutil.copy(path, made / "store.db")
        yield made
        made.chmod(0o755)


@pytest.mark.parametrize("use", ["write", "count", "create"])
@pytest.mark.parametrize("locked", ["folder", "file", "unreadable"])
def test_what_permissions_forbid_is_an_error_that_says_so(folder: Path, use: str, locked: str) -> None:
    path = folder / "store.db"
    folder.chmod(0o555 if locked == "folder" else 0o777)
    path.chmod({"folder": 0o666, "file": 0o444, "unreadable": 0o000}[locked])
    said = attempt(path, use, user=ORDINARY_USER)
    folder.chmod(0o755)
    path.chmod(0o644)
    if (locked, use) == ("file", "count"):
        assert said == f"{BATCH}\n"  # reading asks for no more than a folder where the log can be
    else:
        assert said.startswith(("store_forbidden ", "store_error "))
        assert str(path) in said
        assert "writable" in said.split("HINT")[1]
    assert SQLiteStore(path).open("photos").count() == BATCH


def test_a_folder_that_may_not_be_made_is_an_error_that_says_so(folder: Path) -> None:
    folder.chmod(0o555)
    said = attempt(folder / "new" / "store.db", "create", user=ORDINARY_USER)
    assert said.startswith("store_forbidden ")
    assert str(folder / "new") in said


def assert_only_whole_writes(path: Path, said: str) -> None:
    lines = said.splitlines()
    index = SQLiteStore(path).open("photos")
    assert index.count() == BATCH * len(lines)  # the batch before, and one for each line but the last
    assert len(index.search(SearchRequest(text="dog", size=10_000, depth=10_000)).hits) == BATCH * len(lines)
    assert index.write(batch(900)) == []


def test_a_limit_on_the_files_size_stops_a_write_and_keeps_the_ones_before(path: Path) -> None:
    said = attempt(path, "write", limit=3 << 20)
    assert said.splitlines()[-1].startswith("store_error StoreError ")
    assert_only_whole_writes(path, said)


def test_a_copy_that_cannot_be_finished_leaves_nothing_that_looks_like_one(path: Path) -> None:
    store = SQLiteStore(path)
    for number in range(1, 12):
        store.open("photos").write(batch(number))
    store.create("empty", PROVENANCE)
    store.close()
    assert attempt(path, "save", limit=512 << 10).startswith("store_error StoreError ")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    log = path.with_name("saved.db-wal")
    log.touch()
    assert f'"{log}" already' in attempt(path, "save")
    log.unlink()
    assert attempt(path, "save") == ""
    assert sorted(file.name for file in path.parent.iterdir()) == ["saved.db", path.name]
    saved = SQLiteStore(path.with_name("saved.db"))
    assert saved.open("photos").count() == 12 * BATCH
    saved.close()


def test_a_full_disk_stops_a_write_and_keeps_the_ones_before(path: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        small = disk / "store.db"
        small.write_bytes(path.read_bytes())
        (disk / "ballast").write_bytes(bytes(1 << 20))
        said = attempt(small, "write")
        assert said.splitlines()[-1].startswith("store_error StoreError ")
        assert "full" in said
        assert "Free some space" in said
        (disk / "ballast").unlink()
        assert_only_whole_writes(small, said)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def all_that_goes_wrong(path: Path) -> list[str]:
    """Uses all of a store; the errors' messages, and what its check finds."""
    store = SQLiteStore(path)
    errors: list[StoreCorrupt] = []
    found: list[str] = []
    ids = [record.id for record in batch(0)]
    for use in (
        lambda: list(store.open("photos").ids()),
        lambda: store.open("photos").get(ids),
        lambda: store.open("photos").search(SearchRequest(batch(0)[0].embedding, "a dog", size=50, thumbnails=True)),
        lambda: store.open("photos").write(batch(0)),
        lambda: store.open("photos").write(batch(1)),
        lambda: store.open("photos").delete(ids),
        lambda: found.extend({store.check()["integrity"]} - {"ok"}),
    ):
        try:
            use()
        except StoreCorrupt as error:
            errors.append(error)
    store.close()
    assert all(error.hint for error in errors)
    return [error.message for error in errors] + found


def test_overwritten_pages_give_nothing_but_answers_and_store_corrupt(path: Path) -> None:
    sound, noticed = path.read_bytes(), 0
    for seed in range(10):
        choice, content = random.Random(seed), bytearray(sound)
        for _ in range(6):
            page = choice.randrange(1, len(content) // 16_384)
            start = 16_384 * page + choice.choice([0, choice.randrange(16_000)])
            content[start : start + 300] = choice.randbytes(300)
        path.write_bytes(content)
        noticed += bool(all_that_goes_wrong(path))
    assert noticed >= 5  # some pages were free, or hold what nobody can tell from damage: pictures, captions
    path.write_bytes(sound)
    assert all_that_goes_wrong(path) == []


@pytest.mark.parametrize("part", ["vectors", "records", "words_1", "fields", "indices"])
def test_a_missing_table_is_damage(path: Path, part: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"DROP TABLE {part}")
    connection.close()
    said = all_that_goes_wrong(path)
    assert said
    assert str(path) in said[0]


def test_a_file_cut_off_is_damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert all_that_goes_wrong(path)


def test_a_closed_store_says_so(path: Path) -> None:
    store = SQLiteStore(path)
    index = store.open("photos")
    assert index.count() == BATCH
    store.close()
    store.close()
    for use in (index.count, store.names, lambda: index.write(batch(1))):
        with pytest.raises(StoreError, match="closed"):
            use()


def test_a_store_that_is_let_go_closes_its_file(path: Path) -> None:
    log = path.with_name("store.db-wal")
    store = SQLiteStore(path)
    assert store.open("photos").count() == BATCH
    assert log.exists()
    del store
    gc.collect()
    assert not log.exists()


def test_what_people_said_and_showed_is_readable_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.sqlite"
    before = os.umask(0o022)
    try:
        store = SQLiteStore(path)
        store.create("photos", PROVENANCE).write(batch(1))
        modes = {file.name: file.stat().st_mode & 0o777 for file in (path.parent, *path.parent.iterdir())}
    finally:
        os.umask(before)
    # SQLite documents that -wal and -shm have the database's own mode: https://www.sqlite.org/wal.html
    assert modes == {"new": 0o700, "store.sqlite": 0o600, "store.sqlite-wal": 0o600, "store.sqlite-shm": 0o600}
    store.close()


def test_a_file_that_its_owner_opened_to_others_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    path.touch(0o660)
    path.chmod(0o660)
    store = SQLiteStore(path)
    store.create("photos", PROVENANCE)
    store.close()
    assert path.stat().st_mode & 0o777 == 0o660
