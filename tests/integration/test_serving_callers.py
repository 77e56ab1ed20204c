"""Callers that hold a service, break off, or send no HTTP: others are answered meanwhile, and each is told its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from dar_search.serving.process.connections import Connection
from tests.integration.test_serving_runner import logged, said, start
from tests.programs import free_port

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
_ANSWERED_WITHIN = 20.0  # far below the service's patience


class Running:
    """The runner's service, with four threads."""

    def __init__(self, patience: float, files: int | None, log: Any) -> None:
        self.admin_port = free_port()
        self.process = start(0, self.admin_port, 1, patience=patience, files=files, log=log)
        self.port = int(said(self.process, "ready")["address"].rpartition(":")[2])

    def connection(self, sent: bytes = b"", port: int = 0) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", port or self.port), timeout=_ANSWERED_WITHIN)
        opened.sendall(sent)
        return opened

    def ask(self, sent: bytes, port: int = 0, *, ends: bool = True) -> bytes:
        """Everything that is answered to these bytes. ends: nothing more is sent, and that is said."""
        with self.connection(sent, port) as asking:
            if ends:
                asking.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: asking.recv(65_536), b""))

    def health(self) -> tuple[int, int]:
        """The statuses of health, and of the metrics."""
        health = self.ask(b"GET /_dar/health" + HEAD + b"\r\n", ends=False)
        metrics = self.ask(b"GET /metrics" + HEAD + b"Connection: close\r\n\r\n", self.admin_port)
        return status(health), status(metrics)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def problem(answer: bytes) -> dict[str, Any]:
    """The problem in an answer, which closes its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    value: dict[str, Any] = json.loads(body)
    assert set(value) == {"code", "message", "hint", "request_id"}
    return value


@contextmanager
def running(patience: float, files: int | None = None, log: Any = subprocess.PIPE) -> Iterator[Running]:
    service = Running(patience, files, log)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.communicate()


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    """One that waits ten minutes for a caller: whoever is to be answered meanwhile is, or the test ends."""
    with tempfile.TemporaryFile() as log, running(600, log=log) as one:
        yield one


def asked_once(opened: socket.socket) -> socket.socket:
    """A connection that is kept alive, after one answer."""
    opened.sendall(b"GET /pid" + HEAD + b"\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        answer += opened.recv(4096)
    assert status(answer) == 200
    return opened


HOLDS: dict[str, Callable[[Running], socket.socket]] = {
    "saying nothing": lambda service: service.connection(),
    "half a head": lambda service: service.connection(b"GET /pid" + HEAD + b"X-More: "),
    "half a body": lambda service: service.connection(b"POST /body" + HEAD + b"Content-Length: 100\r\n\r\nhalf"),
    "half a chunk": lambda service: service.connection(
        b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\na"
    ),
    "reading nothing": lambda service: service.connection(b"GET /large" + HEAD + b"\r\n"),
    "following": lambda service: service.connection(b"GET /events" + HEAD + b"\r\n"),
    "health with half a body": lambda service: service.connection(
        b"GET /_dar/health" + HEAD + b"Content-Length: 100\r\n\r\nhalf"
    ),
    "closing never": lambda service: service.connection(b"GET /pid" + HEAD + b"Connection: close\r\n\r\n"),
    "half a head to the admin port": lambda service: service.connection(
        b"GET /metrics HTTP/1.1\r\n", service.admin_port
    ),
}


def test_health_and_metrics_answer_whatever_callers_hold(service: Running) -> None:
    with ExitStack() as held:
        for hold in HOLDS.values():
            for _ in range(12):  # three times the threads
                held.enter_context(hold(service))
            assert service.health() == (200, 200)
    assert status(service.ask(b"GET /pid" + HEAD + b"\r\n")) == 200  # those that went away hold nothing


def test_more_idle_connections_than_may_be_open_are_let_go_the_longest_idle_first() -> None:
    with running(600, files=128) as service, ExitStack() as held:
        first, *others = [held.enter_context(asked_once(service.connection())) for _ in range(100)]
        assert service.health() == (200, 200)
        assert first.recv(1) == b""
        asked_once(others[-1])


def test_where_no_more_files_can_be_opened_callers_who_say_nothing_make_room() -> None:
    with running(600, files=64) as service, ExitStack() as held:
        assert service.process.stdin is not None
        assert status(service.ask(b"GET /files" + HEAD + b"\r\n")) == 200  # now the process has all that it may have
        for _ in range(20):
            held.enter_context(service.connection())
        assert service.health() == (200, 200)


def test_a_caller_that_stands_still_is_told_or_let_go() -> None:
    with running(0.5) as service:
        late = service.ask(b"GET /pid" + HEAD + b"X-More: ", ends=False)
        assert (status(late), problem(late)["code"]) == (408, "request_timeout")
        late = service.ask(b"POST /body" + HEAD + b"Content-Length: 100\r\n\r\nhalf", ends=False)
        assert (status(late), problem(late)["code"]) == (408, "request_timeout")
        assert "service.patience_seconds" in problem(late)["hint"]
        assert service.ask(b"", ends=False) == b""
        with service.connection(b"GET /events" + HEAD + b"\r\n"):
            logged(service.process, "the caller went away")


BAD: dict[str, tuple[bytes, int]] = {
    "a size of a chunk that is none": (b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", 400),
    "a chunk that is cut off": (b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc", 400),
    "a chunk without its end": (b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef", 400),
    "a body that is cut off": (b"POST /body" + HEAD + b"Content-Length: 10\r\n\r\nabc", 400),
    "a length that is none": (b"POST /body" + HEAD + b"Content-Length: ten\r\n\r\nabc", 400),
    "a length below zero": (b"POST /body" + HEAD + b"Content-Length: -3\r\n\r\nabc", 400),
    "two lengths": (b"POST /body" + HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    "a length and chunks": (
        b"POST /body" + HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400,
    ),
    "more than is taken": (b"POST /body" + HEAD + b"Content-Length: 9999999\r\n\r\nabc", 413),
    "more than a number holds": (b"POST /body" + HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nabc", 413),
    "more in chunks": (
        b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 9 * (b"fff\r\n" + b"a" * 4095 + b"\r\n"), 413,
    ),
    "another expectation": (b"POST /body" + HEAD + b"Expect: secret-canary\r\n\r\n", 400),
    "another coding": (b"POST /body" + HEAD + b"Transfer-Encoding: canary\r\n\r\n", 400),
    "another version": (b"GET /canary HTTP/3.0\r\n\r\n", 400),
    "no request": (b"canary\r\n\r\n", 400),
    "no character of a header": (b"GET /pid" + HEAD + b"X-DAR-Key: canary\0\r\n\r\n", 400),
    "a header without a name": (b"GET /pid" + HEAD + b": canary\r\n\r\n", 400),
    "a header that goes on": (b"GET /pid" + HEAD + b"X-DAR-Key: a\r\n canary\r\n\r\n", 400),
    "two hosts": (b"GET /pid" + HEAD + b"Host: canary\r\n\r\n", 400),
    "a long header": (b"GET /pid" + HEAD + b"X-A: " + b"canary" * 3000 + b"\r\n\r\n", 431),
    "many headers": (b"GET /pid" + HEAD + b"X-A: canary\r\n" * 500 + b"\r\n", 431),
    "a long line": (b"GET /" + b"canary" * 2000 + HEAD + b"\r\n", 431),
    "a head without end": (b"GET /pid" + HEAD + b"X-A: canary\r\n" * 6000, 431),
}  # fmt: skip


def test_what_does_not_read_has_a_status_and_is_quoted_nowhere() -> None:
    with tempfile.TemporaryFile("w+") as log, running(600, log=log) as service:
        for what, (sent, expected) in BAD.items():
            answer = service.ask(sent)
            assert status(answer) == expected, what
            assert problem(answer)["request_id"], what
            assert b"canary" not in answer, what
            assert "See " not in problem(answer)["hint"], what  # a class of gunicorn's helps nobody
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(60)
        log.seek(0)
        told = log.read()
    assert told.count("A request does not read.") > 10
    assert "canary" not in told


@pytest.mark.parametrize("framing", [b"1;" + b"a" * 200_000, b"3\r\nabc\r\n0\r\n" + b"X-A: b\r\n" * 20_000])
def test_what_a_body_in_chunks_has_beside_its_bytes_has_an_end(service: Running, framing: bytes) -> None:
    answer = service.ask(b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framing, ends=False)
    assert (status(answer), problem(answer)["code"]) == (400, "bad_request")


def test_a_long_body_in_chunks_of_one_byte_reads() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
        connection.head += b"POST /body" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        connection.lane = SimpleNamespace(crowded=False)
        sending = threading.Thread(target=theirs.sendall, args=(b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n",))
        sending.start()
        with connection.sock:
            assert len(connection.next_request(60).body.read()) == 100_000
        sending.join()


def test_what_is_unusual_is_answered(service: Running) -> None:
    old = service.ask(b"GET /pid HTTP/1.0\r\n\r\n", ends=False)  # the connection is closed
    assert status(old) == 200
    assert status(service.ask(b"GET http://localhost/pid" + HEAD + b"\r\n")) == 200
    two = service.ask((b"POST /body" + HEAD + b"Content-Length: 2\r\n\r\nab") * 2)
    assert two.count(b"HTTP/1.1 200") == 2
    unread = service.ask((b"POST /pid" + HEAD + b"Content-Length: 2\r\n\r\nab") * 2, ends=False)
    assert unread.count(b"HTTP/1.1 200") == 1  # what was not read is not taken for another request
    assert b"connection: close" in unread.lower()


def test_a_body_is_invited_only_when_it_is_read(service: Running) -> None:
    expecting = HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with service.connection(b"POST /body" + expecting) as asking:
        assert asking.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        asking.sendall(b"ab")
        assert asking.recv(4096).startswith(b"HTTP/1.1 200")
    assert service.ask(b"POST /pid" + expecting, ends=False).startswith(b"HTTP/1.1 200")


def test_metrics_are_shown_under_the_admin_ports_own_names(service: Running) -> None:
    foreign = service.ask(b"GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", service.admin_port)
    assert status(foreign) == 421
    assert b"dar_requests" not in foreign
