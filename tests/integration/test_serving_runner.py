"""The runner under real gunicorn: it listens, shows its metrics, and ends in order."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import urllib3

from tests.programs import free_port
from tests.shortages import held_by, no_descriptors


def start(
    *arguments: object, patience: float = 60, files: int | None = None, log: Any = subprocess.PIPE, form: str = "json"
) -> subprocess.Popen[str]:
    """patience: of the service with a caller, in seconds. files: how many it may open. log: where its log goes."""
    service = {"PATIENCE_SECONDS": str(patience), "LOG_LEVEL": "debug", "LOG_FORMAT": form}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.runner_app", *map(str, arguments)],
        env=os.environ | {f"DAR_SERVICE__{name}": value for name, value in service.items()},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        preexec_fn=None if files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )  # fmt: skip


def said(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    """The next thing that the service says, which must be this."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    value: dict[str, Any] = json.loads(line)
    assert value["what"] == what
    return value


def logged(process: subprocess.Popen[str], text: str) -> None:
    """Reads the log up to the line that has this text."""
    assert process.stderr is not None
    assert any(text in line for line in process.stderr), f"{text} was never logged"


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(num_pools=10, maxsize=10, timeout=30, retries=False) as pool:
        yield pool


@pytest.fixture
def service() -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A running one with a grace of ten minutes: the process, its address, its admin port."""
    admin_port = free_port()
    process = start(0, admin_port, 600, patience=600)
    try:
        yield process, said(process, "ready")["address"], admin_port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_answers_and_shows_its_metrics_on_the_admin_port(
    service: tuple[subprocess.Popen[str], str, int], http: urllib3.PoolManager
) -> None:
    process, address, admin_port = service
    answer = http.request("GET", f"{address}/pid")
    assert answer.status == 200
    assert answer.json()["pid"] != process.pid  # the app lives in a worker
    metrics = http.request("GET", f"http://127.0.0.1:{admin_port}/metrics").data.decode()
    assert 'dar_requests_total{method="GET",route="/pid",status="200"} 1.0' in metrics
    assert "process_resident_memory_bytes" in metrics


def test_with_no_descriptor_left_new_callers_are_told_to_come_again_and_the_service_lives_on(
    service: tuple[subprocess.Popen[str], str, int], http: urllib3.PoolManager
) -> None:
    _, address, _ = service
    once = {"Connection": "close"}
    pid = http.request("GET", f"{address}/pid", headers=once).json()["pid"]
    before = held_by(pid)
    with no_descriptors(pid):
        for _ in range(5):
            refused = http.request("POST", f"{address}/pid", body=b"x" * 900)
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json()["code"] == "out_of_resources"
    assert http.request("GET", f"{address}/pid", headers=once).json()["pid"] == pid
    limit = time.monotonic() + 30
    while held_by(pid) != before:  # until the last caller's connection is closed
        assert time.monotonic() < limit, (before, held_by(pid))
        threading.Event().wait(0.02)


def test_sigterm_lets_the_running_request_end_and_go_who_has_asked_nothing_whole(
    service: tuple[subprocess.Popen[str], str, int], http: urllib3.PoolManager
) -> None:
    process, address, _ = service
    assert process.stdin is not None
    host, port = address.removeprefix("http://").split(":")
    half = socket.create_connection((host, int(port)), timeout=60)
    half.sendall(b"G")
    with half, urllib3.HTTPConnectionPool(host, int(port), maxsize=1) as idle:
        assert idle.request("GET", "/pid").status == 200  # and the connection stays open
        statuses: list[int] = []
        slow = threading.Thread(target=lambda: statuses.append(http.request("GET", f"{address}/slow").status))
        slow.start()
        said(process, "slow")
        process.send_signal(signal.SIGTERM)
        logged(process, "Handling signal: term")
        assert half.recv(1) == b""
        process.stdin.write("go\n")
        process.stdin.flush()
        slow.join()
        assert statuses == [200]
        said(process, "closed")
        assert process.wait(60) == 0  # the grace is ten minutes: nobody waited for the idle connection


def test_a_request_that_does_not_end_is_cut_off_after_the_grace(http: urllib3.PoolManager) -> None:
    process = start(0, 0, 1)
    address = said(process, "ready")["address"]
    outcomes: list[str] = []

    def ask() -> None:
        try:
            outcomes.append(str(http.request("GET", f"{address}/slow").status))
        except urllib3.exceptions.HTTPError as error:
            outcomes.append(type(error).__name__)

    slow = threading.Thread(target=ask)
    slow.start()
    said(process, "slow")
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    slow.join()
    assert outcomes == ["ProtocolError"]
    process.communicate()


def test_a_service_that_cannot_start_says_why_in_one_line_and_ends() -> None:
    process = start(0, 0, 1, "--broken")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    line = next(json.loads(one) for one in err.splitlines() if "index is not there" in one)
    assert line["event"] == "The index is not there. Make it."
    assert "Traceback" not in err


@pytest.mark.parametrize("which", ["port", "admin port"])
def test_a_taken_port_is_said_before_anything_starts(which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        process = start(*((number, 0) if which == "port" else (0, number)), 1)
        refused = said(process, "refused")
        assert str(number) in refused["message"]
        process.communicate()
        assert process.returncode == 2


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_that_a_caller_said_is_in_the_log_whatever_goes_wrong(http: urllib3.PoolManager, form: str) -> None:
    with tempfile.TemporaryFile("w+") as log:
        process = start(0, 0, 1, log=log, form=form)
        address = said(process, "ready")["address"]
        headers = {"X-DAR-Key": "a canary in a key", "Authorization": "Basic canary", "X-Other": "canary"}
        body = {"headers": headers, "body": "a canary"}
        assert http.request("POST", f"{address}/defect?q=canary", **body).status == 500
        assert http.request("POST", f"{address}/canary?q=canary", **body).status == 200
        with pytest.raises(urllib3.exceptions.ProtocolError):
            http.request("POST", f"{address}/broken?q=canary", **body)

        def ask() -> None:
            with suppress(urllib3.exceptions.HTTPError):
                http.request("POST", f"{address}/slow?q=canary", **body)

        unheard = threading.Thread(target=ask)
        unheard.start()
        said(process, "slow")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.communicate()
        unheard.join()
        log.seek(0)
        told = log.read()
    assert "A defect: ValueError." in told
    assert "A thread ended." in told
    assert "An object was not put away." in told
    assert "Error handling request" in told  # the stream's, after its head
    assert "runner_app.py" in told
    assert "canary" not in told
