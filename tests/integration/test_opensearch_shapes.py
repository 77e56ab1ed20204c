"""Answers of another shape: whatever a cluster, or what stands before it, says, only errors of this project come out.

Each call is made of a real node once, and its answers are written down. Then it is made again of what was written down,
with one value in one answer replaced: each value of each answer, by values of every other type.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from opensearchpy.exceptions import NotFoundError, TransportError

from dar_search.data import ImageRecord, Provenance
from dar_search.errors import DarError, IndexNotFound
from dar_search.filters import parse_filter
from dar_search.ingestion.sources.opensearch_source import Fields, OpenSearchSource, picture_in_document
from dar_search.ports import SearchRequest
from dar_search.settings import Settings, load_settings
from dar_search.stores import bodies
from dar_search.stores.opensearch import store as store_module
from dar_search.stores.opensearch.cluster.doctor import examine
from dar_search.stores.opensearch.store import OpenSearchStore
from tests.contract.gallery import random_units
from tests.http_serving import serving

PROVENANCE = Provenance("encoder", "1", 4, "crop 8x8 bicubic")
OPTIONS: dict[str, Any] = {"retry_seconds": 0.0}
OTHERS: tuple[Any, ...] = (None, True, 2**70, "x", [], {}, [None], {"x": 0.5})
NAMES = re.compile(r"shapes-[0-9a-f]{8}(-[a-z]+)?")
SHA256 = "0" * 64
UNITS = random_units(8, 4)
ANSWERS = dict[tuple[str, str], list[Any]]
WHERE = parse_filter({"city": "Paris", "year": {"gte": 2000}})


class Recording:
    """A client's transport that writes down what the cluster says: (method, path) -> answers, or errors."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.answers: ANSWERS = {}

    def perform_request(self, method: str, path: str, **options: Any) -> Any:
        kept = self.answers.setdefault((method, path), [])
        try:
            answer = self._transport.perform_request(method, path, **options)
        except TransportError as error:
            kept.append(error)
            raise
        kept.append(answer)
        return answer


class Replaying:
    """A client's transport that says again what was written down; the last one goes on. What is new is not there."""

    def __init__(self, answers: ANSWERS) -> None:
        self._answers, self._said = answers, Counter[tuple[str, str]]()

    def perform_request(self, method: str, path: str, **_: Any) -> Any:
        kept = self._answers.get((method, path))
        if not kept:
            raise NotFoundError(404, "index_not_found_exception", {"error": {"type": "index_not_found_exception"}})
        answer = kept[min(self._said[method, path], len(kept) - 1)]
        self._said[method, path] += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def record(id: str, unit: Any = UNITS[0], **metadata: Any) -> ImageRecord:
    caption, digest = f"a red house {id}", f"{SHA256}:1"
    return ImageRecord(
        id, unit, f"file:///{id}.jpg", digest=digest, caption=caption, metadata=metadata, thumbnail=b"RIFF"
    )


def searched(name: str, **options: Any) -> Callable[[OpenSearchStore], Any]:
    return lambda store: store.open(name).search(
        SearchRequest(**{"vector": UNITS[1], "text": "a red house", "thumbnails": True} | options)
    )


def calls(name: str) -> dict[str, Callable[[OpenSearchStore], Any]]:
    """Everything that is asked of a cluster, by name."""

    def all_of_an_index(store: OpenSearchStore) -> None:
        index = store.open(name)
        index.search(SearchRequest(vector=UNITS[1], filter=WHERE))
        index.write([record("p1", city="Paris", year=2001)])

    def of_a_source(store: OpenSearchStore) -> None:
        source = OpenSearchSource(store._cluster, name, Fields("source", "caption"))
        assert list(source.count())
        list(source.items())
        picture_in_document(lambda _: store._cluster, f"{name}-000001/p1?field=caption&number=0")

    return {
        "open and use": all_of_an_index,
        "list": lambda store: store.names(),
        "check": lambda store: store.check(),
        "troubles": lambda store: store.troubles(),
        "create and drop": lambda store: (store.create(f"{name}-new", PROVENANCE), store.drop(f"{name}-new")),
        "not there": lambda store: store.open(f"{name}-none"),
        "write": lambda store: store.open(name).write([record("p1", city="Rome", other=uuid.UUID(int=7).hex)]),
        "write what is refused": lambda store: store.open(name).write([record("p1", UNITS[2], place=5)]),
        "delete": lambda store: store.open(name).delete(["p2", "none"], version=3),
        "get": lambda store: store.open(name).get(["p1", "p3", "none"]),
        "digests": lambda store: store.open(name).digests(["p1", "none"]),
        "contents": lambda store: store.open(name).with_content([SHA256]),
        "all contents": lambda store: store.open(name)._contents.places([SHA256], searchable=False),
        "ids": lambda store: list(store.open(name).ids()),
        "count": lambda store: store.open(name).count(WHERE),
        "load": lambda store: (store.open(name).load_settings(), store.open(name).restore({"refresh_interval": None})),
        "k-NN": searched(name, text=None),
        "words": searched(name, vector=None),
        "both": searched(name),
        "explained": searched(name, fused_in_client=True, filter=WHERE),
        "beyond": searched(name, size=4, depth=4, offset=0, fusion=bodies.ScoreFusion(candidates=2)),
        "exact": searched(name, exact=True),
        "on the server": searched(f"{name}-piped"),
        "reordered": searched(f"{name}-reordered"),
        "said": lambda store: store.open(name).described(SearchRequest(vector=UNITS[1], text="a red house")),
        "source": of_a_source,
        "doctor": lambda store: examine(store._cluster._client, name),
    }


