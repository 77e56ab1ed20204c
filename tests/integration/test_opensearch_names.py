"""Names of indices on a cluster whose aliases people move: list, open, write, create and drop say the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import EncoderMismatch, IndexExists, IndexNotFound, StoreCorrupt, StoreError, StoreUnavailable
from dar_search.ports import ImageIndex
from dar_search.settings import load_settings
from dar_search.stores.bodies import META, encode, index_meta
from dar_search.stores.opensearch.store import OpenSearchStore

DIMENSION = 16
PROVENANCE = Provenance("encoder", "1", DIMENSION, "crop 8x8 bicubic")
OTHER = Provenance("encoder", "2", DIMENSION, "crop 8x8 bicubic")
UNIT = np.full(DIMENSION, DIMENSION**-0.5, np.float32)
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def store(opensearch_url: str) -> Iterator[OpenSearchStore]:
    opened = OpenSearchStore(opensearch_url, load_settings(opensearch={"retry_seconds": 0.1}))
    yield opened
    opened.close()


@pytest.fixture
def call(store: OpenSearchStore) -> Call:
    """A request of the cluster's administrator."""

    def send(method: str, path: str, body: Any = None) -> Any:
        return store._cluster.send(method, path, None if body is None else encode(body))

    return send


@pytest.fixture
def name(call: Call) -> Iterator[str]:
    """A name; all that has it at the end is removed."""
    made = f"names-{uuid.uuid4().hex[:12]}"
    yield made
    for index in call("GET", f"/{made}*?expand_wildcards=open,closed&filter_path=*.aliases"):
        call("DELETE", f"/{index}")


def pictures(*ids: str) -> list[ImageRecord]:
    return [ImageRecord(id, UNIT, f"file:///{id}") for id in ids]


def filled(index: ImageIndex, *ids: str) -> ImageIndex:
    """The index with these pictures, shown."""
    assert index.write(pictures(*ids)) == []
    index.refresh()
    return index


def aliases(call: Call, *actions: dict[str, Any]) -> None:
    call("POST", "/_aliases", {"actions": list(actions)})


def own(store: OpenSearchStore, name: str) -> list[str]:
    return [one for one in store.names() if one.startswith(name)]


def troubles(store: OpenSearchStore, name: str) -> list[tuple[str, str]]:
    return [(line.subject, line.status) for line in store.troubles() if name in line.subject]


def change_over(call: Call, name: str, *, also: tuple[dict[str, Any], ...] = ()) -> None:
    """As opensearch/README.md has it: from NAME-000001 to NAME-next-000001."""
    aliases(
        call,
        {"remove": {"index": f"{name}-000001", "alias": name}},
        {"remove": {"index": f"{name}-000001", "alias": f"{name}-write"}},
        {"add": {"index": f"{name}-next-000001", "alias": name}},
        {"add": {"index": f"{name}-next-000001", "alias": f"{name}-write", "is_write_index": True}},
        *also,
    )


