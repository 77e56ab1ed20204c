"""The Python client against the real app over HTTP, and against servers that answer what they should not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dar_search import errors
from dar_search.client import DarClient
from dar_search.data import Dialogue, Turn
from dar_search.errors import (
    DarError,
    DialogueError,
    FilterError,
    IndexNotFound,
    InputError,
    Overloaded,
    RateLimited,
    RequestError,
    RouteNotFound,
    ServiceError,
    ServiceUnreachable,
    Unauthenticated,
)
from tests.query_service import CAPTIONS, Service, query_settings
from tests.query_service_http import served

DIALOGUE = Dialogue("a red house", (Turn("where is it?", "near a lake"),))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = query_settings({"keys": {"tests": "a-key-of-the-tests-0123456789"}}, served_indices=("photos",))
    with served(Service(settings)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[DarClient]:
    with DarClient(url, key="a-key-of-the-tests-0123456789", index="photos", timeout=60) as client:
        yield client


def test_a_search_brings_hits_legs_and_what_edits_name(client: DarClient) -> None:
    answer = client.search(DIALOGUE, size=3, explain=True, fields=["caption", "metadata"])
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    best = answer.hits[0]
    assert best.caption == CAPTIONS[0]
    assert best.metadata == {"season": "summer", "year": 2000.0}
    assert best.source == ""
    assert best.legs["knn"].rank == 1
    parts = best.explanation
    assert parts is not None
    assert parts.text is not None
    assert parts.images is not None
    assert parts.offset is not None
    total = parts.text + sum(parts.images.values()) + parts.keyword + parts.offset
    assert total == pytest.approx(best.score, abs=1e-5)
    assert answer.legs["knn"].status == answer.legs["imagination"].status == "ok"
    assert answer.imagined
    assert answer.final
    assert answer.request_id == answer.raw["request_id"] != ""
    struck = client.search(DIALOGUE, edits={"strike": [one["id"] for one in answer.raw["imaginations"]]})
    assert not struck.imagined
    assert struck.legs["imagination"].status == "off"


@pytest.mark.parametrize(
    "dialogue",
    [
        ["a red house", "where is it? near a lake"],
        {"caption": "a red house", "turns": [{"question": "where is it?", "answer": "near a lake"}]},
        "a red house\nwhere is it? near a lake",
    ],
)
def test_every_form_of_a_dialogue_is_the_same(client: DarClient, dialogue: Any) -> None:
    ours, other = client.search(DIALOGUE), client.search(dialogue)
    assert other.text == ours.text
    assert [hit.id for hit in other.hits] == [hit.id for hit in ours.hits]


def test_a_stream_brings_the_texts_answer_first_and_the_imagined_one_last(client: DarClient) -> None:
    answers = list(client.stream(DIALOGUE, size=3))
    assert [(one.imagined, one.final) for one in answers] == [(False, False), (True, True)]
    assert answers[0].request_id == answers[1].request_id
    assert "moved" in answers[1].raw


def test_a_stream_that_is_left_early_leaves_the_client_usable(client: DarClient) -> None:
    stream = client.stream(DIALOGUE)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert client.search(DIALOGUE).hits


def test_rewrite_says_what_would_be_sent_and_question_what_to_ask(client: DarClient) -> None:
    rewriting = client.rewrite(DIALOGUE)
    assert rewriting["reformulation"]["text"]
    question = client.question(["a house"], candidates=6)
    assert question.text.endswith("?")
    assert question.source == "metadata"
    assert question.why is not None
    assert question.candidates == 6


def test_many_threads_share_a_client(client: DarClient) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(client.search(DIALOGUE).hits[0].id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["p0"] * 8


def test_the_services_errors_come_back_as_they_are_with_the_request_id(client: DarClient, url: str) -> None:
    with pytest.raises(IndexNotFound) as caught:
        client.search(DIALOGUE, index="elsewhere")
    assert caught.value.hint
    assert caught.value.request_id  # type: ignore[attr-defined]
    with pytest.raises(FilterError):
        client.search(DIALOGUE, filter={"a": {"nothing": 1}})
    with pytest.raises(RequestError, match="size"):
        client.search(DIALOGUE, size=0)
    with DarClient(url) as stranger, pytest.raises(Unauthenticated):
        stranger.search(DIALOGUE)
    with DarClient(f"{url}/deeper", key="a-key-of-the-tests-0123456789") as lost, pytest.raises(RouteNotFound):
        lost.search(DIALOGUE)


def test_what_does_not_read_is_refused_before_it_is_sent() -> None:
    with DarClient("http://127.0.0.1:9") as nowhere:
        with pytest.raises(DialogueError):
            nowhere.search([])
        with pytest.raises(RequestError, match="JSON"):
            nowhere.search(DIALOGUE, filter={"a": object()})


def test_readiness(client: DarClient) -> None:
    assert client.ready()
    with DarClient("http://127.0.0.1:9") as nowhere:
        assert not nowhere.ready()


@pytest.mark.parametrize("url", ["ftp://a", "127.0.0.1:8950", "http://", "http://user:word@a", "http://a?b=c"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="address"):
        DarClient(url)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Misbehaving

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
        with suppress(OSError):
            self.server.answering(self)

    def answer(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests ask for what they want to know."""


