"""`dar serve` as a process, with the bundled models in processes of their own: an answer, traces, an orderly end."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dar_search.bootstrap import load_encoder, open_store
from dar_search.data import ImageRecord
from dar_search.demo.language import alt_text
from dar_search.demo.rendering import render
from dar_search.demo.splits import gallery
from dar_search.settings import load_settings
from tests.http_serving import serving

pytestmark = pytest.mark.timeout(180)
DAR = Path(sys.executable).with_name("dar")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP collector's address, and what it has been sent."""
    sent: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            sent.append(ExportTraceServiceRequest.FromString(content))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests ask for what they want to know."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", sent


def filled(path: Path) -> None:
    """An index of demo scenes with captions."""
    settings = load_settings(store=f"sqlite:{path}", encoder="demo")
    encoder = load_encoder(settings)
    pictures = list(itertools.islice(gallery(12), 12))
    rows = encoder.encode_images([render(one.scene, one.render_seed) for one in pictures])
    index = open_store(settings.store, settings).create("photos", encoder.provenance)
    captions = [alt_text(one.scene, random.Random(number)) for number, one in enumerate(pictures)]
    refused = index.write(
        [ImageRecord(str(n), row, f"file:///{n}.png", caption=captions[n]) for n, row in enumerate(rows)]
    )
    assert refused == []


def test_an_answer_with_its_traces_and_an_orderly_end(tmp_path: Path) -> None:
    filled(tmp_path / "store.sqlite")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_", "OTEL_"))}
    with collector() as (endpoint, sent):
        env = kept | {"HOME": str(tmp_path), "DAR_SERVICE__OTLP_ENDPOINT": endpoint}
        command = [
            DAR,
            "serve",
            "--store",
            f"sqlite:{tmp_path / 'store.sqlite'}",
            "--encoder",
            "demo",
            "--imaginer",
            "demo",
        ]
        process = subprocess.Popen(
            [*command, "--index", "photos", "--port", "0", "--admin-port", "0", "--json"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            lines = [*itertools.takewhile(lambda line: line != "}\n", process.stdout), "}"]
            address = json.loads("".join(lines))["address"]
            with urllib3.PoolManager(timeout=60) as http:
                retries = urllib3.Retry(
                    total=None, status=300, status_forcelist=[503], backoff_factor=0.1, backoff_max=0.5
                )
                assert http.request("GET", f"{address}/_dar/ready", retries=retries).json()["ready"]
                answer = http.request(
                    "POST",
                    f"{address}/_dar/v1/search",
                    json={"dialogue": ["a red balloon", "where is it? at the beach"], "deadline_ms": 20_000},
                    headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
                ).json()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert process.returncode == 0, said
    assert "legs" in answer, answer
    assert {leg["status"] for leg in answer["legs"].values()} == {"ok"}, answer["legs"]
    assert len(answer["imaginations"]) >= 1
    assert len(answer["hits"]) == 10
    spans = [
        span
        for one in sent
        for resource in one.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    of_the_search = {span.name for span in spans if span.trace_id.hex() == TRACE}
    assert {f"dar.{leg}" for leg in ("reformulation", "imagination", "knn", "keyword")} < of_the_search
    assert "balloon" not in "".join(map(str, spans)), "a dialogue's words went into a trace"