def test_after_the_change_over_a_name_is_listed_opened_written_and_dropped_as_what_it_leads_to(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    filled(store.create(name, PROVENANCE), "old")
    filled(store.create(f"{name}-next", OTHER), "new", "newer")
    gone = [{"remove": {"index": f"{name}-next-000001", "alias": f"{name}-next{end}"}} for end in ("", "-write")]
    change_over(call, name, also=tuple(gone))
    assert own(store, name) == [name]
    index = store.open(name, OTHER)
    assert index.write(pictures("newest")) == []
    assert index.count() == 3
    assert store.check()[f"index {name}"].endswith(f"in {name}-next-000001, beside it {name}-000001")
    assert troubles(store, name) == []
    with pytest.raises(IndexNotFound):
        store.drop(f"{name}-next")
    assert store.create(f"{name}-next", OTHER).count() == 0
    store.drop(f"{name}-next")
    assert index.count() == 3, "the next one's name was given anew, and dropping that leaves this one alone"
    store.drop(name)
    assert own(store, name) == []
    assert call("GET", f"/{name}*") == {}, "with the earlier index of this name"


def test_an_index_of_two_names_is_dropped_by_neither_and_the_error_says_how_to_take_one_away(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    for one, provenance in ((name, PROVENANCE), (f"{name}-next", OTHER)):
        filled(store.create(one, provenance), "a")
    change_over(call, name)
    assert own(store, name) == [name, f"{name}-next"]
    for one, other in ((name, f"{name}-next"), (f"{name}-next", name)):
        assert store.open(one, OTHER).count() == 1
        with pytest.raises(StoreError, match=f'is "{other}" too') as error:
            store.drop(one)
        assert f'"alias":"{one}"' in error.value.hint
    call("POST", "/_aliases", _actions(error.value.hint))
    assert own(store, name) == [name]
    store.drop(name)
    assert own(store, name) == []


def _actions(hint: str) -> Any:
    """The body of the request that an error gives as the way out."""
    return json.JSONDecoder().raw_decode(hint[hint.index("{") :])[0]


def test_a_rolled_over_write_alias_is_refused_and_the_way_out_works(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    index = store.create(name, PROVENANCE)
    assert index.write(pictures("old")) == []
    call("POST", f"/{name}-write/_rollover")
    assert troubles(store, name) == [(f"index {name}", "note")]
    fresh = store.open(name)
    for use in (lambda: fresh.write(pictures("new")), lambda: fresh.delete(["old"]), lambda: store.drop(name)):
        with pytest.raises(StoreCorrupt, match=f'"{name}" leads to {name}-000001, and "{name}-write" to') as error:
            use()
    assert fresh.get(["old"]).keys() == {"old"}
    assert call("GET", f"/{name}-000002/_count")["count"] == 0
    call("POST", "/_aliases", _actions(error.value.hint))
    assert fresh.write(pictures("new")) == []
    assert fresh.count() == 2
    store.drop(name)
    assert own(store, name) == []


def test_a_write_under_way_while_the_aliases_move_is_never_reported_as_done_elsewhere(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    index = store.create(name, PROVENANCE)
    store.create(f"{name}-next", OTHER)
    assert index.write(pictures("before")) == []  # what the handle knows is now less than a second old
    change_over(call, name)
    with pytest.raises(EncoderMismatch):
        index.write(pictures("after"))
    aliases(call, {"remove": {"index": f"{name}-next-000001", "alias": f"{name}-write"}})
    aliases(call, {"add": {"index": f"{name}-000001", "alias": f"{name}-write", "is_write_index": True}})
    with pytest.raises((StoreCorrupt, StoreUnavailable)):
        store.open(name, OTHER).write(pictures("astray"))


@pytest.mark.parametrize(
    "options", [{"is_write_index": False}, {"filter": {"term": {"id": "a"}}}, {"routing": "1"}], ids=str
)
def test_a_write_alias_that_cannot_be_written_through_is_named_and_the_way_out_works(
    store: OpenSearchStore, call: Call, name: str, options: dict[str, Any]
) -> None:
    store.create(name, PROVENANCE)
    aliases(call, {"remove": {"index": f"{name}-000001", "alias": f"{name}-write"}})
    aliases(call, {"add": {"index": f"{name}-000001", "alias": f"{name}-write", **options}})
    index = store.open(name)
    with pytest.raises(StoreCorrupt, match=f'"{name}" cannot be written to') as error:
        index.write(pictures("a"))
    call("POST", "/_aliases", _actions(error.value.hint))
    assert index.write(pictures("a")) == []


def test_without_its_write_alias_an_index_is_read_and_writing_says_what_is_missing(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    filled(store.create(name, PROVENANCE), "a")
    aliases(call, {"remove": {"index": f"{name}-000001", "alias": f"{name}-write"}})
    index = store.open(name)
    assert (own(store, name), index.count()) == ([name], 1)
    with pytest.raises(StoreCorrupt, match=f'there is no alias "{name}-write"') as error:
        index.write(pictures("b"))
    call("POST", "/_aliases", _actions(error.value.hint))
    assert index.write(pictures("b")) == []
    assert index.count() == 2


@pytest.mark.parametrize("left", ["the write alias alone", "no alias"])
def test_an_index_that_lost_its_name_is_listed_by_its_own_and_the_way_out_works(
    store: OpenSearchStore, call: Call, name: str, left: str
) -> None:
    filled(store.create(name, PROVENANCE), "a")
    gone = [name] if left == "the write alias alone" else [name, f"{name}-write"]
    aliases(call, *({"remove": {"index": f"{name}-000001", "alias": alias}} for alias in gone))
    assert own(store, name) == [f"{name}-000001"]
    assert troubles(store, name) == [(f"index {name}-000001", "note")]
    for use in (lambda: store.open(name), lambda: store.drop(name)):
        with pytest.raises(StoreCorrupt, match=f"leads to {name}-000001") as error:
            use()
    with pytest.raises(IndexExists, match=f"leads to {name}-000001"):
        store.create(name, PROVENANCE)
    alone = store.open(f"{name}-000001", PROVENANCE)
    assert alone.get(["a"]).keys() == {"a"}
    with pytest.raises(StoreCorrupt, match="cannot be written to"):
        alone.write(pictures("b"))
    call("POST", "/_aliases", _actions(error.value.hint))
    assert filled(store.open(name), "b").count() == 2
    assert (own(store, name), troubles(store, name)) == ([name], [])


def test_an_index_that_no_alias_leads_to_is_dropped_by_its_own_name(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    store.create(name, PROVENANCE)
    aliases(call, *({"remove": {"index": f"{name}-000001", "alias": alias}} for alias in (name, f"{name}-write")))
    store.drop(f"{name}-000001")
    assert own(store, name) == []
    store.create(name, PROVENANCE)


def test_the_index_behind_a_name_and_its_write_alias_are_no_names_themselves(store: OpenSearchStore, name: str) -> None:
    filled(store.create(name, PROVENANCE), "a")
    for other, said in ((f"{name}-000001", "the index behind"), (f"{name}-write", "written through")):
        for use in (store.open, store.drop):
            with pytest.raises(IndexNotFound, match=said) as error:
                use(other)
            assert f'"{name}"' in error.value.hint
        with pytest.raises(IndexExists, match=said):
            store.create(other, PROVENANCE)
    assert own(store, name) == [name]
    assert store.open(name).count() == 1


def test_names_that_look_like_another_names_parts_live_beside_it(store: OpenSearchStore, name: str) -> None:
    numbered = store.create(f"{name}-000001", PROVENANCE)
    plain = store.create(name, PROVENANCE)
    for index, id in ((numbered, "n"), (plain, "p")):
        assert index.write(pictures(id)) == []
    assert own(store, name) == [name, f"{name}-000001"]
    store.drop(name)
    assert own(store, name) == [f"{name}-000001"]
    assert numbered.get(["n", "p"]).keys() == {"n"}


@pytest.mark.parametrize("options", [{"filter": {"term": {"metadata.public": True}}}, {"routing": "1"}], ids=str)
def test_an_alias_that_shows_a_part_of_an_index_is_refused_not_listed_and_named_by_the_doctor(
    store: OpenSearchStore, call: Call, name: str, options: dict[str, Any]
) -> None:
    store.create(name, PROVENANCE)
    part = f"{name}-part"
    aliases(call, {"add": {"index": f"{name}-000001", "alias": part, **options}})
    for use in (store.open, store.drop):
        with pytest.raises(StoreError, match=f'"{part}" is an alias with a ') as error:
            use(part)
        assert f'Open "{name}"' in error.value.hint
        with pytest.raises(StoreError, match=f'is "{part}" too'):
            store.drop(name)
    assert own(store, name) == [name]
    assert troubles(store, name) == [(f"alias {part}", "note")]
    aliases(call, {"add": {"index": f"{name}-000001", "alias": name, **options}})  # the name's own alias
    with pytest.raises(StoreError, match="is an alias with a "):
        store.open(name)
    assert own(store, name) == [f"{name}-000001"]


def test_a_hidden_index_is_listed_and_checked_like_any_other(store: OpenSearchStore, call: Call, name: str) -> None:
    filled(store.create(name, PROVENANCE), "a")
    for alias in (name, f"{name}-write"):  # an alias is as hidden as what it leads to
        aliases(call, {"remove": {"index": f"{name}-000001", "alias": alias}})
    call("PUT", f"/{name}-000001/_settings", {"index": {"hidden": True}})
    assert own(store, name) == [f"{name}-000001"]
    assert f"index {name}-000001" in store.check()
    with pytest.raises(IndexExists):
        store.create(name, PROVENANCE)
    store.drop(f"{name}-000001")


def test_a_second_alias_is_a_name_to_read_by(store: OpenSearchStore, call: Call, name: str) -> None:
    filled(store.create(name, PROVENANCE), "a")
    aliases(call, {"add": {"index": f"{name}-000001", "alias": f"{name}-current"}})
    assert own(store, name) == [name, f"{name}-current"]
    current = store.open(f"{name}-current", PROVENANCE)
    assert current.count() == 1
    with pytest.raises(StoreCorrupt, match=f'there is no alias "{name}-current-write"'):
        current.write(pictures("b"))


def test_a_closed_index_says_so_hides_no_other_and_can_be_dropped(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    for one in (name, f"{name}-open"):
        store.create(one, PROVENANCE)
    index = store.open(name)
    call("POST", f"/{name}-000001/_close")
    assert own(store, name) == [name, f"{name}-open"]
    assert troubles(store, name) == [(f"index {name}", "fail")]
    assert f"index {name}-open" in store.check()
    for use in (index.count, lambda: index.get(["a"]), lambda: index.write(pictures("a")), lambda: index.delete(["a"])):
        with pytest.raises(StoreError, match="index is closed") as error:
            use()
        assert "_open" in error.value.hint
    with pytest.raises(IndexExists):
        store.create(name, PROVENANCE)
    store.drop(name)
    assert own(store, name) == [f"{name}-open"]


def test_a_data_stream_is_no_index_of_the_store(store: OpenSearchStore, call: Call, name: str) -> None:
    call("PUT", f"/_index_template/{name}", {"index_patterns": [name], "data_stream": {}, "priority": 500})
    try:
        call("PUT", f"/_data_stream/{name}")
        for use in (store.open, store.drop):
            with pytest.raises(IndexNotFound):
                use(name)
        with pytest.raises(IndexExists):
            store.create(name, PROVENANCE)
        assert own(store, name) == []
    finally:
        call("DELETE", f"/_data_stream/{name}")
        call("DELETE", f"/_index_template/{name}")


def test_a_handle_reads_no_vectors_of_another_encoder_by_id_after_the_change_over(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    index = filled(store.create(name, PROVENANCE), "a")
    filled(store.create(f"{name}-next", OTHER), "a")
    assert index.get(["a"]).keys() == {"a"}
    change_over(call, name)
    for read in (index.get, index.digests):
        with pytest.raises(EncoderMismatch):
            read(["a"])


def test_an_alias_that_a_restored_copy_came_back_with_leads_to_several_and_the_way_out_works(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    filled(store.create(name, PROVENANCE), "a")
    store.create(f"{name}-copy", PROVENANCE)
    aliases(call, {"add": {"index": f"{name}-copy-000001", "alias": name}})
    assert own(store, name) == [name, f"{name}-copy"]
    for use in (store.open, store.drop):
        with pytest.raises(StoreCorrupt, match="leads to several indices") as error:
            use(name)
    with pytest.raises(IndexExists, match="leads to several indices"):
        store.create(name, PROVENANCE)
    call("POST", "/_aliases", _actions(error.value.hint))
    assert store.open(name).get(["a"]).keys() == {"a"}


def test_an_upgrade_leaves_an_index_the_name_that_it_was_made_with(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    store.create(f"{name}-next", PROVENANCE)
    meta = index_meta(f"{name}-next", PROVENANCE) | {"version": 1}
    call("PUT", f"/{name}-next/_mapping", {"_meta": {META: meta}})
    aliases(call, {"add": {"index": f"{name}-next-000001", "alias": name}})
    store.open(name)
    mappings = call("GET", f"/{name}/_mapping")[f"{name}-next-000001"]["mappings"]
    assert mappings["_meta"][META] == index_meta(f"{name}-next", PROVENANCE)
