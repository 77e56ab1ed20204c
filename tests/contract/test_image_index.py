"""What every index must do with records: write, read, delete, refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dar_search.data import ImageRecord, Place
from dar_search.errors import DimensionMismatch
from dar_search.filters import parse_filter
from dar_search.ports import ImageIndex, SearchRequest, Store
from tests.contract.conftest import NewIndex, Opener
from tests.contract.gallery import DIMENSION, PROVENANCE, gallery_records, random_units, record

FULL = ImageRecord(
    id="a/b c?d=ü&写真#1",
    embedding=random_units(1, seed=99)[0],
    source="https://example.org/a%20b.jpg?x=1",
    origin="file:///list.jsonl",
    digest="0a:1b",
    caption='Ein Bild: "Größe" — 写真, 🐶\n\tsecond line; x\x00y',
    metadata={
        "year": 1999,
        "score": 0.1,
        "open": True,
        "city": "São Paulo'); --",
        "tags": ("a", "b"),
        "many": (1, 2.5),
    },
    width=640,
    height=480,
    thumbnail=bytes(range(256)),
)


def same(left: ImageRecord, right: ImageRecord) -> bool:
    """Equal in all fields, and each metadata value of the same Python type."""

    def typed(metadata: Any) -> Any:
        return {name: (repr(value), type(value)) for name, value in metadata.items()}

    plain = {"embedding": np.zeros(1, np.float32), "metadata": {}}
    return (
        np.array_equal(left.embedding, right.embedding)
        and left.embedding.dtype == right.embedding.dtype == np.float32
        and typed(left.metadata) == typed(right.metadata)
        and repr(replace(left, **plain)) == repr(replace(right, **plain))
    )


def test_a_record_comes_back_as_it_was_written(index: ImageIndex) -> None:
    bare = record("bare", source="")
    assert index.write([FULL, bare]) == []
    found = index.get([FULL.id, bare.id])
    assert same(found[FULL.id], FULL)
    assert same(found[bare.id], bare)


def test_the_whole_gallery_comes_back(gallery: ImageIndex) -> None:
    found = gallery.get([expected.id for expected in gallery_records()])
    assert len(found) == len(gallery_records())
    assert all(same(found[expected.id], expected) for expected in gallery_records())


def test_writing_the_same_again_changes_nothing(index: ImageIndex) -> None:
    for _ in range(3):
        assert index.write([FULL, record("other")]) == []
    index.refresh()
    assert index.count() == 2
    assert list(index.ids()) == sorted([FULL.id, "other"])
    assert same(index.get([FULL.id])[FULL.id], FULL)


def test_a_record_with_the_same_id_is_replaced_whole(index: ImageIndex) -> None:
    index.write([FULL])
    new = record(FULL.id, caption="a cat", metadata={"year": 2001})
    assert index.write([new]) == []
    index.refresh()
    assert same(index.get([FULL.id])[FULL.id], new)
    assert index.count(parse_filter({"city": "São Paulo'); --"})) == 0
    assert index.count(parse_filter({"year": 2001})) == 1
    assert [hit.id for hit in index.search(SearchRequest(text="größe")).hits] == []
    assert [hit.id for hit in index.search(SearchRequest(text="cats")).hits] == [FULL.id]
    (hit,) = index.search(SearchRequest(vector=new.embedding, exact=True)).hits
    assert hit.score == pytest.approx(1.0, abs=1e-6)


def test_of_several_records_with_one_id_in_a_write_the_last_wins(index: ImageIndex) -> None:
    records = [record("same", caption=f"number {n}", embedding=random_units(1, seed=n)[0]) for n in range(5)]
    assert index.write([records[0], record("other"), *records[1:]]) == []
    index.refresh()
    assert index.count() == 2
    assert same(index.get(["same"])["same"], records[-1])


def test_writing_nothing_is_fine(index: ImageIndex) -> None:
    assert index.write([]) == []
    assert index.delete([]) == 0
    assert index.get([]) == {}
    assert index.digests([]) == {}


def test_get_and_digests_leave_out_what_is_not_there(gallery: ImageIndex) -> None:
    first, second = gallery_records()[:2]
    asked = [first.id, "nowhere", second.id, first.id, "", "x" * 600]
    assert set(gallery.get(asked)) == {first.id, second.id}
    assert gallery.digests(asked) == {first.id: first.digest, second.id: second.digest}


def test_delete_removes_and_says_how_many_were_there(index: ImageIndex) -> None:
    index.write([record(id, caption="a dog", metadata={"year": 1999}) for id in ("a", "b", "c")])
    assert index.delete(["a", "nowhere", "c", "a"]) == 2
    assert index.delete(["a"]) == 0
    index.refresh()
    assert list(index.ids()) == ["b"]
    assert index.count() == index.count(parse_filter({"year": 1999})) == 1
    assert [hit.id for hit in index.search(SearchRequest(text="dog")).hits] == ["b"]
    assert [hit.id for hit in index.search(SearchRequest(vector=random_units(1)[0], exact=True)).hits] == ["b"]


def test_what_was_deleted_can_be_written_again(index: ImageIndex) -> None:
    index.write([FULL])
    index.delete([FULL.id])
    assert index.get([FULL.id]) == {}
    assert index.write([FULL]) == []
    index.refresh()
    assert same(index.get([FULL.id])[FULL.id], FULL)
    assert index.count() == 1


def test_ids_come_in_ascending_order_and_by_origin(gallery: ImageIndex) -> None:
    records = gallery_records()
    assert list(gallery.ids()) == sorted(record.id for record in records)
    wanted = sorted(record.id for record in records if record.origin == "file:///list-1.jsonl")
    assert list(gallery.ids(origin="file:///list-1.jsonl")) == wanted
    assert list(gallery.ids(origin="file:///nowhere")) == []


def test_ids_of_any_script_are_ordered_by_code_point(index: ImageIndex) -> None:
    ids = ["Z", "a", "é", "zz", "写真", "🐶", "\ufb01", "1", "A", " ", "'", "%41"]
    index.write([record(id) for id in ids])
    index.refresh()
    assert list(index.ids()) == sorted(ids)


def test_more_records_than_one_page_of_ids(index: ImageIndex) -> None:
    vectors = random_units(2_100)
    records = [ImageRecord(id=f"{n:05d}", embedding=vectors[n], source="s", digest=str(n)) for n in range(2_100)]
    assert index.write(records) == []
    index.refresh()
    assert list(index.ids()) == [record.id for record in records]
    assert index.count() == 2_100
    assert index.digests([r.id for r in records]) == {r.id: r.digest for r in records}
    assert index.delete([record.id for record in records[:1_500]]) == 1_500
    index.refresh()
    assert list(index.ids()) == [record.id for record in records[1_500:]]


def test_an_embedding_of_another_dimension_stops_the_whole_write(index: ImageIndex) -> None:
    wrong = record("wrong", embedding=random_units(1, DIMENSION + 1)[0])
    with pytest.raises(DimensionMismatch) as error:
        index.write([record("right"), wrong])
    assert str(DIMENSION) in error.value.message
    index.refresh()
    assert index.count() == 0


def bad_embedding(change: Callable[[np.ndarray], None]) -> ImageRecord:
    embedding = random_units(1)[0]
    change(embedding)
    return record("bad", embedding=embedding)


REFUSED = {
    "an empty id": ("bad_id", record("")),
    "a long id": ("bad_id", record("é" * 257)),
    "an id that is no text": ("bad_id", record("a\ud800", random_units(1)[0])),
    "not a number": ("bad_embedding", bad_embedding(lambda e: e.__setitem__(0, np.nan))),
    "infinite": ("bad_embedding", bad_embedding(lambda e: e.__setitem__(0, np.inf))),
    "not of unit length": ("bad_embedding", bad_embedding(lambda e: np.multiply(e, 1.01, out=e))),
    "zero": ("bad_embedding", bad_embedding(lambda e: e.fill(0))),
    "a caption that is no text": ("bad_text", record("bad", caption="a\udcff")),
    "a field with a dot": ("metadata_field", record("bad", metadata={"a.b": 1})),
    "a field with a quote": ("metadata_field", record("bad", metadata={"a\"'); --": 1})),
    "a field with no name": ("metadata_field", record("bad", metadata={"": 1})),
    "a field named not": ("metadata_field", record("bad", metadata={"not": 1})),
    "a field with a long name": ("metadata_field", record("bad", metadata={"a" * 65: 1})),
    "nothing as a value": ("metadata_value", record("bad", metadata={"a": None})),
    "an object as a value": ("metadata_value", record("bad", metadata={"a": {"b": 1}})),
    "a number that is none": ("metadata_value", record("bad", metadata={"a": float("nan")})),
    "an infinite number": ("metadata_value", record("bad", metadata={"a": (1.0, float("inf"))})),
    "an integer beyond 64 bits": ("metadata_value", record("bad", metadata={"a": 2**63})),
    "a list of two types": ("metadata_value", record("bad", metadata={"a": (1, "b")})),
    "a list of numbers and booleans": ("metadata_value", record("bad", metadata={"a": (1, True)})),
    "a string that is no text": ("metadata_value", record("bad", metadata={"a": "\ud800"})),
    "a string too long to filter by": ("metadata_value", record("bad", metadata={"a": "x" * 32_767})),
    "a string where numbers are": ("metadata_type", record("bad", metadata={"year": "1999"})),
    "a boolean where numbers are": ("metadata_type", record("bad", metadata={"year": True})),
    "a number where strings are": ("metadata_type", record("bad", metadata={"city": 7})),
    "strings where a boolean is": ("metadata_type", record("bad", metadata={"open": ("yes", "no")})),
}


@pytest.mark.parametrize(("code", "bad"), REFUSED.values(), ids=REFUSED.keys())
def test_a_record_that_no_store_keeps_is_refused_and_the_others_are_in(
    index: ImageIndex, code: str, bad: ImageRecord
) -> None:
    good = record("good", metadata={"year": 1999, "city": "Rome", "open": False})
    after = record("after", metadata={"year": 2000})
    ((id, failure),) = index.write([good, replace(bad, source="file:///bad.png"), after])
    assert (id, failure.code, failure.source) == (bad.id, code, "file:///bad.png")
    assert failure.message
    assert "\n" not in failure.message
    index.refresh()
    assert list(index.ids()) == ["after", "good"]


def test_a_refused_record_leaves_an_older_one_in_place(index: ImageIndex) -> None:
    old = record("same", metadata={"year": 1999})
    index.write([old])
    ((id, failure),) = index.write([record("same", metadata={"year": "x"})])
    assert (id, failure.code) == ("same", "metadata_type")
    assert same(index.get(["same"])["same"], old)


def test_a_refused_record_teaches_the_index_no_field(index: ImageIndex) -> None:
    index.write([record("a", metadata={"year": 1999})])
    assert len(index.write([record("b", metadata={"new": "text", "year": "x"})])) == 1
    assert index.write([record("c", metadata={"new": 5})]) == []


def test_the_first_value_in_a_write_decides_a_fields_type(index: ImageIndex) -> None:
    refused = index.write(
        [record("a", metadata={"x": 1}), record("b", metadata={"x": "1"}), record("c", metadata={"x": 2})]
    )
    assert [(id, failure.code) for id, failure in refused] == [("b", "metadata_type")]


def test_an_empty_list_says_nothing_about_a_fields_type(index: ImageIndex) -> None:
    assert index.write([record("a", metadata={"x": ()}), record("b", metadata={"x": "text"})]) == []
    index.refresh()
    assert index.get(["a"])["a"].metadata == {"x": ()}
    assert index.count(parse_filter({"x": {"exists": True}})) == 1


def test_an_index_has_at_most_two_hundred_fields(index: ImageIndex) -> None:
    assert index.write([record("a", metadata={f"field-{n}": n for n in range(200)})]) == []
    ((id, failure),) = index.write([record("b", metadata={"field-200": 1})])
    assert (id, failure.code) == ("b", "metadata_fields")
    assert index.write([record("c", metadata={"field-199": 1})]) == []


def test_numbers_come_back_as_they_were_given(index: ImageIndex) -> None:
    metadata = {"int": 3, "float": 3.0, "negative": -(2**63), "large": 2**53 + 1, "tiny": 5e-324, "list": (1, 1.0, 2)}
    assert index.write([record("a", metadata=metadata)]) == []
    found = index.get(["a"])["a"].metadata
    assert {name: repr(value) for name, value in found.items()} == {n: repr(v) for n, v in metadata.items()}


def test_large_metadata_and_captions_are_kept(index: ImageIndex) -> None:
    metadata = {"long": "x" * 32_766, "many": tuple(f"value {n}" for n in range(5_000)), "wide": "é" * 16_383}
    caption = "dog " * 20_000 + "needle"
    assert index.write([record("a", metadata=metadata, caption=caption)]) == []
    index.refresh()
    found = index.get(["a"])["a"]
    assert (found.metadata, found.caption) == (metadata, caption)
    assert index.count(parse_filter({"many": "value 4999"})) == index.count(parse_filter({"long": "x" * 32_766})) == 1
    assert [hit.id for hit in index.search(SearchRequest(text="needle")).hits] == ["a"]


def test_metadata_without_end_is_refused(index: ImageIndex) -> None:
    huge = {f"field-{n}": "x" * 32_000 for n in range(40)}
    ((_, failure),) = index.write([record("a", metadata=huge)])
    assert failure.code == "metadata_size"


def test_another_handle_sees_what_was_written_after_a_refresh(index: ImageIndex, open_store: Opener) -> None:
    other = open_store().open(index.name, PROVENANCE)
    vector = random_units(1)[0]
    assert other.search(SearchRequest(vector=vector, exact=True)).hits == ()
    index.write([record("a", caption="a dog", metadata={"year": 1999})])
    other.refresh()
    assert [hit.id for hit in other.search(SearchRequest(vector=vector, exact=True)).hits] == ["a"]
    assert [hit.id for hit in other.search(SearchRequest(text="dog")).hits] == ["a"]
    assert other.write([record("b", metadata={"year": "x"})])[0][1].code == "metadata_type"
    other.delete(["a"])
    index.refresh()
    assert index.search(SearchRequest(vector=vector, exact=True)).hits == ()


def test_two_handles_write_and_search_at_once(new_index: NewIndex, store: Store, open_store: Opener) -> None:
    name = new_index().name
    handles = [store.open(name), open_store().open(name)]
    vectors = random_units(240)
    barrier = threading.Barrier(5)

    def write(writer: int) -> None:
        barrier.wait()
        for start in range(writer * 60, writer * 60 + 60, 12):
            rows = [
                record(f"{n:03d}", vectors[n], caption="a dog", metadata={"n": n}) for n in range(start, start + 12)
            ]
            assert handles[writer % 2].write(rows) == []

    def search() -> list[int]:
        barrier.wait()
        counts = []
        while not all(writer.done() for writer in writers):
            hits = handles[1].search(SearchRequest(vector=vectors[0], size=200, depth=240, exact=True)).hits
            assert len({hit.id for hit in hits}) == len(hits)
            counts.append(len(hits))
        return counts

    with ThreadPoolExecutor(5) as threads:
        writers = [threads.submit(write, writer) for writer in range(4)]
        searcher = threads.submit(search)
        for writer in writers:
            writer.result()
        counts = searcher.result()
    assert max(counts, default=0) <= 240
    for handle in handles:
        handle.refresh()
        assert handle.count() == len(list(handle.ids())) == 240
        assert all(np.array_equal(r.embedding, vectors[int(r.id)]) for r in handle.get(list(handle.ids())).values())


def test_records_are_found_by_the_content_of_their_pictures(index: ImageIndex) -> None:
    one, other = "1" * 64, "2" * 64
    kept = [
        record("a", source="file:///a.jpg", origin="file:///", digest=f"{one}:x"),
        record("b", source="file:///b.jpg", origin="file:///", digest=f"{one}:y"),
        record("c", source="file:///c.jpg", digest=f"{other}:x"),
        record("d", source="file:///d.jpg"),
        record("e", source="file:///e.jpg", digest=f"{one}0:x"),
    ]
    assert index.write(kept) == []
    index.refresh()
    wanted = [*(f"{number:064x}" for number in range(300)), one, other, one]
    found = sorted(index.with_content(wanted), key=lambda place: place.id)
    assert found == [Place(r.id, r.source, r.origin, r.digest) for r in kept[:3]]
    assert index.with_content([]) == []
    assert index.with_content(["3" * 64]) == []
    index.delete(["a"])
    index.refresh()
    assert [place.id for place in index.with_content([one])] == ["b"]


def test_what_is_there_very_often_is_found_in_part(index: ImageIndex) -> None:
    index.write([record(f"{number:05}", digest=f"{'1' * 64}:x") for number in range(1_500)])
    index.refresh()
    assert 500 < len({place.id for place in index.with_content(["1" * 64])}) <= 1_000
