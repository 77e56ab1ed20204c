"""The ingest service as a process, with callers that follow jobs for ever and a ledger that never answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import urllib3

from tests.pictures import COLOURS, encoded, scene
from tests.programs import free_port

EVENTS = {"Accept": "text/event-stream"}


@contextmanager
def service(
    folder: Path, **variables: object
) -> Iterator[tuple[subprocess.Popen[str], urllib3.HTTPConnectionPool, int]]:
    """A running one with its store in the folder: its process, what asks it, and its admin port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAR_", "OPENSEARCH_"))}
    own = {"DAR_STORE": f"sqlite:{folder / 'store.db'}", "DAR_INGEST__SOURCES": json.dumps([str(folder)])}
    more = {f"DAR_INGEST__{name.upper()}": str(value) for name, value in variables.items()}
    options = json.dumps({"marker": str(folder / "marker"), "admin_port": (admin_port := free_port())})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ingest_service_child", options], stdout=subprocess.PIPE, text=True,
        env=kept | own | more, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        with urllib3.HTTPConnectionPool(host, int(port), maxsize=20, timeout=60, retries=False) as http:
            yield process, http, admin_port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_jobs_are_followed_by_so_many_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(encoded(scene(COLOURS, 16, 12), "PNG"))
    with service(tmp_path, streams=2, sweep_seconds=600, decoders=1) as (process, http, _), ExitStack() as followers:
        job = http.request("POST", "/_dar/v1/jobs", json={"index": "photos", "source": str(tmp_path)}).json()["id"]
        assert http.request("POST", f"/_dar/v1/jobs/{job}/pause").status in (200, 409)
        for _ in range(2):
            following = http.request("GET", f"/_dar/v1/jobs/{job}", headers=EVENTS, preload_content=False)
            followers.callback(following.close)
            assert following.status == 200
        refused = http.request("GET", f"/_dar/v1/jobs/{job}", headers=EVENTS)
        assert (refused.status, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert http.request("GET", f"/_dar/v1/jobs/{job}").status == 200
        followers.close()
        # The service sees that they went away when it has something to tell them, a second later.
        retries = urllib3.Retry(total=None, status=60, status_forcelist=[429], allowed_methods=None, backoff_factor=0)
        again = http.request("GET", f"/_dar/v1/jobs/{job}", headers=EVENTS, retries=retries, preload_content=False)
        assert again.status == 200
        process.terminate()
        assert b'"paused"' in again.read()  # it is told to its end, and nobody waits for the job's
        assert process.wait(60) == 0


def test_with_a_ledger_that_never_answers_health_is_well_and_readiness_names_it(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1000)  # it takes connections, and nobody reads of them
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with service(tmp_path, ledger=address, decoders=1) as (_, http, admin_port):
            assert http.request("GET", "/_dar/health").status == 200
            ready = http.request("GET", "/_dar/ready")
            assert ready.status == 503
            assert ready.json()["parts"]["ledger"] == "no answer within 3 s"
            assert ready.json()["parts"]["store"] == "ok"
            metrics = urllib3.request("GET", f"http://127.0.0.1:{admin_port}/metrics", timeout=60, retries=False)
            assert b"dar_requests_total" in metrics.data
        silent.close()


def test_an_upload_that_comes_slowly_takes_an_uploads_place_and_no_other(tmp_path: Path) -> None:
    head = "POST /_dar/v1/images HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: test\r\nContent-Length: 100000\r\n"
    slow = f"{head}Content-Type: multipart/form-data; boundary=part\r\nExpect: 100-continue\r\n\r\n".encode()
    with service(tmp_path, uploads=1, waiting=1, decoders=1) as (_, http, _), ExitStack() as held:
        for _ in range(2):
            connection = held.enter_context(socket.create_connection((http.host, http.port or 0), timeout=60))
            connection.sendall(slow)
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # now its body is read
        refused = http.request(
            "POST", "/_dar/v1/images", fields={"index": "photos"}, headers={"X-Requested-With": "test"}
        )
        assert (refused.status, refused.json()["code"]) == (429, "overloaded")
        assert http.request("GET", "/_dar/v1/jobs").status == 200
