"""The promise of the query service: with broken models, answers stay right and on time, and say what is missing.

Eight clients ask at once, with deadlines of 300 ms and 1 s. The language model is a real HTTP server that hangs, talks
nonsense or answers 500; the imaginer, in a real model process, sleeps, raises or kills its process. 72 requests in
`make test`, 720 with DAR_TORTURE=1, where the share of late answers is held to the promise (one in a hundred).
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import urllib3

from dar_search.bootstrap import open_store
from dar_search.data import ImageRecord
from dar_search.settings import Settings
from tests.fakes import FakeEncoder
from tests.http_serving import serving

TORTURE = os.environ.get("DAR_TORTURE") == "1"
CLIENTS = 8
ROUNDS = 30 if TORTURE else 3
DEADLINES = (300, 1000)
LANGUAGE_MODEL = ("hangs", "babbles", "errs")
IMAGINER = ("sleeps", "raises", "dies", "paints")
ALLOWED_MS = 200
# A test machine may be busy with other things; the promise itself is held under torture.
LATE_SHARE = 0.01 if TORTURE else 0.25


class LanguageModel(BaseHTTPRequestHandler):
    """Goes wrong as the dialogue's words say."""

    released = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "hangs" in body:
            self.released.wait(60)
            return
        nonsense = json.dumps({"choices": [{"message": {"role": "assistant", "content": "} blub \u0000 {{query}} ]"}}]})
        status, answer = (500, b"oh no") if "errs" in body else (200, nonsense.encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@dataclass(frozen=True)
class Outcome:
    language_model: str
    imaginer: str
    deadline_ms: int
    status: int
    took_ms: float
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), LanguageModel)
    server.daemon_threads = True
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/v1"
        LanguageModel.released.set()


@pytest.fixture(scope="module")
def address(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running service over a real embedded store of 300 pictures."""
    folder = tmp_path_factory.mktemp("degraded")
    store = f"sqlite:{folder / 'images.sqlite'}"
    fill(store)
    command = [sys.executable, "-m", "tests.served_query", "0", store, endpoint]
    with (
        (folder / "service.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        found = process.stdout.readline().strip()
        assert found.startswith("http://")
        wait_until_ready(found)
        try:
            yield found
        finally:
            process.terminate()
            process.wait(60)


def fill(store: str) -> None:
    encoder = FakeEncoder()
    opened = open_store(store, Settings(store=store))
    index = opened.create("photos", encoder.provenance)
    words = ("red", "blue", "green", "small", "huge", "old")
    captions = [
        f"a {one} {other} house number {number}"
        for one, other in itertools.permutations(words, 2)
        for number in range(10)
    ]
    index.write(
        [
            ImageRecord(f"p{number:03d}", vector, "file:///x", caption=caption)
            for number, (caption, vector) in enumerate(zip(captions, encoder.encode_texts(captions), strict=True))
        ]
    )
    index.refresh()
    opened.close()


def wait_until_ready(address: str) -> None:
    with urllib3.PoolManager(retries=False) as http:
        for _ in range(600):
            if http.request("GET", f"{address}/_dar/ready").status == 200:
                return
            time.sleep(0.1)
    raise AssertionError("the service was not ready within a minute")


def test_broken_models_degrade_answers_in_time(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    every = list(itertools.product(LANGUAGE_MODEL, IMAGINER, DEADLINES)) * ROUNDS
    order = np.random.default_rng(8).permutation(len(every))
    with (
        urllib3.PoolManager(maxsize=CLIENTS, block=True, retries=False, timeout=60) as http,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        outcomes = list(clients.map(lambda number: ask(http, address, number, *every[number]), order))

    report(outcomes, capsys)
    assert [one for one in outcomes if one.status != 200] == []
    for one in outcomes:
        legs = one.answer["legs"]
        assert one.answer["hits"], one
        assert legs["reformulation"]["status"] in ("late", "failed"), one
        assert legs["reformulation"]["reason"], one
        assert one.answer["reformulation"]["reformulator"] == "rules"
        if one.imaginer != "paints":
            assert legs["imagination"]["status"] in ("late", "failed"), one
            assert legs["imagination"]["reason"], one
        assert "ok" in (legs["knn"]["status"], legs["keyword"]["status"]), one
        assert all(leg["status"] == "ok" or leg["reason"] for leg in legs.values()), one
    late = [one for one in outcomes if one.took_ms > one.deadline_ms + ALLOWED_MS]
    assert len(late) <= LATE_SHARE * len(outcomes)


def ask(http: urllib3.PoolManager, address: str, number: int, model: str, imaginer: str, deadline_ms: int) -> Outcome:
    dialogue = {"caption": f"a red house {number}", "turns": [{"question": "who?", "answer": f"{model} {imaginer}"}]}
    body = {"index": "photos", "dialogue": dialogue, "deadline_ms": deadline_ms}
    began = time.perf_counter()
    response = http.request("POST", f"{address}/_dar/v1/search", json=body)
    took_ms = (time.perf_counter() - began) * 1000
    return Outcome(model, imaginer, deadline_ms, response.status, took_ms, response.json())


def report(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for deadline in DEADLINES:
            took = sorted(one.took_ms for one in outcomes if one.deadline_ms == deadline)
            late = sum(one > deadline + ALLOWED_MS for one in took)
            middle, most = np.percentile(took, [50, 99])
            print(
                f"\n  {len(took)} answers, deadline {deadline} ms: p50 {middle:.0f} ms, p99 {most:.0f} ms, "
                f"{late} later than {deadline + ALLOWED_MS} ms",
                end="",
            )


def test_an_imaginer_that_was_killed_paints_again(address: str) -> None:
    """Nothing of the trouble sticks: the imaginer's process, killed many times, paints again."""
    with urllib3.PoolManager(retries=False, timeout=60) as http:
        for _ in range(240):  # what it was given up for is still being imagined
            one = ask(http, address, 1, "errs", "paints", 10_000)
            if one.answer["legs"]["imagination"]["status"] == "ok":
                break
            time.sleep(0.25)
        assert one.answer["legs"]["imagination"]["status"] == "ok"
        assert one.answer["imagined"]
