"""`dar index` and `dar doctor` on a cluster, one of whose indices is shut and another has lost its name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from dar_search.data import Provenance
from dar_search.settings import load_settings
from dar_search.stores.bodies import encode
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.e2e.conftest import Dar

PROVENANCE = Provenance("encoder", "1", 16, "crop 8x8 bicubic")


@pytest.fixture
def three(opensearch_url: str) -> Iterator[str]:
    """The stem of three names: one is fine, one's index is closed, one has only its index left."""
    stem = f"commands-{uuid.uuid4().hex[:10]}"
    store = OpenSearchStore(opensearch_url, load_settings())
    for end in ("fine", "closed", "lost"):
        store.create(f"{stem}-{end}", PROVENANCE)
    store._cluster.send("POST", f"/{stem}-closed/_close")
    gone = [{"remove": {"index": f"{stem}-lost-000001", "alias": f"{stem}-lost{end}"}} for end in ("", "-write")]
    store._cluster.send("POST", "/_aliases", encode({"actions": gone}))
    yield stem
    for name in store.names():
        if name.startswith(stem):
            store.drop(name)
    store.close()


def test_one_index_that_cannot_be_used_hides_no_other_and_is_named_with_the_way_out(
    dar: Dar, three: str, opensearch_url: str
) -> None:
    at = ("--store", opensearch_url)
    listed = {one["name"]: one for one in dar("index", "list", "--json", *at).json["indices"]}
    assert listed[f"{three}-fine"]["pictures"] == 0
    assert listed[f"{three}-lost-000001"]["pictures"] == 0
    assert listed[f"{three}-closed"]["problem"]["code"] == "store_error"
    for_people = dar("index", "list", *at)
    assert (for_people.status, f"{three}-fine" in for_people.out) == (0, True)
    assert f"{three}-closed: The index is closed. Open it" in for_people.err
    lost = dar("index", "show", f"{three}-lost", *at)
    assert lost.status == 1
    assert f"no alias leads to {three}-lost-000001" in lost.err
    assert "POST /_aliases" in lost.err


def test_what_is_listed_is_what_can_be_dropped(dar: Dar, three: str, opensearch_url: str) -> None:
    at = ("--store", opensearch_url)
    for name, pictures in ((f"{three}-closed", None), (f"{three}-lost-000001", 0), (f"{three}-fine", 0)):
        assert dar("index", "drop", name, "--yes", "--json", *at).json == {"dropped": name, "pictures": pictures}
    assert not [one for one in dar("index", "list", "--json", *at).json["indices"] if three in one["name"]]


def test_the_doctor_names_each_trouble(dar: Dar, three: str, opensearch_url: str) -> None:
    found = {
        one["check"].strip(): one
        for one in dar("doctor", "--quick", "--json", "--store", opensearch_url).json["checks"]
    }
    closed, lost = found[f"index {three}-closed"], found[f"index {three}-lost-000001"]
    assert (closed["status"], closed["detail"]) == ("fail", "The index is closed.")
    assert "_open" in closed["fix"]
    assert "0 pictures" in found[f"index {three}-fine"]["detail"]
    assert "POST /_aliases" in lost["fix"]