class Misbehaving(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answering: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answering = answering
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def answering(how: Callable[[Handler], None]) -> Iterator[Misbehaving]:
    server = Misbehaving(how)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


def problem(code: str, message: str = "No.") -> bytes:
    return json.dumps({"code": code, "message": message, "hint": "h", "request_id": "r"}).encode()


ANSWER = {
    "request_id": "r", "index": "photos", "round": 0, "imaginations": [], "weights": None, "edits": [],
    "reformulation": {"text": "a dog", "prompts": ["a dog"], "reformulator": "rules"},
    "hits": [{"id": "a", "rank": 1, "score": 0.5, "thumbnail": "UklGRg==", "metadata": {"tags": ["x", "y"]}}],
    "legs": {"knn": {"status": "ok", "took_ms": 1.0}},
    "imagined": False, "final": True, "took_ms": 1.0, "deadline_ms": 100,
}  # fmt: skip
ANSWERED = json.dumps(ANSWER).encode()


def test_a_busy_service_is_asked_again_when_it_says_so_and_nothing_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def busy(handler: Handler) -> None:
        if len(handler.server.asked) < 3:
            handler.answer(429, problem("overloaded"), Retry_After="0")
        else:
            handler.answer(200, ANSWERED)

    with answering(busy) as server, DarClient(server.url) as client:
        (hit,) = client.search("a dog").hits
        assert (hit.id, hit.thumbnail, hit.metadata) == ("a", b"RIFF", {"tags": ("x", "y")})
        assert len(server.asked) == 3
    assert capsys.readouterr() == ("", "")  # an MCP server speaks on standard output


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(429, "rate_limited", RateLimited), (503, "store_unavailable", errors.StoreUnavailable)],
)
def test_a_service_that_stays_busy_is_given_up_after_the_tries(status: int, code: str, kind: type[DarError]) -> None:
    with (
        answering(lambda handler: handler.answer(status, problem(code), Retry_After="0")) as server,
        DarClient(server.url, tries=3) as client,
        pytest.raises(kind),
    ):
        client.search("a dog")
    assert len(server.asked) == 3


def test_a_wait_beyond_the_patience_is_not_waited_for() -> None:
    with (
        answering(lambda handler: handler.answer(429, problem("overloaded"), Retry_After="3600")) as server,
        DarClient(server.url, patience=5) as client,
        pytest.raises(Overloaded),
    ):
        client.search("a dog")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (418, problem("a_code_of_the_future"), InputError),
        (500, problem("a_code_of_the_future"), ServiceError),
        (500, b"<html>", ServiceError),
        (404, b"[]", InputError),
        (302, b"", ServiceError),
        (200, b"<html>", ServiceUnreachable),
        (200, b"[]", ServiceUnreachable),
        (200, b'{"hits": 7}', ServiceUnreachable),
        (200, json.dumps(ANSWER | {"hits": [{"id": "a"}]}).encode(), ServiceUnreachable),
        (200, json.dumps(ANSWER | {"legs": []}).encode(), ServiceUnreachable),
        (200, json.dumps(ANSWER | {"legs": {"knn": "ok"}}).encode(), ServiceUnreachable),
    ],
)
def test_answers_that_are_none_are_typed_errors_in_one_line(status: int, body: bytes, kind: type[DarError]) -> None:
    elsewhere = {"Location": "http://127.0.0.1:9/"} if status == 302 else {}
    with (
        answering(lambda handler: handler.answer(status, body, **elsewhere)) as server,
        DarClient(server.url) as client,
        pytest.raises(kind) as caught,
    ):
        client.search("a dog")
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 1


