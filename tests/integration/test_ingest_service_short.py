"""A running ingest service to which the machine gives no descriptor for a while: it says so, and recovers by itself."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.pictures import COLOURS, encoded, scene
from tests.shortages import held_by, no_descriptors

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
PICTURES = 20
FORM = "multipart/form-data; boundary=x"


def picture(number: int) -> bytes:
    colours = tuple((r, (g + number) % 256, (b + number * 7) % 256) for r, g, b in COLOURS)
    return encoded(scene(colours, 16, 12), "PNG")  # type: ignore[arg-type]


class Caller:
    """One connection, kept open."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(str(urlsplit(address).netloc), timeout=60)

    def __call__(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        headers = {"Content-Type": kind, "X-Requested-With": "tests"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read()), response.headers

    def upload(self, number: int) -> Any:
        parts = (b'name="index"\r\n\r\nuploads', b'name="image"; filename="a.png"\r\n\r\n' + picture(number))
        body = b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
        return self("POST", "/_dar/v1/images", body + b"--x--\r\n", FORM)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    for number in range(PICTURES):
        (folder / "below" / f"{number:03}.png").write_bytes(picture(number))
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[tuple[str, int]]:
    """Its address, and the process that answers."""
    folder = tmp_path_factory.mktemp("service")
    variables = {
        "DAR_STORE": f"sqlite:{folder / 'store.db'}",
        "DAR_INGEST__SOURCES": json.dumps([str(photos)]),
        "DAR_INGEST__SWEEP_SECONDS": "0.1",
        "DAR_INGEST__RESEND_SECONDS": "0.2",
        "DAR_INGEST__RESUME_SECONDS": "0.2",
        "DAR_INGEST__DECODERS": "1",
    }
    command = [sys.executable, "-m", "tests.ingest_service_child", json.dumps({"marker": str(folder / "never")})]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | variables
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        (worker,) = until(lambda: psutil.Process(process.pid).children(), lambda children: len(children) == 1)
        yield address, worker.pid
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.fixture
def open_before(service: tuple[str, int]) -> Iterator[Caller]:
    """A connection that was there before the trouble."""
    caller = Caller(service[0])
    until(lambda: caller("GET", "/_dar/ready"), lambda answer: answer[0] == 200)
    assert caller.upload(0)[0] == 200
    yield caller
    caller.close()


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """What is seen, once this holds of it; the test's time limit ends the waiting."""
    while not holds(found := look()):
        time.sleep(0.05)
    return found


def test_uploads_are_refused_for_now_ready_says_why_and_both_are_well_again_by_themselves(
    service: tuple[str, int], open_before: Caller
) -> None:
    address, pid = service
    before = held_by(pid)
    for _ in range(3):
        with no_descriptors(pid):
            status, problem, headers = open_before.upload(1)
            assert (status, problem["code"], headers["Retry-After"]) == (503, "out_of_resources", "1")
            assert "Too many open files" in problem["message"]
            status, ready, _ = open_before("GET", "/_dar/ready")
            assert status == 503
            assert "Too many open files" in ready["parts"].pop("decoders")
            assert set(ready["parts"].values()) == {"ok"}
            assert open_before("GET", "/_dar/health")[0] == 200
            with closing(Caller(address)) as comes_new:
                status, problem, headers = comes_new.upload(2)
            assert (status, headers["Retry-After"]) == (503, "1")
            assert problem["code"] in ("decoders_unavailable", "out_of_resources")
        until(lambda: open_before("GET", "/_dar/ready"), lambda answer: answer[0] == 200)
        status, body, _ = open_before.upload(1)
        assert (status, body["indexed"]) == (200, 1)
    assert until(lambda: held_by(pid), lambda now: now == before)


def test_decoders_that_end_in_that_moment_are_back_after_it(service: tuple[str, int], open_before: Caller) -> None:
    _, pid = service
    with no_descriptors(pid):
        for child in psutil.Process(pid).children():
            child.kill()
        status, problem, _ = until(lambda: open_before.upload(3), lambda answer: answer[0] == 503)
        assert problem["code"] in ("decoders_unavailable", "out_of_resources")
    status, body, _ = until(lambda: open_before.upload(3), lambda answer: answer[0] == 200)
    assert (status, body["indexed"]) == (200, 1)


def test_a_job_that_meets_such_a_moment_waits_for_its_end_and_blames_no_picture(
    service: tuple[str, int], photos: Path, open_before: Caller
) -> None:
    _, pid = service
    asked = json.dumps({"index": "photos", "source": str(photos)}).encode()
    with no_descriptors(pid):
        status, problem, _ = open_before("POST", "/_dar/v1/jobs", asked)
        assert (status, problem["code"]) == (503, "out_of_resources")
    job = open_before("POST", "/_dar/v1/jobs", asked)[1]["id"]
    path = f"/_dar/v1/jobs/{job}"
    open_before("POST", f"{path}/pause")
    assert open_before("GET", path)[1]["done"] < PICTURES, "it was done too soon, so this tested nothing"
    until(lambda: held_by(pid)[2], lambda children: children <= 1)  # the worker has let go of its decoder
    with no_descriptors(pid):
        open_before("POST", f"{path}/resume")
        until(lambda: open_before("GET", path)[1], lambda job: "Too many open files" in job["reason"])
    found = until(lambda: open_before("GET", path)[1], lambda job: job["state"] == "done")
    assert (found["indexed"] + found["unchanged"], found["failed"], found["skipped"]) == (PICTURES, 0, {})
