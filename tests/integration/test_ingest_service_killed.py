"""The service's own process is killed while it works: it comes back, and the job ends by itself."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.ingest_child import open_index
from tests.pictures import COLOURS, encoded, scene

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
PICTURES = 160


def call(address: str, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection(str(urlsplit(address).netloc), timeout=60)
    try:
        raw = None if body is None else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_a_service_that_is_killed_at_its_work_comes_back_and_ends_the_job(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(PICTURES):
        colours = tuple((r, (g + number) % 256, (b + number * 7) % 256) for r, g, b in COLOURS)
        (photos / f"{number:03}.png").write_bytes(encoded(scene(colours, 16, 12), "PNG"))  # type: ignore[arg-type]
    marker, store = tmp_path / "killed", tmp_path / "store.db"
    variables = {
        "DAR_STORE": f"sqlite:{store}",
        "DAR_INGEST__SOURCES": json.dumps([str(photos)]),
        "DAR_INGEST__BEAT_SECONDS": "0.3",
        "DAR_INGEST__LEASE_SECONDS": "2",
        "DAR_INGEST__RESEND_SECONDS": "0.5",
        "DAR_INGEST__SWEEP_SECONDS": "0.2",
        "DAR_INGEST__DECODERS": "1",
        "DAR_INGEST__BATCH_SIZE": "8",
    }
    options = {"at": "written", "count": 3, "whole": False, "marker": str(marker)}
    command = [sys.executable, "-m", "tests.ingest_service_child", json.dumps(options)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | variables
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        job = call(address, "POST", "/_dar/v1/jobs", {"index": "photos", "source": str(photos)})["id"]
        ledger = SQLiteLedger(store)
        while ledger.job(job).state != "done":
            assert process.poll() is None, "the service ended"
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    found = ledger.job(job)
    ledger.close()
    assert marker.exists(), "nothing was killed, so this tested nothing"
    assert (found.indexed + found.unchanged, found.failed) == (PICTURES, 0)
    assert open_index(store).count() == PICTURES
