"""What goes over the wire: compression, signatures, and no secret where it does not belong."""

import gzip
import hashlib
import hmac
import json
import logging
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from opensearchpy.exceptions import ConnectionTimeout, OpenSearchException

from dar_search.answering.time_limits import within
from dar_search.settings import load_settings
from dar_search.stores.opensearch.cluster.connection import connect, mapped
from tests.cluster_connections import connected, nginx_needed, settings
from tests.http_serving import serving
from tests.nginx import Doors

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


class _Recorder(BaseHTTPRequestHandler):
    """Answers every request, and keeps what it was."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append({"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body})
        content = b'{"ok":true}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    seen: list[dict[str, Any]] = []
    handler = type("Handler", (_Recorder,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", seen


def test_bodies_are_compressed_only_when_asked(recorder: tuple[str, list[dict[str, Any]]]) -> None:
    url, seen = recorder
    for compress in (True, False):
        with connected(url, compress=compress) as client:
            client.transport.perform_request("POST", "/_search", body={"query": {"match_all": {}}})
    first, second = seen
    assert first["headers"]["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(first["body"])) == json.loads(second["body"]) == {"query": {"match_all": {}}}
    assert "content-encoding" not in second["headers"]


def expected_signature(request: dict[str, Any], host: str, secret: str, region: str, service: str) -> str:
    """AWS Signature Version 4, as its specification describes it, computed apart from botocore."""
    headers = {name.lower(): value for name, value in request["headers"].items()} | {"host": host}
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    parts = urlsplit(request["path"])
    query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
    canonical = "\n".join(
        [
            request["method"],
            quote(parts.path),
            query,
            *(f"{name}:{headers[name].strip()}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request["body"]).hexdigest(),
        ]
    )
    stamp = headers["x-amz-date"]
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("service", ["es", "aoss"])
@pytest.mark.parametrize("compress", [False, True])
def test_aws_requests_carry_the_signature_that_the_specification_says(
    recorder: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, service: str, compress: bool
) -> None:
    url, seen = recorder
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    with connected(url, aws_region="eu-west-1", aws_service=service, compress=compress) as client:
        client.transport.perform_request("POST", "/photos/_search", params={"size": "3"}, body={"query": {}})
    (request,) = seen
    authorization = request["headers"]["Authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert f"/eu-west-1/{service}/aws4_request" in authorization
    assert request["headers"]["X-Amz-Security-Token"] == "session-token"
    host = urlsplit(url).netloc
    assert authorization.split("Signature=")[1] == expected_signature(
        request, host, "wJalrXUtnFEMI/K7MDENG", "eu-west-1", service
    )


@nginx_needed
def test_no_secret_shows_in_logs_errors_or_representations(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    inside = doors.token.replace("http://", "http://me:sup3rsecret-in-address@")
    ways: list[tuple[str, dict[str, Any], str]] = [
        (doors.token, {"bearer_token": "sup3rsecret-bearer"}, "sup3rsecret"),
        (doors.api_key, {"api_key": "sup3rsecret-key"}, "sup3rsecret"),
        (doors.token, {"username": "me", "password": "sup3rsecret-password"}, "sup3rsecret"),
        (inside, {}, "sup3rsecret"),
        ("http://me:sup3rsecret@127.0.0.1:1", {}, "sup3rsecret"),
    ]
    for address, access, hidden in ways:
        chosen = load_settings(store=address, opensearch=access)
        client = connect(address, chosen)
        with pytest.raises(OpenSearchException) as caught:
            client.transport.perform_request("POST", "/_search", body={"query": {"match_all": {}}})
        shown = [repr(chosen), repr(client), repr(client.transport.connection_pool.connections), str(chosen)]
        shown += [chosen.model_dump_json(), str(caught.value), repr(caught.value), str(mapped(caught.value))]
        client.close()
        assert hidden not in "\n".join(shown)
    assert "401" in caplog.text  # the requests were logged
    assert "sup3rsecret" not in caplog.text


def test_the_client_connects_no_sooner_than_it_must() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = connect(f"http://127.0.0.1:{listening.getsockname()[1]}", settings())
        assert not select.select([listening], [], [], 0)[0]
        with pytest.raises(OpenSearchException):
            client.transport.perform_request("GET", "/", timeout=0.2)
        assert select.select([listening], [], [], 0)[0]  # a connection that is made does show
        client.close()


class _Waiting(_Recorder):
    """Answers /slow once it is told to, and /both when two are asking."""

    opened: list[tuple[str, int]]
    both: threading.Barrier
    told: threading.Event

    def setup(self) -> None:
        super().setup()
        self.opened.append(self.client_address)

    def _answer(self) -> None:
        if self.path == "/both":
            self.both.wait(60)
        if self.path == "/slow":
            self.told.wait(60)
            self.close_connection = True  # nobody waits for it any more
            return
        super()._answer()

    do_GET = _answer


def test_a_request_cut_by_its_callers_deadline_leaves_the_other_connections() -> None:
    opened: list[tuple[str, int]] = []
    told = threading.Event()
    shared = {"seen": [], "opened": opened, "both": threading.Barrier(2), "told": told}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Waiting,), shared))
    server.daemon_threads = True
    with serving(server):
        client = connect(f"http://127.0.0.1:{server.server_port}", settings())
        ask = client.transport.perform_request

        def ask_twice_at_once() -> int:
            """How many connections that took which were not there."""
            before = len(opened)
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda path: ask("GET", path), ["/both", "/both"]))
            return len(opened) - before

        assert ask_twice_at_once() == 2
        with within(0.2), pytest.raises(ConnectionTimeout):
            ask("GET", "/slow")
        assert ask_twice_at_once() == 1
        with pytest.raises(ConnectionTimeout):  # one that had all the time of a request shows that something hangs
            ask("GET", "/slow", timeout=0.2)
        assert ask_twice_at_once() == 2
        told.set()
        client.close()
