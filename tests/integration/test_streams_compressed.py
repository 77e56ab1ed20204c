"""Streams through what compresses on the way: each event arrives when it is sent, not when there is enough of them."""

from __future__ import annotations

import http.client
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dar_search.client import DarClient
from dar_search.data import Imagination
from tests.cluster_connections import nginx_needed
from tests.fakes import FakeEncoder
from tests.nginx import compressing_nginx
from tests.query_service import SEARCH, V1, KeyedFakeImaginer, Service
from tests.query_service_http import served


@contextmanager
def _slow_service() -> Iterator[tuple[str, threading.Event]]:
    """A service that imagines nothing until the event is set."""
    go = threading.Event()

    class Slow(KeyedFakeImaginer):
        def imagine(self, prompt: str, **options: Any) -> tuple[Imagination, ...]:
            if "picture" not in prompt:
                go.wait(60)
            return super().imagine(prompt, **options)

    with served(Service(imaginer=Slow(FakeEncoder()))) as url:
        try:
            yield url, go
        finally:
            go.set()


@nginx_needed
def test_the_first_event_is_there_before_the_second_is_made_through_an_nginx_that_compresses(tmp_path: Path) -> None:
    import orjson

    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip", "Content-Type": "application/json"}
    with _slow_service() as (url, go), compressing_nginx(url, tmp_path) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        connection.request("POST", f"{V1}/search", orjson.dumps({**SEARCH, "deadline_ms": 30_000}), headers)
        response = connection.getresponse()
        assert response.headers["Content-Encoding"] == "gzip"
        unpacked = zlib.decompressobj(wbits=31)
        text = b""
        while b"\n\n" not in text:
            text += unpacked.decompress(response.read1())
        assert text.startswith(b"event: text")
        assert not go.is_set()
        go.set()
        while part := response.read1():
            text += unpacked.decompress(part)
        assert b"event: imagined" in text
        connection.close()


@nginx_needed
def test_the_client_reads_a_stream_through_it(tmp_path: Path) -> None:
    with _slow_service() as (url, go), compressing_nginx(url, tmp_path) as address, DarClient(address) as client:
        answers = client.stream(SEARCH["dialogue"], index=SEARCH["index"], deadline_ms=30_000)
        assert not next(answers).final
        go.set()
        assert next(answers).final


def test_what_a_proxy_may_not_do_with_a_stream_is_in_its_headers() -> None:
    from werkzeug.test import Client

    made = Service()
    response = Client(made.app).post(f"{V1}/search", json=SEARCH, headers={"Accept": "text/event-stream"})
    assert response.headers["Cache-Control"] == "no-store, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    response.close()
    made.service.close()


@pytest.mark.parametrize("path", ["/_dar/health", "/_dar/ready", "/_dar/v1/search"])
def test_no_answer_is_kept_on_the_way(path: str) -> None:
    from werkzeug.test import Client

    made = Service()
    client = Client(made.app)
    response = client.post(path, json=SEARCH) if "search" in path else client.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    made.service.close()