def test_the_key_and_the_credentials_go_in_their_own_headers_and_show_nowhere() -> None:
    with answering(lambda handler: handler.answer(200, ANSWERED)) as server:
        client = DarClient(server.url, key="the-key", authorization="Basic eA==")
        client.search("a dog", deadline_ms=100, filter=None)
        ((path, headers, body),) = server.asked
        assert (headers["X-DAR-Key"], headers["Authorization"]) == ("the-key", "Basic eA==")
        assert path == "/_dar/v1/search"
        assert body == {"dialogue": {"caption": "a dog", "turns": []}, "deadline_ms": 100}
        assert "the-key" not in repr(client)
        client.close()


def test_a_service_that_hangs_is_given_up() -> None:
    with (
        answering(lambda handler: handler.server.ending.wait(30) and None) as server,
        DarClient(server.url, timeout=0.3) as client,
        pytest.raises(ServiceUnreachable, match=r"within 0\.3 s"),
    ):
        client.search("a dog")


def test_a_service_that_is_not_there_says_so_with_a_hint() -> None:
    with DarClient("http://127.0.0.1:9") as client, pytest.raises(ServiceUnreachable) as caught:
        client.search("a dog")
    assert "dar serve" in caught.value.hint


def events(*parts: tuple[str, Any]) -> bytes:
    return b"".join(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in parts)


@pytest.mark.parametrize(
    ("body", "kind", "seen"),
    [
        (events(("text", ANSWER | {"final": False})), ServiceUnreachable, 1),
        (b"", ServiceUnreachable, 0),
        (b"event: text\ndata: {\n\n", ServiceUnreachable, 0),
        (events(("text", {"hits": []})), ServiceUnreachable, 0),
        (
            events(("text", ANSWER | {"final": False}), ("error", {"code": "store_corrupt", "message": "m"})),
            errors.StoreCorrupt,
            1,
        ),
    ],
)
def test_a_stream_that_breaks_off_is_an_error_after_what_came(body: bytes, kind: type[DarError], seen: int) -> None:
    found = []

    def read(client: DarClient) -> None:
        for answer in client.stream("a dog"):
            found.append(answer)  # what came before the error counts

    with (
        answering(lambda handler: handler.answer(200, body, "text/event-stream")) as server,
        DarClient(server.url) as client,
        pytest.raises(kind),
    ):
        read(client)
    assert len(found) == seen


def test_a_stream_is_read_whatever_pieces_it_comes_in() -> None:
    def slowly(handler: Handler) -> None:
        body = b": hello\n\n" + events(("text", ANSWER | {"final": False}), ("imagined", ANSWER))
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for start in range(0, len(body), 7):
            handler.wfile.write(body[start : start + 7])
            handler.wfile.flush()

    with answering(slowly) as server, DarClient(server.url) as client:
        assert [answer.final for answer in client.stream("a dog")] == [False, True]


def test_every_error_of_the_tree_has_a_code_of_its_own() -> None:
    """Otherwise a problem's code could come back as another error."""
    from dar_search.client_answers import _BY_CODE, _subclasses

    assert len(_BY_CODE) == len(list(_subclasses(DarError)))


def test_the_client_loads_no_model_library() -> None:
    code = "import sys, dar_search.client; print([m for m in ('torch', 'flask', 'transformers') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert shown.stdout.strip() == "[]"
