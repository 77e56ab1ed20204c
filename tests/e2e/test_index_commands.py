"""`dar index` and `dar doctor`: on a cluster, one of whose indices is shut and another has lost its name; on damage."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dar_search.data import ImageRecord, Provenance
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


def test_a_check_names_documents_that_are_no_whole_picture(dar: Dar, three: str, opensearch_url: str) -> None:
    name, at = f"{three}-fine", ("--store", opensearch_url)
    store = OpenSearchStore(opensearch_url, load_settings())
    index = store.open(name)
    index.write([ImageRecord("whole", np.eye(16, dtype=np.float32)[0], "s")])
    assert dar("index", "check", name, "--json", *at).json["indices"] == [
        {"name": name, "pictures": 1, "lost": [], "unnamed": 0, "problems": []}
    ]
    index.write([ImageRecord("gone", np.eye(16, dtype=np.float32)[1], "s")])
    index.delete(["gone"])
    store._cluster.send("PUT", f"/{name}-000001/_doc/bare?refresh=true", encode({"id": "bare", "caption": "a dog"}))
    store._cluster.send("PUT", f"/{name}-000001/_doc/nameless?refresh=true", encode({"caption": "a cat"}))
    store.close()
    checked = dar("index", "check", name, "--json", *at)
    assert checked.status == 3
    (found,) = checked.json["indices"]
    assert (found["pictures"], found["lost"], found["unnamed"]) == (1, ["bare", "nameless"], 0)
    for_people = dar("index", "check", name, *at)
    assert f"{name}: 1 pictures whole, 2 not." in for_people.out
    assert "Not whole: bare, nameless" in for_people.out
    refused = dar("index", "check", "--save-to", "new.sqlite", *at)
    assert (refused.status, "embedded store" in refused.err) == (2, True)


def test_a_damaged_file_is_checked_and_saved_by_the_command(dar: Dar, light_models: object, indexed: Path) -> None:
    path = indexed.parent / "data" / "images.sqlite"
    sound = dar("index", "check")
    assert (sound.status, "photos: 6 pictures whole, 0 not." in sound.out) == (0, True)
    connection = sqlite3.connect(path, isolation_level=None)
    (lost,) = connection.execute("SELECT id FROM records ORDER BY key LIMIT 1").fetchone()
    connection.execute("UPDATE vectors SET embedding = zeroblob(96) WHERE key = (SELECT min(key) FROM vectors)")
    connection.close()
    searched = dar("search", "--index", "photos", "--caption", "a picture")
    assert (searched.status, "dar index check" in searched.err) == (1, True)
    checked = dar("index", "check", "photos", "--json")
    assert (checked.status, checked.json["indices"][0]["lost"]) == (3, [lost])
    assert "Save what is whole with --save-to" in dar("index", "check").err
    saved = dar("index", "check", "--save-to", "saved.sqlite")
    assert (saved.status, "5 pictures whole, 1 not." in saved.out, lost in saved.out) == (3, True, True)
    assert "images.sqlite-wal" in saved.err  # a log of the old file's would ruin the copy that takes its place
    (indexed.parent / "saved.sqlite").replace(path)
    again = dar("ingest", "photos.jsonl", "--index", "photos", "--json").json
    assert (again["indexed"], again["unchanged"]) == (1, 5)
    assert dar("index", "check").status == 0
    assert dar("search", "--index", "photos", "--caption", "a picture").status == 0
