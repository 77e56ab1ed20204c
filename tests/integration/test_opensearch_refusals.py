"""What a cluster refuses: an index that takes nothing is an error, a refused picture is a failure of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dar_search.data import Dialogue, ImageRecord, Leg, Provenance, Reformulation, RewrittenQuery, VectorWeights
from dar_search.errors import FeatureMissing, IndexNotFound, StoreError, StoreUnavailable
from dar_search.method.edits import QueryEdits, edited
from dar_search.method.questions import next_question
from dar_search.method.retrieval import SearchOptions, search
from dar_search.ports import ImageIndex
from dar_search.settings import load_settings
from dar_search.stores import bodies
from dar_search.stores.opensearch.store import OpenSearchStore

DIMENSION = 16
PROVENANCE = Provenance("encoder", "1", DIMENSION, "crop 8x8 bicubic")
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def store(opensearch_url: str) -> Iterator[OpenSearchStore]:
    # Requests of one picture each, so that no request has company of its own.
    options = {"retry_seconds": 0.1, "bulk_megabytes": 0.0001}
    opened = OpenSearchStore(opensearch_url, load_settings(opensearch=options))
    yield opened
    opened.close()


@pytest.fixture
def call(store: OpenSearchStore) -> Call:
    """A request of the cluster's administrator."""

    def send(method: str, path: str, body: Any = None, **params: Any) -> Any:
        return store._cluster.send(method, path, None if body is None else bodies.encode(body), **params)

    return send


@pytest.fixture
def name(call: Call) -> Iterator[str]:
    """A name; all that has it at the end is removed, a template and an ingest pipeline too."""
    made = f"refusals-{uuid.uuid4().hex[:12]}"
    yield made
    for index in call("GET", f"/{made}*?expand_wildcards=open,closed&filter_path=*.aliases"):
        call("DELETE", f"/{index}")
    for path in (f"/_index_template/{made}", f"/_ingest/pipeline/{made}"):
        call("DELETE", path, ignore=404)


@pytest.fixture
def index(store: OpenSearchStore, name: str) -> ImageIndex:
    return store.create(name, PROVENANCE)


