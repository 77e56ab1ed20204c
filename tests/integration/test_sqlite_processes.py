"""The embedded store under several processes and threads, and under SIGKILL."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dar_search.errors import IndexNotFound, StoreUnavailable
from dar_search.ports import SearchRequest
from dar_search.stores.sqlite.index import SQLiteIndex
from dar_search.stores.sqlite.store import SQLiteStore
from tests.contract.gallery import random_units
from tests.integration.sqlite_writer import BATCH, DIMENSION, PROVENANCE, batch

KILLS = int(os.environ.get("DAR_TEST_KILLS", "8"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def index(path: Path) -> Iterator[SQLiteIndex]:
    store = SQLiteStore(path)
    yield store.create("photos", PROVENANCE)
    store.close()


def start_writer(path: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.sqlite_writer", str(path), str(number)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def found(index: SQLiteIndex, vector: np.ndarray, size: int = 100) -> list[str]:
    return [hit.id for hit in index.search(SearchRequest(vector, size=size, depth=10_000)).hits]


class Expected:
    """What must be in the index: batches acknowledged, batches deleted, and the one act that may have happened."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self.act: tuple[str, int] | None = None

    def hear(self, line: str) -> None:
        words = json.loads(line)
        if words == ["done"] and self.act is not None:
            self.happened()
        elif words != ["done"]:
            self.act = (words[0], words[1])

    def happened(self) -> None:
        assert self.act is not None
        (self.there.add if self.act[0] == "writes" else self.there.discard)(self.act[1])
        self.act = None


def assert_all_there(path: Path, expected: Expected) -> None:
    """What was acknowledged is there, in all tables; what was under way is there whole or not at all."""
    store = SQLiteStore(path)
    index = store.open("photos")
    held = {int(id.split("-")[0]) for id in index.ids()}
    if expected.act is not None and held != expected.there:
        expected.happened()
    expected.act = None
    assert held == expected.there
    wanted = {record.id: record for number in held for record in batch(number)}
    assert list(index.ids()) == sorted(wanted)
    for number in held:
        for id, record in index.get([record.id for record in batch(number)]).items():
            assert np.array_equal(record.embedding, wanted[id].embedding)
            assert record.metadata == wanted[id].metadata
        assert {hit.id for hit in index.search(SearchRequest(text=f"number{number}", size=BATCH)).hits} == {
            record.id for record in batch(number)
        }
    assert len(index.search(SearchRequest(text="dogs", size=10_000, depth=10_000)).hits) == len(wanted)
    assert len(found(index, batch(0)[0].embedding, 10_000)) == len(wanted)
    assert store.check()["integrity"] == "ok"
    store.close()
    with sqlite3.connect(path) as connection:
        (index_id,) = connection.execute("SELECT id FROM indices").fetchone()
        connection.execute(f"INSERT INTO words_{index_id} (words_{index_id}) VALUES ('integrity-check')")
        for table, rows in (("vectors", 1), ("thumbnails", 1), ("facets", 3)):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows * len(wanted),)
    connection.close()


def test_a_writer_killed_at_any_moment_loses_nothing_and_doubles_nothing(path: Path) -> None:
    seed = int(os.environ.get("DAR_TEST_SEED", random.SystemRandom().randrange(10**9)))
    print(f"DAR_TEST_SEED={seed} DAR_TEST_KILLS={KILLS}")
    choice = random.Random(seed)
    SQLiteStore(path).create("photos", PROVENANCE)
    expected, number = Expected(), 0
    for _ in range(KILLS):
        writer = start_writer(path, number)
        assert writer.stdout is not None
        for _ in range(choice.randrange(1, 30)):  # so many lines, and then somewhere in between
            expected.hear(writer.stdout.readline())
        time.sleep(choice.uniform(0, 0.03))
        writer.kill()
        for line in writer.communicate()[0].splitlines(keepends=True):
            if line.endswith("\n"):
                expected.hear(line)
        assert_all_there(path, expected)
        number = max(expected.there, default=0) // 4 * 4 + 4


def test_what_another_process_writes_and_deletes_is_found_by_a_search_after_it(index: SQLiteIndex, path: Path) -> None:
    index.write(batch(0))
    vectors = random_units(BATCH, DIMENSION, seed=1)
    assert found(index, vectors[3])[0].startswith("000000")
    other = start_writer(path, 1)
    assert other.stdout is not None
    while other.stdout.readline() != '["deletes", 0]\n':
        pass
    assert other.stdout.readline() == '["done"]\n'
    other.kill()
    other.communicate()
    assert found(index, vectors[3])[0] == "000001-03"
    assert not any(id.startswith("000000") for id in found(index, vectors[3], 1_000))


CREATOR = """
import sys
from pathlib import Path
from dar_search.errors import IndexExists
from dar_search.stores.sqlite.store import SQLiteStore
from tests.integration.sqlite_writer import PROVENANCE, batch

print("ready", flush=True)
sys.stdin.readline()
store, number = SQLiteStore(Path(sys.argv[1])), int(sys.argv[2])
try:
    index = store.create("photos", PROVENANCE)
except IndexExists:
    index = store.open("photos", PROVENANCE)
for step in range(5):
    assert index.write(batch(5 * number + step)) == []
"""


