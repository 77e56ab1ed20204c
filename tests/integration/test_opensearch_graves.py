"""What is left of a deleted picture on a cluster: enough that a late write never brings it back, and nothing to see."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import StoreForbidden
from dar_search.ingestion.pipeline.pruning import Seen, prune_gone
from dar_search.ports import SearchRequest
from dar_search.settings import load_settings
from dar_search.stores import bodies
from dar_search.stores.opensearch.cluster.permissions import role
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.role_gate import RoleGate

DIMENSION = 16
PROVENANCE = Provenance("encoder", "1", DIMENSION, "crop 8x8 bicubic")
UNIT = np.full(DIMENSION, DIMENSION**-0.5, np.float32)


@pytest.fixture(scope="module")
def store(opensearch_url: str) -> Iterator[OpenSearchStore]:
    opened = OpenSearchStore(opensearch_url, load_settings())
    yield opened
    opened.close()


@pytest.fixture
def name(store: OpenSearchStore) -> Iterator[str]:
    made = f"graves-{uuid.uuid4().hex[:12]}"
    store.create(made, PROVENANCE)
    yield made
    store.drop(made)


def send(store: OpenSearchStore, method: str, path: str, body: Any = None) -> Any:
    return store._cluster.send(method, path, None if body is None else bodies.encode(body))


def forgets(store: OpenSearchStore, name: str) -> None:
    """Returns when the cluster has forgotten the versions of all that it was told to delete, as it does after a minute.

    Seen by a document of its own, which a late write brings back.
    """
    index = store.open(name)
    document = f"/{name}/_doc/{uuid.uuid4().hex}?version_type=external_gte&version="
    send(store, "PUT", f"/{name}/_settings", {"index.gc_deletes": "0s"})
    send(store, "PUT", f"{document}100", {})
    send(store, "DELETE", f"{document}200")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        index.write([ImageRecord("another", UNIT, "file:///b")])
        index.refresh()
        if store._cluster.send("PUT", f"{document}150", b"{}", ignore=409).get("result") == "created":
            send(store, "DELETE", f"{document}150")
            index.delete(["another"])
            return
    raise AssertionError("the cluster remembers what it deleted")


def test_a_late_write_stays_out_though_the_cluster_has_forgotten_every_version(
    store: OpenSearchStore, name: str
) -> None:
    index = store.open(name)
    old = [ImageRecord("a", UNIT, "file:///a"), ImageRecord("never there", UNIT, "file:///n")]
    assert index.write(old[:1], versions=[100]) == []
    assert index.delete(["a", "never there"], version=200) == 1
    forgets(store, name)
    assert index.write(old, versions=[150, 150]) == []
    index.refresh()
    assert list(index.ids()) == []
    assert index.write(old, versions=[250, 250]) == []
    index.refresh()
    assert list(index.ids()) == ["a", "never there"]


def test_what_is_pruned_stays_pruned(store: OpenSearchStore, name: str) -> None:
    index = store.open(name)
    records = [ImageRecord(id, UNIT, f"file:///{id}", origin="file:///list") for id in ("kept", "gone")]
    index.write(records, versions=[100, 100])
    seen = Seen()
    seen.add("kept")
    assert prune_gone(index, "file:///list", seen, version=200) == (1, ())
    forgets(store, name)
    index.write(records, versions=[150, 150])
    assert prune_gone(index, "file:///list", seen, version=300) == (0, ())
    assert list(index.ids()) == ["kept"]


def test_graves_are_few_bytes_and_known_by_the_field_that_says_when(store: OpenSearchStore, name: str) -> None:
    index = store.open(name)
    index.write([ImageRecord("a", UNIT, "file:///a", caption="a dog", thumbnail=b"picture" * 100)], versions=[1])
    index.delete(["a"], version=2)
    index.refresh()
    query = {"query": {"range": {"dar_deleted": {"lte": "now"}}}}
    (hit,) = send(store, "POST", f"/{name}/_search", query)["hits"]["hits"]
    assert (hit["_id"], hit["_source"].keys()) == ("a", {"dar_deleted"})
    assert send(store, "POST", f"/{name}/_delete_by_query", query)["deleted"] == 1
    assert index.write([ImageRecord("a", UNIT, "file:///a")], versions=[3]) == []


def test_a_picture_deleted_between_a_search_and_its_page_is_left_out(store: OpenSearchStore, name: str) -> None:
    index = store.open(name)
    index.write([ImageRecord(id, UNIT, f"file:///{id}", caption="a dog") for id in ("a", "b")])
    index.refresh()
    index.delete(["a"])  # not shown yet: the legs still find it
    request = SearchRequest(vector=UNIT, text="dog", fused_in_client=True)
    assert [hit.id for hit in index.search(request).hits] == ["b"]


def test_who_may_only_search_opens_an_index_of_an_older_layout_and_a_writer_upgrades_it(
    store: OpenSearchStore, name: str, opensearch_url: str
) -> None:
    meta = bodies.index_meta(name, PROVENANCE) | {"version": bodies.schema_version() - 1}
    send(store, "PUT", f"/{name}/_mapping", {"_meta": {bodies.META: meta}})
    with RoleGate(opensearch_url, {"": [role(name, writing=False)]}) as gate:
        reader = OpenSearchStore(gate.url, load_settings())
        try:
            assert reader.open(name, PROVENANCE).count() == 0
            with pytest.raises(StoreForbidden):
                reader.open(name).write([ImageRecord("a", UNIT, "file:///a")])
        finally:
            reader.close()
    assert store.open(name).write([ImageRecord("a", UNIT, "file:///a")]) == []
    mappings = send(store, "GET", f"/{name}/_mapping")[f"{name}-000001"]["mappings"]
    assert mappings["_meta"][bodies.META]["version"] == bodies.schema_version()
