"""Three nodes go from 2.19 to 3.5, one by one, while jobs write and readers search."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ports import SearchRequest
from dar_search.settings import load_settings
from dar_search.stores.node import LocalCluster
from dar_search.stores.opensearch.cluster.connection import connect
from dar_search.stores.opensearch.cluster.doctor import examine
from tests.clusters import local_cluster
from tests.grid_encoder import GridEncoder
from tests.torture.arena import Arena

PICTURES = 120
OLDER, NEWER = "2.19", "3.5"


@pytest.fixture
def three() -> Iterator[LocalCluster]:
    with local_cluster(3, version=OLDER) as cluster:
        yield cluster


class Jobs(threading.Thread):
    """Job after job over the same files, each time with new pictures in them; index and ledger are on the cluster.

    Attributes:
        done: how many came to their end.
        wrong: what did not hold at the end of one.
    """

    def __init__(self, arena: Arena) -> None:
        super().__init__()
        self._arena = arena
        self._last = threading.Event()
        self.done = 0
        self.wrong: list[object] = []

    def stop(self) -> None:
        """Ends the thread after the job that it is at."""
        self._last.set()
        self.join()

    def run(self) -> None:
        arena = self._arena
        try:
            for edition in itertools.count(1):
                arena.paint(edition)
                arena.job = arena.ledger.create(JobSpec(arena.place.name, str(arena.source))).id
                said = arena.finish(300)
                self.wrong += arena.problems() if said else ["a job did not end"]
                self.done += 1
                if self.wrong or self._last.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # of a thread: shown by the test
            self.wrong.append(error)


class Reader(threading.Thread):
    """Searches without a pause. The pictures of the first job were acknowledged: each search must find them all."""

    def __init__(self, arena: Arena, **options: Any) -> None:
        super().__init__()
        vector = np.ones(GridEncoder.provenance.dimension, np.float32)
        self._index = arena.place.index()
        self._request = SearchRequest(vector=vector, size=2 * PICTURES, depth=2 * PICTURES, **options)
        self._enough = threading.Event()
        self.searches = 0
        self.wrong: list[object] = []

    def stop(self) -> None:
        self._enough.set()
        self.join()

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                ids = [hit.id for hit in self._index.search(self._request).hits]
                if not len(ids) == len(set(ids)) == PICTURES:
                    self.wrong.append(f"{len(ids)} hits, {len(set(ids))} of them different")
                self.searches += 1
        except BaseException as error:  # noqa: BLE001  # of a thread: shown by the test
            self.wrong.append(error)


def server_line(cluster: LocalCluster) -> tuple[str, str]:
    """What `dar doctor` says of the servers."""
    client = connect(",".join(cluster.urls), load_settings())
    try:
        (line,) = [one for one in examine(client).observations if one.subject == "server"]
    finally:
        client.close()
    return line.status, line.detail


@pytest.mark.timeout(1200)
def test_a_rolling_upgrade_loses_nothing_and_no_reader_sees_an_error(
    tmp_path: Path, three: LocalCluster, record_property: pytest.RecordProperty
) -> None:
    arena = Arena(tmp_path / "arena", PICTURES, cluster=",".join(three.urls), replicas=1)
    arena.finish()
    assert arena.problems() == []
    jobs = Jobs(arena)
    readers = [Reader(arena, exact=True), Reader(arena), Reader(arena, text="a picture")]
    threads = [jobs, *readers]
    for thread in threads:
        thread.start()
    try:
        for node in range(3):
            three.wait("green")  # a copy that is not in sync yet cannot take over
            three.upgrade(node, NEWER)
            if node == 0:
                assert server_line(three) == ("note", "nodes of OpenSearch 2.19.1 and 3.5.0")
        three.wait("green")
    finally:
        for thread in threads:
            thread.stop()  # the jobs first: readers go on until the last one has ended
    assert server_line(three) == ("ok", "OpenSearch 3.5.0")
    assert [wrong for thread in threads for wrong in thread.wrong] == []
    assert arena.problems() == []
    record_property("jobs", jobs.done)
    record_property("searches", sum(reader.searches for reader in readers))
    arena.close()
