"""What every store must do with its indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dar_search.errors import EncoderMismatch, IndexExists, IndexNotFound, InputError
from dar_search.ports import Store
from tests.contract.conftest import Opener
from tests.contract.gallery import DIMENSION, PROVENANCE, record

BAD_NAMES = [
    "",
    ".",
    "..",
    "Photos",
    "_photos",
    "-photos",
    "+photos",
    "my photos",
    "a/b",
    "a\\b",
    "a*",
    "a?",
    'a"b',
    "a<b",
    "a>b",
    "a|b",
    "a,b",
    "a#b",
    "a:b",
    "a\nb",
    "a\x00b",
    "É",
    "a" * 201,
    "é" * 101,
    "a\ud800",
]
GOOD_NAMES = ["a", "my-photos_2.old", "été", "写真", "a+b-c", "it's", "a;drop-table-indices;--", "1", "x" * 200]


def test_a_new_index_is_empty_and_knows_its_name_and_where_its_vectors_come_from(
    store: Store, names: Callable[[], str]
) -> None:
    name = names()
    index = store.create(name, PROVENANCE)
    assert (index.name, index.provenance, index.count()) == (name, PROVENANCE, 0)
    assert list(index.ids()) == []
    opened = store.open(name)
    assert (opened.name, opened.provenance) == (name, PROVENANCE)


def test_names_lists_the_indices_in_order(store: Store, names: Callable[[], str]) -> None:
    made = [names() for _ in range(3)]
    for name in made:
        store.create(name, PROVENANCE)
    assert [name for name in store.names() if name in made] == sorted(made)
    assert store.names() == sorted(store.names())


def test_a_name_is_taken_once(store: Store, names: Callable[[], str]) -> None:
    name = names()
    store.create(name, PROVENANCE).write([record("kept")])
    with pytest.raises(IndexExists) as error:
        store.create(name, PROVENANCE)
    assert name in error.value.message
    assert set(store.open(name).get(["kept"])) == {"kept"}


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_no_store_may_have_is_refused(store: Store, name: str) -> None:
    before = store.names()
    for use in (lambda: store.create(name, PROVENANCE), lambda: store.open(name), lambda: store.drop(name)):
        with pytest.raises(InputError) as error:
            use()
        assert error.value.hint
        assert error.value.message.isprintable()
    assert store.names() == before


@pytest.mark.parametrize("name", GOOD_NAMES, ids=ascii)
def test_a_name_within_the_rules_works(store: Store, name: str) -> None:
    index = store.create(name, PROVENANCE)
    try:
        assert index.write([record("one", caption="a dog")]) == []
        index.refresh()
        assert store.open(name).count() == 1
        assert name in store.names()
    finally:
        store.drop(name)
    assert name not in store.names()


def test_an_unknown_index_is_named_with_those_that_there_are(store: Store, names: Callable[[], str]) -> None:
    there = names()
    store.create(there, PROVENANCE)
    for use in (store.open, store.drop):
        with pytest.raises(IndexNotFound) as error:
            use("contract-nowhere")
        assert "contract-nowhere" in error.value.message
        assert there in error.value.hint or len(store.names()) > 20


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder": "another encoder"}, ["contract encoder", "another encoder"]),
        ({"revision": "revision 2"}, ["revision 1", "revision 2"]),
        ({"dimension": DIMENSION + 1}, [str(DIMENSION), str(DIMENSION + 1)]),
        ({"preparation": "pad 8x8 bicubic"}, ["crop 8x8", "pad 8x8"]),
    ],
)
def test_another_provenance_is_refused_and_the_error_says_what_differs(
    store: Store, names: Callable[[], str], change: dict, named: list[str]
) -> None:
    name = names()
    store.create(name, PROVENANCE)
    with pytest.raises(EncoderMismatch) as error:
        store.open(name, replace(PROVENANCE, **change))
    assert all(part in error.value.message for part in named)
    assert store.open(name, PROVENANCE).provenance == PROVENANCE


BY_CONTENT = replace(PROVENANCE, encoder="transformers:clip", revision="sha256:0123456789abcdef.aaaaaaaaaaaaaaaa")


def test_a_model_in_a_folder_of_another_name_is_the_same_model(store: Store, names: Callable[[], str]) -> None:
    name = names()
    store.create(name, BY_CONTENT)
    assert store.open(name, replace(BY_CONTENT, encoder="transformers:renamed")).provenance == BY_CONTENT


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"revision": "sha256:ffffffffffffffff.aaaaaaaaaaaaaaaa"},
            ["other weights or settings of", "sha256:fff"],
        ),
        ({"revision": "sha256:0123456789abcdef.bbbbbbbbbbbbbbbb"}, ["another tokenizer of transformers:clip", ".bbb"]),
        ({"revision": "sha256:0123456789abcdef"}, ["another tokenizer of transformers:clip"]),
        ({"encoder": "open_clip:x", "revision": "sha256:ffffffffffffffff.aa"}, ["transformers:clip", "open_clip:x"]),
        ({"encoder": "transformers:renamed", "preparation": "pad 8x8 bicubic"}, ["crop 8x8", "pad 8x8"]),
        ({"encoder": "transformers:renamed", "dimension": DIMENSION + 1}, [str(DIMENSION + 1)]),
    ],
    ids=str,
)
def test_another_model_in_a_folder_of_any_name_is_refused(
    store: Store, names: Callable[[], str], change: dict, named: list[str]
) -> None:
    name = names()
    store.create(name, BY_CONTENT)
    with pytest.raises(EncoderMismatch) as error:
        store.open(name, replace(BY_CONTENT, **change))
    assert all(part in error.value.message for part in named)
    assert "make a new index" in error.value.hint


def test_an_index_of_an_earlier_version_whose_revision_tells_no_tokenizer_opens_with_the_same_weights(
    store: Store, names: Callable[[], str]
) -> None:
    name = names()
    earlier = replace(BY_CONTENT, revision="sha256:0123456789abcdef")
    store.create(name, earlier)
    assert store.open(name, replace(BY_CONTENT, encoder="transformers:renamed")).provenance == earlier
    with pytest.raises(EncoderMismatch, match="other weights"):
        store.open(name, replace(BY_CONTENT, revision="sha256:ffffffffffffffff.aaaaaaaaaaaaaaaa"))
    with pytest.raises(EncoderMismatch, match="crop 8x8"):
        store.open(name, replace(BY_CONTENT, preparation="pad 8x8 bicubic"))


@pytest.mark.parametrize("dimension", [0, -1, 16_001])
def test_a_dimension_that_no_index_can_have_is_refused(store: Store, names: Callable[[], str], dimension: int) -> None:
    name = names()
    with pytest.raises(InputError):
        store.create(name, replace(PROVENANCE, dimension=dimension))
    assert name not in store.names()


def test_a_dropped_index_is_gone_with_all_in_it(store: Store, names: Callable[[], str]) -> None:
    name = names()
    index = store.create(name, PROVENANCE)
    index.write([record("one", caption="a dog", metadata={"year": 1999}, thumbnail=b"picture")])
    store.drop(name)
    assert name not in store.names()
    with pytest.raises(IndexNotFound):
        store.open(name)
    again = store.create(name, PROVENANCE)
    again.refresh()
    assert (again.count(), again.get(["one"])) == (0, {})
    assert again.write([record("one", metadata={"year": "of the dog"})]) == []


def test_a_handle_of_a_dropped_index_says_so(store: Store, names: Callable[[], str]) -> None:
    name = names()
    index = store.create(name, PROVENANCE)
    index.write([record("one")])
    store.drop(name)
    for use in (index.count, lambda: index.get(["one"]), lambda: index.write([record("two")])):
        with pytest.raises(IndexNotFound):
            use()
    assert name not in store.names()


def test_dropping_an_index_leaves_the_others_alone(store: Store, names: Callable[[], str]) -> None:
    kept, dropped = names(), names()
    store.create(kept, PROVENANCE).write([record("one", caption="a dog", metadata={"year": 1999})])
    store.create(dropped, PROVENANCE).write([record("one", caption="a cat", metadata={"year": "x"})])
    store.drop(dropped)
    assert store.open(kept).get(["one"])["one"].caption == "a dog"


def test_another_handle_sees_what_is_made_and_dropped(
    store: Store, open_store: Opener, names: Callable[[], str]
) -> None:
    other = open_store()
    name = names()
    store.create(name, PROVENANCE)
    assert name in other.names()
    assert other.open(name, PROVENANCE).count() == 0
    other.drop(name)
    with pytest.raises(IndexNotFound):
        store.open(name)


def test_the_check_says_something_about_the_store(store: Store, names: Callable[[], str]) -> None:
    store.create(names(), PROVENANCE)
    lines = store.check()
    assert lines
    assert all(isinstance(line, str) and line and "\n" not in line for pair in lines.items() for line in pair)


def test_the_address_is_what_a_user_would_write(store: Store) -> None:
    assert store.address.startswith(("sqlite:", "http://", "https://"))