def pictures(count: int, **fields: Any) -> list[ImageRecord]:
    vectors = np.random.default_rng(count).standard_normal((count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [ImageRecord(f"p{n}", v.astype(np.float32), f"file:///{n}", **fields) for n, v in enumerate(vectors)]


def template(call: Call, name: str, body: dict[str, Any]) -> None:
    """An index template of somebody else that fits the index."""
    call("PUT", f"/_index_template/{name}", {"index_patterns": [f"{name}*"], "priority": 900, "template": body})


def pipeline(call: Call, name: str, *processors: dict[str, Any]) -> None:
    """Gives the index an ingest pipeline."""
    call("PUT", f"/_ingest/pipeline/{name}", {"processors": list(processors)})
    call("PUT", f"/{name}/_settings", {"index.default_pipeline": name})


# The index as a whole


def closed(call: Call, name: str) -> None:
    call("POST", f"/{name}/_close")


def no_pipeline(call: Call, name: str) -> None:
    call("PUT", f"/{name}/_settings", {"index.default_pipeline": "nowhere"})


def no_final_pipeline(call: Call, name: str) -> None:
    call("PUT", f"/{name}/_settings", {"index.final_pipeline": "nowhere"})


def failing_pipeline(call: Call, name: str) -> None:
    pipeline(call, name, {"fail": {"message": "not today"}})


def broken_pipeline(call: Call, name: str) -> None:
    pipeline(call, name, {"script": {"source": "ctx.nowhere.at = 1"}})


def dropping_pipeline(call: Call, name: str) -> None:
    pipeline(call, name, {"drop": {}})


def leading_away_pipeline(call: Call, name: str) -> None:
    pipeline(call, name, {"set": {"field": "_index", "value": f"{name}-elsewhere"}})


def blocked(call: Call, name: str) -> None:
    call("PUT", f"/{name}/_settings", {"index.blocks.write": True})


def full(call: Call, name: str) -> None:
    call("PUT", f"/{name}/_settings", {"index.blocks.read_only_allow_delete": True})


WHOLE = {
    closed: (StoreError, "is closed"),
    no_pipeline: (StoreError, r"takes no pictures.*\[nowhere\] does not exist"),
    no_final_pipeline: (StoreError, r"takes no pictures.*\[nowhere\] does not exist"),
    failing_pipeline: (StoreError, "takes no pictures.*not today"),
    broken_pipeline: (StoreError, "takes no pictures.*script_exception"),
    dropping_pipeline: (StoreError, "takes no pictures.*drops it"),
    leading_away_pipeline: (IndexNotFound, "elsewhere"),
    blocked: (StoreUnavailable, "block"),
    full: (StoreUnavailable, "block"),
}


@pytest.mark.parametrize("trouble", WHOLE, ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("count", [1, 30])
def test_an_index_that_takes_nothing_raises_the_reason_and_calls_no_picture_bad(
    index: ImageIndex, call: Call, name: str, trouble: Callable[[Call, str], None], count: int
) -> None:
    kind, said = WHOLE[trouble]
    trouble(call, name)
    with pytest.raises(kind, match=said) as error:
        index.write(pictures(count))
    assert type(error.value) is kind
    assert error.value.hint or kind is IndexNotFound


@pytest.mark.parametrize(
    ("setting", "said"),
    [("knn.circuit_breaker.triggered", "circuit breaker"), ("knn.plugin.enabled", "KNN plugin is disabled")],
)
def test_a_knn_plugin_that_takes_no_vectors_is_not_the_fault_of_any_picture(
    index: ImageIndex, call: Call, setting: str, said: str
) -> None:
    """The plugin reports it as a mapper_parsing_exception of each document."""
    there = call("GET", "/_cluster/settings?include_defaults=true&flat_settings=true")["defaults"]
    if setting not in there:
        pytest.skip(f"this version of k-NN has no setting {setting}")
    call("PUT", "/_cluster/settings", {"persistent": {setting: setting.endswith("triggered")}})
    try:
        with pytest.raises(StoreError, match=said) as error:
            index.write(pictures(3))
    finally:
        call("PUT", "/_cluster/settings", {"persistent": {setting: None}})
    assert error.value.hint
    assert index.write(pictures(3)) == []


def test_a_template_that_requires_a_routing_is_the_index_s_own_trouble(
    store: OpenSearchStore, call: Call, name: str
) -> None:
    template(call, name, {"mappings": {"_routing": {"required": True}}})
    with pytest.raises(StoreError, match=r"takes no pictures.*routing") as error:
        store.create(name, PROVENANCE).write(pictures(3))
    assert "routing" in error.value.hint


# One picture of several


def test_a_picture_that_a_pipeline_refuses_is_refused_alone_where_it_takes_others(
    index: ImageIndex, call: Call, name: str
) -> None:
    pipeline(call, name, {"uppercase": {"field": "caption"}})
    plain, *captioned = pictures(5, caption="a dog")
    ((id, failure),) = index.write([ImageRecord(plain.id, plain.embedding, plain.source), *captioned])
    assert (id, failure.code) == (plain.id, "refused")
    assert "[caption]" in failure.message
    assert index.get([one.id for one in captioned])["p1"].caption == "A DOG"
    assert index.count() == 4


def test_a_pipeline_that_gives_pictures_other_ids_is_the_index_s_own_trouble(
    index: ImageIndex, call: Call, name: str
) -> None:
    pipeline(call, name, {"set": {"field": "_id", "value": "another"}})
    with pytest.raises(StoreError, match="another _id") as error:
        index.write(pictures(3))
    assert "ingest pipeline" in error.value.hint


def test_a_delete_goes_past_the_pipeline_of_the_index(index: ImageIndex, call: Call, name: str) -> None:
    assert index.write(pictures(2)) == []
    failing_pipeline(call, name)
    assert index.delete(["p0"]) == 1
    assert index.count() == 1


def test_a_delete_that_the_index_refuses_is_an_error(index: ImageIndex, call: Call, name: str) -> None:
    assert index.write(pictures(2)) == []
    call("PUT", f"/_ingest/pipeline/{name}", {"processors": [{"fail": {"message": "not today"}}]})
    call("PUT", f"/{name}/_settings", {"index.final_pipeline": name})
    with pytest.raises(StoreError, match="not today"):
        index.delete(["p0"])
    assert index.get(["p0"]).keys() == {"p0"}


@pytest.mark.parametrize("kind", ["ip", "text", "geo_point", "object"])
def test_pictures_with_a_field_that_somebody_else_mapped_are_refused_by_its_name_and_type_and_others_go_in(
    store: OpenSearchStore, index: ImageIndex, call: Call, name: str, kind: str
) -> None:
    mapped = {"properties": {"deep": {"type": "keyword"}}} if kind == "object" else {"type": kind}
    call("PUT", f"/{name}/_mapping", {"properties": {"metadata": {"properties": {"taken": mapped}}}})
    plain, dated, other = pictures(3)
    records = [plain, _with(dated, taken="2024-03-01", city="Paris"), _with(other, city="Rome")]
    for opened in (index, store.open(name)):  # one that knew the mapping before, one that learns it now
        ((id, failure),) = opened.write(records)
        assert (id, failure.code) == (dated.id, "metadata_type")
        assert f'"taken" is mapped as {kind}' in failure.message
        assert opened.get([one.id for one in records]).keys() == {plain.id, other.id}


def test_a_field_that_somebody_else_mapped_as_a_date_stops_no_other_picture(
    index: ImageIndex, call: Call, name: str
) -> None:
    call("PUT", f"/{name}/_mapping", {"properties": {"metadata": {"properties": {"taken": {"type": "date"}}}}})
    plain, dated, other = pictures(3)
    refused = index.write([plain, _with(dated, taken="the first of May"), _with(other, city="Rome")])
    ((id, failure),) = refused
    assert (id, "taken" in failure.message, "date" in failure.message) == (dated.id, True, True)
    assert index.get(["p0", "p1", "p2"]).keys() == {plain.id, other.id}


def test_pictures_with_fields_beyond_the_index_s_own_limit_are_refused_and_others_go_in(
    index: ImageIndex, call: Call, name: str
) -> None:
    plain, known, new = pictures(3)
    assert index.write([_with(known, city="Paris")]) == []
    call("PUT", f"/{name}/_settings", {"index.mapping.total_fields.limit": 12})
    ((id, failure),) = index.write([plain, _with(known, city="Rome"), _with(new, year=2024.0)])
    assert (id, failure.code) == (new.id, "metadata_fields")
    assert '"year"' in failure.message
    assert "total fields" in failure.message
    assert index.get(["p0", "p1", "p2"]).keys() == {plain.id, known.id}


def _with(record: ImageRecord, **metadata: Any) -> ImageRecord:
    return ImageRecord(record.id, record.embedding, record.source, metadata=metadata)


# What an index leaves out of `_source`


@pytest.mark.parametrize(
    "source",
    [{"excludes": ["vector"]}, {"excludes": ["vec*"]}, {"includes": ["id", "caption"]}, {"enabled": False}],
    ids=str,
)
def test_an_index_that_would_not_keep_its_pictures_is_not_made(
    store: OpenSearchStore, call: Call, name: str, source: dict[str, Any]
) -> None:
    template(call, name, {"mappings": {"_source": source}})
    with pytest.raises(StoreError, match=r"vector.* out of `_source`") as error:
        store.create(name, PROVENANCE)
    assert "_index_template" in error.value.hint
    assert name not in store.names()
    call("DELETE", f"/_index_template/{name}")
    assert store.create(name, PROVENANCE).write(pictures(1)) == []


def test_an_index_without_its_vectors_says_so_once_is_searched_and_refuses_what_needs_them(
    store: OpenSearchStore, call: Call, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    aliases: dict[str, Any] = {name: {}, f"{name}-write": {"is_write_index": True}}
    body = bodies.index_body(name, PROVENANCE, load_settings().opensearch.index, aliases)
    body["mappings"]["_source"] = {"excludes": ["vector"]}
    call("PUT", f"/{name}-000001", body)
    index = store.open(name)
    store.open(name)
    assert len([one for one in caplog.records if "out of `_source`" in one.getMessage()]) == 1
    records = pictures(5, caption="a red balloon")
    assert index.write(records) == []
    index.refresh()
    vector = records[0].embedding
    legs = {"reformulation": Leg("ok"), "imagination": Leg("off")}
    told = Reformulation("a red balloon", ("a",), "rules")
    query = RewrittenQuery(Dialogue("a red balloon"), told, vector, (), VectorWeights(1, 0), vector, legs)
    assert search(query, index, SearchOptions(size=3)).hits[0].id == "p0"
    with pytest.raises(FeatureMissing, match="leaves its vectors out") as error:
        index.get(["p0"])
    assert error.value.hint
    explained = search(query, index, SearchOptions(explain=True))
    assert [hit.explanation for hit in explained.hits] == [None] * 5
    question = next_question(query, index)
    assert question.source == "open"
    judged = edited(query, QueryEdits(more_like=("p0",)), index)
    for leg in (explained.legs["explanation"], question.legs["groups"], judged.legs["edits"]):
        assert (leg.status, "leaves its vectors out" in leg.reason) == ("failed", True)
    ((subject, status),) = [(line.subject, line.status) for line in store.troubles() if name in line.subject]
    assert (subject, status) == (f"index {name}", "note")
    assert index.digests(["p0"]) == {"p0": ""}
    assert index.delete(["p0"]) == 1


def test_an_index_that_keeps_nothing_is_refused(store: OpenSearchStore, call: Call, name: str) -> None:
    body = bodies.index_body(name, PROVENANCE, load_settings().opensearch.index, {name: {}})
    body["mappings"]["_source"] = {"enabled": False}
    call("PUT", f"/{name}-000001", body)
    with pytest.raises(StoreError, match="cannot be read back"):
        store.open(name)
