"""Writes and deletes that carry versions: the later one asked for wins, whichever comes first."""

from dataclasses import replace

import pytest

from dar_search.filters import parse_filter
from dar_search.ingestion.jobs.data import version_of
from dar_search.ports import ImageIndex, SearchRequest
from tests.contract.gallery import record

OLD, NEW = version_of(1_700_000_000_000, 3), version_of(1_700_000_000_001, 0)


def captions(index: ImageIndex) -> dict[str, str]:
    index.refresh()
    return {id: record.caption for id, record in index.get(list(index.ids())).items()}


def test_a_write_with_a_lower_version_is_superseded_and_no_failure(index: ImageIndex) -> None:
    both = [record("a", caption="new"), record("b", caption="new")]
    assert index.write(both, versions=[NEW, OLD]) == []
    late = [replace(one, caption="late") for one in both]
    assert index.write(late, versions=[OLD, OLD]) == []
    assert captions(index) == {"a": "new", "b": "late"}
    assert index.count() == 2


def test_a_write_sent_again_with_its_version_changes_nothing(index: ImageIndex) -> None:
    for _ in range(2):
        assert index.write([record("a", caption="same")], versions=[NEW]) == []
    assert captions(index) == {"a": "same"}


def test_a_late_write_does_not_bring_back_what_was_deleted_after_it_was_asked_for(index: ImageIndex) -> None:
    index.write([record("a")], versions=[OLD])
    assert index.delete(["a", "never there"], version=NEW) == 1
    assert index.write([record("a"), record("never there"), record("other")], versions=[OLD] * 3) == []
    assert captions(index).keys() == {"other"}
    assert index.write([record("a", caption="again")], versions=[NEW + 1]) == []
    assert captions(index) == {"a": "again", "other": ""}


def test_a_late_delete_leaves_what_was_written_after_it_was_asked_for(index: ImageIndex) -> None:
    index.write([record("a"), record("b")], versions=[NEW, OLD])
    assert index.delete(["a", "b"], version=OLD) == 1
    assert captions(index).keys() == {"a"}


def test_without_a_version_a_write_goes_in_and_stays_until_something_newer(index: ImageIndex) -> None:
    index.write([record("a", caption="versioned")], versions=[OLD])
    index.write([record("a", caption="plain")])
    assert captions(index) == {"a": "plain"}
    index.write([record("a", caption="late")], versions=[OLD])
    assert captions(index) == {"a": "plain"}
    index.write([record("a", caption="new")], versions=[NEW])
    assert captions(index) == {"a": "new"}


def test_after_a_delete_without_a_version_something_newer_can_be_written(index: ImageIndex) -> None:
    index.write([record("a")], versions=[OLD])
    assert index.delete(["a"]) == 1
    assert index.write([record("a", caption="late")], versions=[OLD]) == []
    assert captions(index) == {}
    assert index.write([record("a", caption="new")], versions=[NEW]) == []
    assert captions(index) == {"a": "new"}


def test_a_record_written_before_there_were_versions_is_replaced(index: ImageIndex) -> None:
    index.write([record("a", caption="old")])
    assert index.write([record("a", caption="new")], versions=[OLD]) == []
    assert captions(index) == {"a": "new"}


@pytest.mark.parametrize("token", [-1, 1 << 20])
def test_a_token_that_no_version_has_room_for_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match="version"):
        version_of(1, token)


def test_what_was_deleted_shows_nowhere_whatever_is_asked(index: ImageIndex) -> None:
    there, gone = record("there", caption="a dog", metadata={"year": 1999}), record("gone", caption="a dog")
    index.write([there, gone], versions=[OLD, OLD])
    assert index.delete(["gone", "never there"], version=NEW) == 1
    assert index.delete(["gone", "never there"], version=NEW) == 0
    assert index.delete(["gone", "never there"]) == 0
    index.refresh()
    assert list(index.ids()) == ["there"]
    assert index.get(["there", "gone", "never there"]).keys() == {"there"}
    assert index.digests(["there", "gone", "never there"]).keys() == {"there"}
    nowhere = parse_filter({"not": {"year": 2024}})  # a condition that what is not there satisfies too
    assert index.count() == index.count(nowhere) == 1
    for filter in ((), nowhere):
        for exact in (True, False):
            for text in ("dog", None):
                request = SearchRequest(vector=there.embedding, text=text, filter=filter, exact=exact)
                assert [hit.id for hit in index.search(request).hits] == ["there"]
        assert [hit.id for hit in index.search(SearchRequest(text="dog", filter=filter)).hits] == ["there"]


def test_a_late_delete_of_what_was_deleted_since_counts_nothing_and_leaves_the_later_one_in_force(
    index: ImageIndex,
) -> None:
    index.write([record("a")], versions=[OLD])
    assert index.delete(["a"], version=NEW) == 1
    assert index.delete(["a"], version=OLD) == 0
    assert index.write([record("a", caption="late")], versions=[NEW - 1]) == []
    assert captions(index) == {}
