"""A node is killed and started again while pictures are written and searched: what was acknowledged is there."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import StoreUnavailable
from dar_search.ports import ImageIndex, SearchRequest
from dar_search.settings import load_settings
from dar_search.stores.node import LocalCluster
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.clusters import local_cluster

DIMENSION = 16
BATCH = 25
KILLS = 2
BATCHES_BETWEEN_KILLS = 6


@pytest.fixture(scope="module")
def one_node() -> Iterator[LocalCluster]:
    with local_cluster() as cluster:
        yield cluster


class Traffic:
    """Writes and searches in two threads, until told to stop. Every third batch replaces earlier pictures.

    Attributes:
        acknowledged: id -> the digest last acknowledged; sent: id -> all digests that were sent.
    """

    def __init__(self, index: ImageIndex, seed: int) -> None:
        self._index = index
        self._random = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self._threads = [threading.Thread(target=self._write), threading.Thread(target=self._search)]
        self.acknowledged: dict[str, str] = {}
        self.sent: dict[str, set[str]] = {}
        self.batches = 0
        self.refused = 0
        self.searches = 0
        self.unavailable = 0
        self.wrong: list[BaseException | str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, batches: int) -> None:
        """Until so many batches have been acknowledged in all."""
        with self._progress:
            assert self._progress.wait_for(lambda: self.wrong or self.batches >= batches, 300), "no more is written"

    def _write(self) -> None:
        try:
            number = 0
            while not self._stop.is_set():
                first = (number if number % 3 else self._random.integers(0, number + 1)) * BATCH
                records = [self._record(f"p{first + place:06d}", f"batch {number}") for place in range(BATCH)]
                for record in records:
                    self.sent.setdefault(record.id, set()).add(record.digest)
                try:
                    self.wrong += [str(failure) for failure in self._index.write(records)]
                except StoreUnavailable:
                    self.refused += 1  # reported: any of the batch may be in, or not
                    for record in records:
                        self.acknowledged.pop(record.id, None)
                else:
                    self.acknowledged |= {record.id: record.digest for record in records}
                    with self._progress:
                        self.batches += 1
                        self._progress.notify_all()
                number += 1
        except BaseException as error:  # noqa: BLE001  # of a thread: shown by the test
            self._failed(error)

    def _search(self) -> None:
        try:
            while not self._stop.is_set():
                request = SearchRequest(vector=self._vector(), text="caption", size=50)
                try:
                    hits = self._index.search(request).hits
                except StoreUnavailable:
                    self.unavailable += 1
                    continue
                self.searches += 1
                ids = [hit.id for hit in hits]
                if len(ids) != len(set(ids)) or not set(ids) <= self.sent.keys():
                    self.wrong.append(f"a search found {ids}")
        except BaseException as error:  # noqa: BLE001  # of a thread: shown by the test
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        with self._progress:
            self.wrong.append(error)
            self._progress.notify_all()

    def _vector(self) -> np.ndarray:
        vector = self._random.standard_normal(DIMENSION)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def _record(self, id: str, digest: str) -> ImageRecord:
        return ImageRecord(id, self._vector(), f"file:///{id}", digest=digest, caption="a caption")


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["one_node", "three_nodes"])
def test_nothing_acknowledged_is_lost_and_nothing_doubles_when_a_node_is_killed(
    fixture: str, request: pytest.FixtureRequest, record_property: pytest.RecordProperty
) -> None:
    cluster: LocalCluster = request.getfixturevalue(fixture)
    seed = secrets.randbelow(2**31)
    print(f"seed {seed}")  # shown where the test fails
    record_property("seed", seed)
    chance = random.Random(seed)
    shape = {"shards": 2, "replicas": 1} if len(cluster.urls) > 1 else {}
    settings = load_settings(opensearch={"index": shape, "retry_seconds": 240, "connect_timeout": 2, "timeout": 20})
    store = OpenSearchStore(",".join(cluster.urls), settings)
    index = store.create(f"killed-{seed}", Provenance("encoder", "1", DIMENSION, "crop 8x8 bicubic"))
    if shape:
        cluster.wait("green")  # a replica that is not in sync yet cannot take over
    traffic = Traffic(index, seed)
    traffic.start()
    try:
        for _ in range(KILLS):
            traffic.wait_for(traffic.batches + chance.randint(2, BATCHES_BETWEEN_KILLS))
            victim = chance.randrange(len(cluster.urls))
            cluster.kill(victim)
            if len(cluster.urls) > 1:
                traffic.wait_for(traffic.batches + 2)  # the others go on
            cluster.restart(victim)
            cluster.wait("green" if shape else "yellow")
        traffic.wait_for(traffic.batches + 2)
    finally:
        traffic.stop()
    assert traffic.wrong == []
    assert traffic.searches > 0
    index.refresh()
    ids = list(index.ids())
    digests = index.digests(ids)
    assert len(ids) == len(set(ids)) == index.count()
    assert set(ids) <= traffic.sent.keys()
    assert {id: digests.get(id) for id in traffic.acknowledged} == traffic.acknowledged
    assert all(digests[id] in traffic.sent[id] for id in ids)
    store.drop(index.name)
    store.close()
