"""The Python client against services that are busy, away, or answer what they should not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dar_search import errors
from dar_search.client import DarClient
from dar_search.errors import (
    DarError,
    InputError,
    Overloaded,
    RateLimited,
    ServiceError,
    ServiceUnreachable,
)
from tests.http_serving import serving


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
    with serving(server):
        try:
            yield server
        finally:
            server.ending.set()


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
