"""An existing index as a source, on a real OpenSearch: URLs and base64, several shards, going on after any document."""

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from dar_search.errors import SourceError, SourceNotAllowed, StoreError
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Undecodable
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.jobs.remarks import Remarks
from dar_search.ingestion.sources import opensearch_source
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.preparation import Preparation
from dar_search.settings import load_settings
from dar_search.settings.fetch import FetchSettings
from dar_search.stores.opensearch.cluster import bounded_connections
from dar_search.stores.opensearch.cluster.calls import Cluster
from dar_search.stores.opensearch.cluster.connection import connect
from tests.pictures import jpeg, photograph
from tests.web_servers import answer, site

OPTIONS = {"field": "media.picture", "caption_field": "title", "metadata_fields": ["brand", "cost=price.amount"]}


@pytest.fixture
def cluster(opensearch_url: str) -> Iterator[Cluster]:
    connected = Cluster(connect(opensearch_url, load_settings(store=opensearch_url)), retry_seconds=10)
    yield connected
    connected.close()


@pytest.fixture
def index(cluster: Cluster) -> Iterator[str]:
    name = f"source-{uuid4().hex[:8]}"
    body = {
        "settings": {"number_of_shards": 3, "number_of_replicas": 0},
        "mappings": {"properties": {"media": {"properties": {"picture": {"type": "keyword", "index": False}}}}},
    }
    cluster.send("PUT", f"/{name}", json.dumps(body).encode())
    yield name
    cluster.send("DELETE", f"/{name}")


@pytest.fixture
def outside(cluster: Cluster) -> Iterator[Outside]:
    with Outside(FetchSettings(allowed_hosts=("127.0.0.1",), tries=1), lambda address: cluster) as reach:
        yield reach


def fill(cluster: Cluster, index: str, documents: dict[str, dict[str, Any]]) -> None:
    lines = []
    for name, document in documents.items():
        lines += [json.dumps({"index": {"_id": name}}), json.dumps(document)]
    result = cluster.send("POST", f"/{index}/_bulk", "\n".join([*lines, ""]).encode(), refresh="true")
    assert not result["errors"]


def picture(number: int) -> bytes:
    return jpeg(photograph(number, 64, 48))


def document(number: int) -> dict[str, Any]:
    text = base64.b64encode(picture(number)).decode()
    return {"media": {"picture": text}, "title": f"picture {number}", "brand": "x", "price": {"amount": number}}


def listed(outside: Outside, target: str, after: str | None = None, **options: Any) -> list[SourceItem | BadItem]:
    return list(open_source(target, outside=outside, **(OPTIONS | options)).items(after))


def test_base64_is_listed_with_captions_and_metadata_and_decoded(
    cluster: Cluster, index: str, outside: Outside
) -> None:
    fill(cluster, index, {f"id/{number} ä": document(number) for number in range(60)})
    items = [item for item in listed(outside, f"opensearch:{index}") if isinstance(item, SourceItem)]
    assert {item.id for item in items} == {f"id/{number} ä" for number in range(60)}
    first = next(item for item in items if item.id == "id/7 ä")
    assert (first.caption, first.metadata) == ("picture 7", {"brand": "x", "cost": 7.0})
    outcomes = list(Decoders(Preparation(32, 32, "squash"), processes=2, outside=outside).decode(map(Job, items)))
    assert sum(isinstance(outcome, Decoded) for outcome in outcomes) == 60
    assert list(open_source(f"opensearch:{index}", outside=outside, **OPTIONS).count())[-1] == 60


def test_numbers_of_documents_keep_their_digits_or_are_refused_by_name(
    cluster: Cluster, index: str, outside: Outside
) -> None:
    numbers: dict[str, Any] = {
        "long": 1746714878034235397, "whole": 2001, "float": 2001.0, "list": [2**53 + 1, 7], "beyond": 2**64 + 1,
    }  # fmt: skip
    cluster.send("PUT", f"/{index}/_mapping", b'{"properties": {"brand": {"type": "object", "enabled": false}}}')
    fill(cluster, index, {name: document(1) | {"brand": number} for name, number in numbers.items()})
    found = listed(outside, f"opensearch:{index}", metadata_fields=["brand"])
    usable = {item.id: item.metadata for item in found if isinstance(item, SourceItem)}
    kept = {name: metadata["brand"] for name, metadata in usable.items() if "brand" in metadata}
    assert repr(dict(sorted(kept.items()))) == repr(
        {"float": 2001.0, "list": (2**53 + 1, 7), "long": 1746714878034235397, "whole": 2001}
    )