@pytest.fixture(scope="module")
def recorded(opensearch_url: str) -> Iterator[dict[str, tuple[Callable[[OpenSearchStore], Any], ANSWERS]]]:
    name = f"shapes-{uuid.uuid4().hex[:8]}"
    settings = load_settings(opensearch=OPTIONS)
    direct = OpenSearchStore(opensearch_url, settings)

    def ask(method: str, path: str, body: Any) -> None:
        direct._cluster.send(method, path, bodies.encode(body))

    pipelines = {
        f"{name}-piped": {"request_processors": [{"neural_query_enricher": {"default_model_id": "none"}}]},
        f"{name}-reordered": {"response_processors": [{"rerank": {"by_field": {"target_field": "metadata.year"}}}]},
    }
    for pipeline, parts in pipelines.items():
        ask("PUT", f"/_search/pipeline/{pipeline}", parts)
    for one in (name, *pipelines):
        index = direct.create(one, PROVENANCE)
        index.write([record(f"p{n}", UNITS[n], city="Paris", year=2000 + n, taken="2024-03-01") for n in range(4)])
        index.refresh()
        if one in pipelines:
            ask("PUT", f"/{one}/_settings", {"index.search.default_pipeline": one})
    ask("PUT", f"/{name}/_mapping", {"properties": {"metadata": {"properties": {"place": {"type": "geo_point"}}}}})
    # The doctor asks for what is not there under names by chance: here it is one name, which is found again.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(secrets, "token_hex", "0".__mul__)
    found = {}
    for what, call in calls(name).items():
        store = OpenSearchStore(opensearch_url, settings)
        client = store._cluster._client
        recording = Recording(client.transport)
        client.transport = recording
        try:
            call(store)
        except IndexNotFound:
            pass
        finally:
            client.transport = recording._transport
            store.close()
        found[what] = (call, recording.answers)
    yield found
    monkeypatch.undo()
    for one in (name, *pipelines):
        direct.drop(one)
    for pipeline in pipelines:
        direct._cluster.send("DELETE", f"/_search/pipeline/{pipeline}")
    direct.close()