def test_processes_that_make_one_store_and_write_to_it_at_once_get_along(path: Path) -> None:
    creators = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for number in range(4)
    ]
    for creator in creators:
        assert creator.stdout is not None
        assert creator.stdout.readline() == "ready\n"
    for creator in creators:
        assert creator.stdin is not None
        creator.stdin.write("go\n")
        creator.stdin.flush()
    for creator in creators:
        creator.communicate()
        assert creator.returncode == 0
    expected = Expected()
    expected.there = set(range(20))
    assert_all_there(path, expected)


COUNTER = """
import sys
from pathlib import Path
from dar_search.stores.sqlite.store import SQLiteStore

store = SQLiteStore(Path(sys.argv[1]))
print(store.open("photos").count())
store.close()
"""


def test_a_store_that_another_process_opens_and_closes_keeps_what_is_written_after(path: Path) -> None:
    def counted() -> int:
        return int(subprocess.check_output([sys.executable, "-c", COUNTER, str(path)]))

    store = SQLiteStore(path)
    index = store.create("photos", PROVENANCE)
    index.write(batch(0))
    beside = SQLiteStore(path)  # such as a ledger of jobs in the same file
    beside.create("others", PROVENANCE)
    beside.close()
    assert counted() == BATCH
    assert path.with_name("store.db-wal").exists()  # the last that closes a file removes its log: that was not the last
    index.write(batch(1))
    assert (index.count(), counted()) == (2 * BATCH, 2 * BATCH)
    store.close()
    assert counted() == 2 * BATCH


def test_searches_see_whole_writes_and_never_go_back(index: SQLiteIndex, path: Path) -> None:
    writer = start_writer(path, 0)
    assert writer.stdout is not None
    stop = threading.Event()

    def search(seed: int) -> tuple[set[int], int]:
        vector, sizes, last, backwards = random_units(1, DIMENSION, seed=seed)[0], set(), -1, 0
        while not stop.is_set():
            numbers = [int(id.split("-")[0]) for id in found(index, vector, 10_000)]
            sizes |= {numbers.count(number) for number in set(numbers)}
            backwards += max(numbers, default=-1) < last
            last = max(numbers, default=-1)
        return sizes, backwards

    with ThreadPoolExecutor(3) as threads:
        searches = [threads.submit(search, seed) for seed in range(3)]
        for _ in range(80):
            writer.stdout.readline()
        stop.set()
    writer.kill()
    writer.communicate()
    for done in searches:
        sizes, backwards = done.result()
        assert sizes == {BATCH}
        assert backwards == 0


def use_after_fork(index: SQLiteIndex, answers: multiprocessing.Queue[list[str]]) -> None:
    vector = batch(0)[5].embedding
    before = found(index, vector)
    index.write(batch(2))
    answers.put([before[0], found(index, batch(2)[7].embedding)[0]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_and_its_parent_both_go_on(index: SQLiteIndex) -> None:
    index.write(batch(0))
    assert found(index, batch(0)[5].embedding)[0] == "000000-05"
    forking = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[list[str]] = forking.Queue()
    child = forking.Process(target=use_after_fork, args=(index, answers))
    child.start()
    index.write(batch(1))
    assert answers.get(timeout=60) == ["000000-05", "000002-07"]
    child.join()
    assert child.exitcode == 0
    for number in range(3):
        assert found(index, batch(number)[9].embedding)[0] == f"{number:06d}-09"


def test_a_writer_that_waits_too_long_for_another_is_told(index: SQLiteIndex, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    hurried = SQLiteStore(path, patience_s=0.05).open("photos")
    with pytest.raises(StoreUnavailable) as error:
        hurried.write(batch(0))
    assert error.value.hint
    assert hurried.count() == 0  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    assert hurried.write(batch(0)) == []


def test_a_file_that_takes_the_stores_place_is_noticed(index: SQLiteIndex, path: Path, tmp_path: Path) -> None:
    index.write(batch(0))
    assert found(index, batch(0)[0].embedding)
    store = SQLiteStore(path)
    assert store.names() == ["photos"]
    other = SQLiteStore(tmp_path / "other.db")
    other.create("pictures", PROVENANCE).write(batch(1))
    other.close()
    for part in path.parent.glob("store.db*"):
        part.unlink()
    (tmp_path / "other.db").rename(path)
    assert store.names() == ["pictures"]
    with pytest.raises(IndexNotFound):
        found(index, batch(0)[0].embedding)
    assert found(store.open("pictures"), batch(1)[4].embedding)[0] == "000001-04"


def test_many_threads_share_one_index(index: SQLiteIndex) -> None:
    def work(number: int) -> None:
        assert index.write(batch(number)) == []
        assert found(index, batch(number)[1].embedding)[0] == f"{number:06d}-01"
        assert index.count() >= BATCH
        assert set(index.get([f"{number:06d}-02", "nowhere"])) == {f"{number:06d}-02"}
        assert index.delete([f"{number:06d}-01"]) == 1
        assert found(index, batch(number)[1].embedding)[0] != f"{number:06d}-01"

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(24)))
    assert index.count() == 24 * (BATCH - 1)