def test_urls_are_fetched_and_a_list_of_them_is_several_pictures(
    cluster: Cluster, index: str, outside: Outside
) -> None:
    with site() as server:
        server.answers = {"/1.jpg": [answer(picture(1))], "/2.jpg": [answer(picture(2))]}
        urls = [f"{server.url}/1.jpg", f"{server.url}/2.jpg", f"{server.url}/missing.jpg", "http://127.0.0.2/x.jpg"]
        fill(cluster, index, {"several": {"media": {"picture": urls}}, "one": {"media.picture": urls[0]}})
        items = [item for item in listed(outside, f"opensearch:{index}") if isinstance(item, SourceItem)]
        assert {item.id: item.key for item in items} == {
            "several": urls[0], "several#1": urls[1], "several#2": urls[2], "several#3": urls[3], "one": urls[0],
        }  # fmt: skip
        outcomes = Decoders(Preparation(32, 32, "squash"), processes=1, outside=outside).decode(map(Job, items))
        codes = {one.job.item.id: one.code if isinstance(one, Undecodable) else type(one).__name__ for one in outcomes}
    assert codes == {
        "several": "Decoded", "several#1": "Decoded", "one": "Decoded",
        "several#2": "url_not_found", "several#3": "address_refused",
    }  # fmt: skip


def test_an_index_that_is_allowed_names_what_is_allowed_too(cluster: Cluster, index: str) -> None:
    with site() as server:
        server.answers = {"/open/1.jpg": [answer(picture(1))], "/closed/2.jpg": [answer(picture(2))]}
        urls = [f"{server.url}/open/1.jpg", f"{server.url}/closed/2.jpg"]
        fill(cluster, index, {"urls": {"media": {"picture": urls}}, "base64": document(3)})
        allowance = Allowance.named([f"opensearch:{index}", f"{server.url}/open/"])
        fetch = FetchSettings(allowed_hosts=("127.0.0.1",), tries=1)
        with Outside(fetch, lambda address: cluster, allowance) as reach:
            items = [item for item in listed(reach, f"opensearch:{index}") if isinstance(item, SourceItem)]
            outcomes = list(Decoders(Preparation(32, 32, "squash"), processes=1, outside=reach).decode(map(Job, items)))
            for other in (f"opensearch:{index},secret", "opensearch:*", "opensearch:secret"):
                with pytest.raises(SourceNotAllowed):
                    listed(reach, other)
            with pytest.raises(SourceNotAllowed):
                listed(reach, f"opensearch:{index}", source_store="http://127.0.0.1:1")
        assert [path for path, _ in server.requests] == ["/open/1.jpg"]
    codes = {one.job.item.id: one.code if isinstance(one, Undecodable) else type(one).__name__ for one in outcomes}
    assert codes == {"urls": "Decoded", "urls#1": "not_allowed", "base64": "Decoded"}


def test_documents_without_a_usable_picture_are_failures(cluster: Cluster, index: str, outside: Outside) -> None:
    bad: dict[str, Any] = {
        "nothing": {"title": "x"},
        "null": {"media": {"picture": None}},
        "ftp": {"media": {"picture": "ftp://example.org/a.jpg"}},
        "nonsense": {"media": {"picture": "no base64 at all!"}},
    }
    fill(cluster, index, bad)
    found = listed(outside, f"opensearch:{index}")
    codes = {item.id: item.failure.code for item in found if isinstance(item, BadItem)}
    assert codes == {
        "nothing": "bad_document", "null": "bad_document", "ftp": "unsupported_address",
    }  # fmt: skip
    (nonsense,) = Decoders(Preparation(32, 32, "squash"), processes=1, outside=outside).decode(
        Job(item) for item in found if isinstance(item, SourceItem)
    )
    assert isinstance(nonsense, Undecodable)
    assert nonsense.code == "bad_document"
    assert {*codes.values(), nonsense.code} <= FAILURE_CODES.keys()


def test_a_bad_annotation_of_a_document_is_a_warning_and_its_picture_goes_in(
    cluster: Cluster, index: str, outside: Outside
) -> None:
    fill(cluster, index, {"a": document(1) | {"brand": {"a": 1}, "title": 5}})
    remarks = Remarks()
    (item,) = open_source(f"opensearch:{index}", outside=outside, **OPTIONS).items(None, remarks)
    assert isinstance(item, SourceItem)
    assert (item.caption, list(item.metadata)) == ("", ["cost"])
    told = remarks.take()
    assert {code: noted.kinds for code, noted in told.warnings.items()} == {
        "bad_caption": {"caption": 1}, "bad_metadata": {"brand": 1},
    }  # fmt: skip
    assert told.warnings["bad_caption"].examples[0].startswith(f"opensearch:{index}/a: ")


