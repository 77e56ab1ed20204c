"""Bulk writing to a real cluster, through a proxy that goes wrong."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import IndexNotFound, StoreUnavailable
from dar_search.settings import load_settings
from dar_search.stores.opensearch.bulk import Action
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.faulty_proxy import FaultyProxy

DIMENSION = 16
PROVENANCE = Provenance("encoder", "1", DIMENSION, "crop 8x8 bicubic")
Opened = Callable[..., OpenSearchStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens stores with small requests, so that few pictures make many."""
    stores: list[OpenSearchStore] = []

    def open_store(address: str, **options: Any) -> OpenSearchStore:
        settings = load_settings(opensearch={"bulk_megabytes": 0.004, "bulk_in_flight": 3, **options})
        stores.append(OpenSearchStore(address, settings))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def name(opensearch_url: str, opened: Opened) -> Iterator[str]:
    """An empty index."""
    made = f"writing-{uuid.uuid4().hex[:12]}"
    store = opened(opensearch_url)
    store.create(made, PROVENANCE)
    yield made
    if made in store.names():
        store.drop(made)


def _records(count: int) -> list[ImageRecord]:
    vectors = np.random.default_rng(count).standard_normal((count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        ImageRecord(f"p{number:04d}", vector.astype(np.float32), f"file:///{number}", caption="a caption")
        for number, vector in enumerate(vectors)
    ]


def test_requests_stay_within_their_size_and_several_are_under_way(
    opensearch_url: str, opened: Opened, name: str
) -> None:
    records = _records(200)
    with FaultyProxy(opensearch_url) as proxy:
        assert opened(proxy.url).open(name).write(records) == []
    assert max(proxy.sizes) <= 4_000
    assert len(proxy.sizes) > 5
    assert 1 < proxy.most_at_once <= 3
    assert Counter(id for bulk in proxy.bulks for id in bulk) == {record.id: 1 for record in records}


def test_only_rejected_pictures_are_sent_again(opensearch_url: str, opened: Opened, name: str) -> None:
    records = _records(10)
    with FaultyProxy(opensearch_url, ["half", "half", "fine"]) as proxy:
        index = opened(proxy.url, bulk_megabytes=1).open(name)
        assert index.write(records) == []
        assert index.count() == len(records)
    ids = [record.id for record in records]
    assert proxy.bulks == [ids, ids[1::2], ids[1::2][1::2]]


@pytest.mark.parametrize("faults", [["busy", "busy"], ["away"], ["lost", "busy", "lost"]], ids="-".join)
def test_a_busy_absent_or_silent_cluster_is_waited_for_and_nothing_doubles(
    opensearch_url: str, opened: Opened, name: str, faults: list[str]
) -> None:
    records = _records(60)
    with FaultyProxy(opensearch_url, faults) as proxy:
        index = opened(proxy.url).open(name)
        assert index.write(records) == []
        assert index.count() == len(records)
        assert list(index.ids()) == [record.id for record in records]
        assert set(index.get([record.id for record in records])) == {record.id for record in records}
    assert len(proxy.bulks) > len(faults)


def test_deleting_goes_on_after_a_lost_answer(opensearch_url: str, opened: Opened, name: str) -> None:
    records = _records(20)
    opened(opensearch_url).open(name).write(records)
    with FaultyProxy(opensearch_url, ["busy", "lost"]) as proxy:
        index = opened(proxy.url).open(name)
        index.delete([record.id for record in records[:15]])
        assert list(index.ids()) == [record.id for record in records[15:]]


def test_a_write_that_gives_up_says_how_many_pictures_are_not_in(
    opensearch_url: str, opened: Opened, name: str
) -> None:
    with FaultyProxy(opensearch_url, always="half") as proxy:
        index = opened(proxy.url, retry_seconds=0, bulk_megabytes=1).open(name)
        with pytest.raises(StoreUnavailable, match="5 pictures are not written yet"):
            index.write(_records(10))
    with FaultyProxy(opensearch_url, always="busy") as proxy:
        index = opened(proxy.url, retry_seconds=0).open(name)
        with pytest.raises(StoreUnavailable, match="queue is full") as error:
            index.write(_records(10))
    assert error.value.hint


def test_a_read_only_index_is_written_to_as_soon_as_it_may_be(
    opensearch_url: str, opened: Opened, name: str, request: pytest.FixtureRequest
) -> None:
    store = opened(opensearch_url, retry_seconds=60)
    index = store.open(name)
    block = f"/{name}/_block/write"
    store._cluster.send("PUT", block)
    waiting = threading.Event()
    said = logging.Handler()
    said.emit = lambda _: waiting.set()  # type: ignore[method-assign]
    log = logging.getLogger("dar_search.stores.opensearch.cluster.calls")
    request.addfinalizer(lambda: log.removeHandler(said))
    log.addHandler(said)

    def lift() -> None:
        assert waiting.wait(60)
        store._cluster.send("PUT", f"/{name}/_settings", b'{"index.blocks.write": false}')

    lifting = threading.Thread(target=lift)
    lifting.start()
    try:
        assert index.write(_records(5)) == []
    finally:
        lifting.join()
    assert waiting.is_set()
    assert index.count() == 5


def test_an_index_that_is_dropped_is_not_made_by_a_write(opensearch_url: str, opened: Opened, name: str) -> None:
    store = opened(opensearch_url)
    index = store.open(name)
    opened(opensearch_url).drop(name)
    with pytest.raises(IndexNotFound):
        index.write(_records(3))
    action = Action("p", b'{"index":{"_id":"p"}}\n{"id":"p"}\n')
    with pytest.raises(IndexNotFound):  # whatever the handle knows of the index
        store._writer.write(f"{name}-write", [action])
    assert store._cluster.read("GET", f"/{name}*") == {}


def test_fields_that_another_writer_adds_meanwhile_hold_for_both(
    opensearch_url: str, opened: Opened, name: str
) -> None:
    first, second = opened(opensearch_url).open(name), opened(opensearch_url).open(name)
    one, two, three = _records(3)
    assert first.write([_with(one, {"year": 1999})]) == []
    ((id, failure),) = second.write([_with(two, {"year": "of the dog"}), _with(three, {"year": 2000})])
    assert (id, failure.code) == (two.id, "metadata_type")
    assert set(first.get([one.id, two.id, three.id])) == {one.id, three.id}


def test_two_writers_that_bring_a_field_at_the_same_time_agree_on_its_type(
    opensearch_url: str, opened: Opened, name: str
) -> None:
    handles = [opened(opensearch_url).open(name) for _ in range(4)]
    records = _records(4)
    values: list[Any] = [1999, "text", 2000, "more text"]
    start = threading.Barrier(4)
    refused: list[Any] = [None] * 4

    def write(number: int) -> None:
        start.wait(30)
        refused[number] = handles[number].write([_with(records[number], {"year": values[number]})])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [[failure.code for _, failure in some] for some in refused]
    assert codes in ([[], ["metadata_type"]] * 2, [["metadata_type"], []] * 2)


def test_an_index_made_anew_under_an_open_handle_learns_its_fields_again(
    opensearch_url: str, opened: Opened, name: str
) -> None:
    store = opened(opensearch_url)
    index = store.open(name)
    one, two = _records(2)
    assert index.write([_with(one, {"city": "Paris"})]) == []
    other = opened(opensearch_url)
    other.drop(name)
    other.create(name, PROVENANCE)
    assert index.write([_with(two, {"city": "Rome"})]) == []
    assert index.get([one.id, two.id])[two.id].metadata == {"city": "Rome"}
    assert index.count() == 1


def _with(record: ImageRecord, metadata: dict[str, Any]) -> ImageRecord:
    return ImageRecord(record.id, record.embedding, record.source, metadata=metadata)
