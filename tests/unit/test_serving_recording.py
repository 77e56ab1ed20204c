"""What is counted and logged of a request, and what is kept out of both."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest
from pydantic import SecretStr

from dar_search.data import Leg
from dar_search.serving import wsgi
from dar_search.serving.logs import configure_logs
from dar_search.serving.metrics import Metrics
from dar_search.settings.masking import masked
from dar_search.settings.service import ServiceSettings
from tests.guarded_app import KEY, client, echo


class TestMetrics:
    def test_requests_are_counted_by_route_and_never_by_path(self) -> None:
        metrics = Metrics()
        asked = client(metrics=metrics)
        for path in ("/a", "/b"):
            asked.get(path)
        asked.get("/", headers={"Host": "evil.example"})
        asked.open("/", method="BREW")
        text = generate_latest(metrics.registry).decode()
        assert 'dar_requests_total{method="GET",route="/_dar/v1/echo",status="200"} 2.0' in text
        assert 'dar_requests_total{method="GET",route="other",status="421"} 1.0' in text
        assert 'dar_refused_total{code="host_refused"} 1.0' in text
        assert "BREW" not in text
        assert "dar_requests_running 0.0" in text

    def test_legs_are_timed_and_what_is_missing_is_counted(self) -> None:
        metrics = Metrics()
        metrics.legs({"knn": Leg("ok", 4.0), "imagination": Leg("late", 300.0, "slow"), "keyword": Leg("off")})
        text = generate_latest(metrics.registry).decode()
        assert 'dar_degradations_total{leg="imagination",reason="late"} 1.0' in text
        assert 'dar_leg_seconds_count{leg="knn",status="ok"} 1.0' in text
        assert 'leg="keyword"' not in text

    def test_a_stream_counts_until_its_end_or_until_the_caller_goes(self) -> None:
        metrics = Metrics()
        closed: list[bool] = []

        def streaming(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            try:
                with metrics.stream_open():
                    yield b"one"
                    yield b"two"
            finally:
                closed.append(True)

        response = client(app=streaming, metrics=metrics).get("/")
        parts = response.iter_encoded()
        assert next(parts) == b"one"
        assert metrics.registry.get_sample_value("dar_streams_open") == 1
        response.close()
        assert closed == [True]
        assert metrics.registry.get_sample_value("dar_streams_open") == 0
        assert metrics.registry.get_sample_value("dar_requests_running") == 0


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What a service's log says from here on, a JSON object a line."""
    for owner, name in ((threading, "excepthook"), (sys, "unraisablehook"), (logging, "raiseExceptions")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # to be put back
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logs(ServiceSettings(), stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)


class TestLogs:
    def test_a_request_is_one_json_line_without_path_query_body_or_key(
        self, log_lines: Callable[[], list[dict[str, Any]]]
    ) -> None:
        service = ServiceSettings(keys={"team": SecretStr(KEY)})
        client(service).post("/secret-path?q=words", data="said in confidence", headers={"X-DAR-Key": KEY})
        (line,) = log_lines()
        assert line["event"] == "request"
        assert (line["route"], line["status"], line["key"], line["level"]) == ("/_dar/v1/echo", 200, "team", "info")
        assert line["request_id"]
        for hidden in ("secret-path", "words", "confidence", KEY):
            assert hidden not in json.dumps(line)

    def test_what_is_logged_for_a_request_has_its_id_and_no_secret(
        self, log_lines: Callable[[], list[dict[str, Any]]]
    ) -> None:
        def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
            logging.getLogger("dar_search.somewhere").warning("asked https://me:pw@host with Authorization: Basic eDp5")
            return echo(environ, start_response)

        client(app=app).get("/", headers={"X-Request-Id": "r1"})
        first = log_lines()[0]
        assert first["request_id"] == "r1"
        assert "pw" not in first["event"]
        assert "eDp5" not in first["event"]

    def test_a_defect_is_logged_with_its_trace_as_data(self, log_lines: Callable[[], list[dict[str, Any]]]) -> None:
        def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
            said = "in confidence"
            try:
                raise OSError(errno.EIO, said)
            except OSError as error:
                raise ZeroDivisionError(said) from error

        client(app=app).get("/")
        defect, request = log_lines()
        names = [line for line in defect["exception"] if not line.startswith("  ")]
        assert names == ["builtins.ZeroDivisionError", "builtins.OSError EIO"]
        assert any("test_serving_recording.py" in line for line in defect["exception"])
        assert "in confidence" not in json.dumps(defect)
        assert (request["status"], request["code"], request["level"]) == (500, "internal_error", "error")

    @pytest.mark.parametrize("text", ["api_key=abcdef", "X-DAR-Key: abcdef", "password: abcdef", "//u:abcdef@h"])
    def test_secrets_are_masked(self, text: str) -> None:
        assert "abcdef" not in masked(text)