def test_an_index_has_no_names_to_exclude(index: str, outside: Outside) -> None:
    with pytest.raises(SourceError, match="no names to exclude"):
        open_source(f"opensearch:{index}", outside=outside, exclude=("x",), **OPTIONS)


def test_a_listing_goes_on_after_any_document_also_when_the_point_in_time_has_expired(
    cluster: Cluster, index: str, outside: Outside
) -> None:
    documents = {str(number): document(number) for number in range(40)}
    documents["several"] = {"media": {"picture": [document(90)["media"]["picture"], document(91)["media"]["picture"]]}}
    fill(cluster, index, documents)
    items = listed(outside, f"opensearch:{index}")
    assert len(items) == 42
    for number in (0, 1, 7, 20, 40):
        assert listed(outside, f"opensearch:{index}", items[number].cursor) == items[number + 1 :]
    for number, item in enumerate(items):
        if item.id == "several":
            assert listed(outside, f"opensearch:{index}", item.cursor) == items[number + 1 :]
    going = open_source(f"opensearch:{index}", outside=outside, **OPTIONS).items()
    begun = list(itertools.islice(going, 5))
    cluster.send("DELETE", "/_search/point_in_time/_all")
    assert begun + list(going) == items


def test_pages_grow_and_nothing_is_listed_twice_or_lost(
    cluster: Cluster, index: str, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster, index, {str(number): {"media": {"picture": "aGk="}} for number in range(500)})
    for size in (1, 7, 20):
        monkeypatch.setattr(opensearch_source, "_FIRST_PAGE", size)
        ids = [item.id for item in listed(outside, f"opensearch:{index}")]
        assert len(ids) == 500
        assert set(ids) == {str(number) for number in range(500)}


def test_documents_too_large_for_a_page_are_listed_on_smaller_ones(
    cluster: Cluster, index: str, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = base64.b64encode(bytes(9_000)).decode()
    fill(cluster, index, {str(number): {"media": {"picture": text}} for number in range(60)})
    monkeypatch.setattr(bounded_connections, "LARGEST_ANSWER", 64 << 10)  # five of them
    with pytest.raises(StoreError, match="too large"):
        cluster.read("POST", f"/{index}/_search", b'{"size": 60}')
    assert sorted(int(item.id) for item in listed(outside, f"opensearch:{index}")) == list(range(60))


def test_a_document_that_changes_meanwhile_is_met_later(cluster: Cluster, index: str, outside: Outside) -> None:
    fill(cluster, index, {str(number): document(number) for number in range(30)})
    before = listed(outside, f"opensearch:{index}")
    stopped = before[2]
    changed = [str(item.id) for item in before[3:]][-1]
    fill(cluster, index, {changed: document(99)})
    rest = [item.id for item in listed(outside, f"opensearch:{index}", stopped.cursor)]
    assert sorted(filter(None, rest)) == sorted(str(item.id) for item in before[3:])


def test_an_alias_of_several_indices_is_read_in_their_order(cluster: Cluster, index: str, outside: Outside) -> None:
    other = f"{index}-b"
    try:
        fill(cluster, index, {"a": document(1)})
        fill(cluster, other, {"b": document(2)})
        actions = [{"add": {"index": name, "alias": f"{index}-both"}} for name in (other, index)]
        cluster.send("POST", "/_aliases", json.dumps({"actions": actions}).encode())
        assert [item.id for item in listed(outside, f"opensearch:{index}-both")] == ["a", "b"]
    finally:
        cluster.send("DELETE", f"/{other}")


def test_what_cannot_be_opened_says_why(cluster: Cluster, index: str, outside: Outside) -> None:
    with pytest.raises(SourceError, match="no index"):
        listed(outside, "opensearch:there-is-none")
    with pytest.raises(SourceError, match="field"):
        listed(outside, f"opensearch:{index}", field="")
    with pytest.raises(SourceError, match="no place"):
        listed(outside, f"opensearch:{index}", "{}")
    with pytest.raises(SourceError, match="No cluster"):
        open_source(f"opensearch:{index}", field="x")
