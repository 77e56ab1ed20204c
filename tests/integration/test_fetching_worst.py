"""The worst of servers: each is a stable code within the limits, and the next fetch goes well."""

import gzip
import socket
import time
from collections.abc import Iterator

import pytest

from dar_search.ingestion.fetching.fetcher import Fetcher
from tests.fetched import PICTURE, code, settings
from tests.web_servers import Site, answer, site


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        running.answers["/a.jpg"] = [answer(PICTURE)]
        yield running


def drip(piece: bytes, first: bytes = b"") -> "object":
    def answering(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)

    return answering


def flood(first: bytes, piece: bytes) -> "object":
    def answering(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)

    return answering


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
WORST = {
    "drips its body": (drip(b"x", HUGE.replace(b"99999999999", b"900000")), "fetch_timeout"),
    "drips its headers": (drip(b"X", b"HTTP/1.1 200 OK\r\nX-Long: "), "fetch_timeout"),
    "drips its status": (drip(b"1", b"HTTP/1.1 "), "fetch_timeout"),
    "drips chunks": (drip(b"1\r\nx\r\n", CHUNKED), "fetch_timeout"),
    "drips the size of a chunk": (drip(b"0", CHUNKED), "fetch_timeout"),
    "says nothing": (drip(b""), "fetch_timeout"),
    "continues for ever": (drip(b"HTTP/1.1 100 Continue\r\n\r\n"), "fetch_timeout"),
    "sends chunks for ever": (flood(CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"), "too_large"),
    "sends a body for ever": (flood(OPEN_ENDED, b"x" * 0x4000), "too_large"),
    "sends tiny chunks for ever": (flood(CHUNKED, b"1\r\nx\r\n" * 4_000), "too_large"),
    "sends the size of a chunk for ever": (flood(CHUNKED, b"0" * 0x4000), "connection_broken"),
    "sends a header for ever": (flood(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 0x4000), "bad_response"),
    "sends headers for ever": (flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000), "bad_response"),
    "says that it is too large": (HUGE, "too_large"),
    "says it in a number beyond all bounds": (HUGE.replace(b"99999999999", b"9" * 5_000), "too_large"),
    "says less than no bytes": (answer(b"x", Content_Length="-5"), "bad_response"),
    "says two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc", "bad_response"),
    "says more than it sends": (answer(b"x" * 9, Content_Length="10", Connection="close"), "connection_broken"),
    "ends within a chunk": (lambda connection: connection.sendall(CHUNKED + b"9\r\nabc"), "connection_broken"),
    "has a chunk without a size": (CHUNKED + b"xyz\r\n", "connection_broken"),
    "hangs up": (lambda connection: None, "connection_broken"),
    "speaks another language": (b"SSH-2.0-OpenSSH_9.2\r\n" * 50, "bad_response"),
    "has a status that is no number": (b"HTTP/1.1 abc OK\r\n\r\n", "bad_response"),
    "has a status beyond all bounds": (b"HTTP/1.1 99999999 OK\r\n\r\n", "bad_response"),
    "sends binary rubbish": (bytes(range(256)) * 400, "bad_response"),
    "is empty": (answer(b""), "empty_file"),
    "has no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "bad_response"),
    "sends a part": (answer(b"abc", "206 Partial Content"), "bad_response"),
    "switches protocols": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "bad_response"),
    "has it no more": (answer(b"", "410 Gone"), "url_not_found"),
    "does not let us": (answer(b"", "403 Forbidden"), "url_forbidden"),
    "asks who we are": (answer(b"", "401 Unauthorized"), "url_forbidden"),
    "is broken": (answer(b"", "500 Internal Server Error"), "server_error"),
    "is busy": (answer(b"", "503 Service Unavailable"), "server_busy"),
    "is busy for a year": (answer(b"", "429 Too Many Requests", Retry_After="31536000"), "server_busy"),
    "packs a bomb": (answer(gzip.compress(bytes(50 << 20)), Content_Encoding="gzip"), "too_large"),
    "packs a bomb in a bomb": (
        answer(gzip.compress(gzip.compress(bytes(50 << 20))), Content_Encoding="gzip, gzip"),
        "bad_response",
    ),
    "packs in an unknown way": (answer(b"x" * 50, Content_Encoding="br"), "bad_response"),
    "packs nothing": (answer(b"no gzip at all" * 5, Content_Encoding="gzip"), "bad_response"),
    "packs half": (answer(gzip.compress(PICTURE)[:-200], Content_Encoding="gzip"), "connection_broken"),
}


@pytest.mark.parametrize("which", WORST)
def test_a_server_that(server: Site, which: str) -> None:
    given, expected = WORST[which]
    server.answers["/a"] = [given]  # type: ignore[list-item]
    seconds = 0.4 if expected == "fetch_timeout" else 20
    assert code(f"{server.url}/a", seconds=seconds) == expected
    server.answers["/a"] = [answer(PICTURE)]
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(f"{server.url}/a") == PICTURE