def test_each_value_of_each_answer_may_be_of_any_other_type(
    recorded: dict[str, tuple[Callable[[OpenSearchStore], Any], ANSWERS]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried, refused, defects = Counter[str](), Counter[str](), []
    settings = load_settings(opensearch=OPTIONS)
    once: set[tuple[str, str, str]] = set()
    for what, (call, answers) in recorded.items():

        def outcome() -> str:
            client = SimpleNamespace(transport=Replaying(answers), close=lambda: None)  # noqa: B023
            monkeypatch.setattr(store_module, "connect", lambda *_: client)
            store = OpenSearchStore("http://127.0.0.1:9", settings)
            try:
                call(store)  # noqa: B023
            except DarError as error:
                return error.code
            except Exception as error:  # noqa: BLE001  # what the test is about
                return f"{type(error).__name__}: {error}"
            finally:
                store.close()
            return "ok"

        plain = outcome()
        assert plain == ("index_not_found" if what == "not there" else "ok"), (what, plain)
        for (method, path), kept in answers.items():
            for number, answer in enumerate(kept):
                for place, value in spoiled(kept, number, answer):
                    spot = (method, NAMES.sub("INDEX", path), NAMES.sub("INDEX", f"{place} = {value}"))
                    if what not in ASKING_ANEW and spot in once:
                        continue  # what every call asks first is tried out in the first of them
                    said = outcome()
                    tried[what] += 1
                    refused[what] += said != "ok"
                    if said not in CODES and said != "ok":
                        defects.append(f"{what}: {method} {path} {place} = {value}: {said}")
                    once.add(spot)
    with capsys.disabled():
        counts = f"{tried.total()} answers of another shape, {refused.total()} refused, {len(defects)} defects"
        print(f"\n  {counts}", end="")
        for line in defects[:40]:
            print(f"\n    {line[:300]}", end="")
    assert defects == []
    assert min(tried.values()) > 0
    assert refused.total() > 1_000


ASKING_ANEW = ("open and use", "explained")
CODES = {
    *("store_corrupt", "store_error", "store_unavailable", "store_forbidden", "store_too_new", "feature_missing"),
    *("index_not_found", "index_exists", "encoder_mismatch", "dimension_mismatch", "bad_filter", "bad_document"),
}


def spoiled(holder: Any, key: Any, value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each value below holder[key] replaced by each other, taken away and doubled; put back after each."""
    if isinstance(value, TransportError):
        status, said, info = value.args
        parts = [info]
        for spot, other in spoiled(parts, 0, info, f"{place}!"):
            holder[key] = type(value)(status, said, parts[0])
            yield spot, other
        holder[key] = value
        return
    for other in OTHERS:
        if other != value or type(other) is not type(value):
            holder[key] = other
            yield place, repr(other)
    holder[key] = value
    if isinstance(value, dict):
        for name in list(value):
            yield from spoiled(value, name, value[name], f"{place}.{name}")
            part = value.pop(name)
            yield f"{place}.{name}", "left out"
            value[name] = part
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from spoiled(value, number, value[number], f"{place}.{number}")
        if value:
            value.append(value[0])
            yield f"{place}.+", "one more"
            value.pop()
            part = value.pop()
            yield f"{place}.-", "one less"
            value.append(part)


BODIES = (
    *(
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        "5",
        "[null]",
        '{"error": null}',
        '{"error": [1]}',
        '{"error": {"root_cause": 5}}',
    ),
    *('{"error": {"type": ["x"], "reason": {}}}', "<html><title>Sign in</title>", "{", "\x00", "[" * 500 + "]" * 500),
    "1" * 5_000,
)


def test_whole_bodies_of_another_kind_are_errors_too(capsys: pytest.CaptureFixture[str]) -> None:
    sent = {"status": 200, "kind": "application/json", "body": b""}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for head and body

        def _say(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(sent["status"])  # type: ignore[arg-type]
            self.send_header("Content-Type", sent["kind"])  # type: ignore[arg-type]
            self.send_header("Content-Length", str(len(sent["body"])))  # type: ignore[arg-type]
            self.end_headers()
            self.wfile.write(sent["body"])  # type: ignore[arg-type]

        do_GET = do_POST = do_PUT = do_DELETE = _say

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tried, defects = 0, []
    with serving(server):
        address = f"http://127.0.0.1:{server.server_port}"
        settings = Settings(store=address, opensearch=OPTIONS)  # type: ignore[arg-type]
        store = OpenSearchStore(address, settings)
        asked: dict[str, Callable[[], Any]] = {
            "names": store.names,
            "open": lambda: store.open("photos"),
            "features": lambda: store._features.get(age=0),
            "doctor": lambda: examine(store._cluster._client),
            "drop": lambda: store.drop("photos"),
        }
        for status in (200, 400, 404, 503):
            for kind in ("application/json", "text/plain", "x"):
                for body in (*(one.encode() for one in BODIES), b"\xff\xfe"):
                    sent |= {"status": status, "kind": kind, "body": body}
                    for what, ask in asked.items():
                        tried += 1
                        try:
                            ask()
                        except DarError:
                            continue
                        except Exception as error:  # noqa: BLE001  # what the test is about
                            defects.append(f"{what} {status} {kind} {body[:40]!r}: {type(error).__name__}: {error}")
        store.close()
    with capsys.disabled():
        print(f"\n  {tried} bodies of another kind, {len(defects)} defects", end="")
        for line in defects[:30]:
            print(f"\n    {line[:300]}", end="")
    assert defects == []
