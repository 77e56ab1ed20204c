"""Errors as answers: our own with their status, any other without what it says."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from dar_search.errors import DarError, IndexNotFound, ModelBusy
from dar_search.serving import wsgi
from dar_search.serving.problems import register_problems
from tests.guarded_app import client, problem


class TestProblems:
    def test_an_error_of_ours_is_answered_with_its_status(self) -> None:
        def raising(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
            raise IndexNotFound("There is no index.", "Make it.")

        assert problem(client(app=raising).get("/"), 404, "index_not_found")["hint"] == "Make it."

    def test_any_other_tells_nothing_and_is_logged_with_its_trace(self, caplog: pytest.LogCaptureFixture) -> None:
        def raising(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
            raise KeyError("the inner secret")

        response = client(app=raising).get("/")
        problem(response, 500, "internal_error")
        assert "inner secret" not in response.text
        assert any(record.exc_info and record.getMessage() == "A defect: KeyError." for record in caplog.records)

    @pytest.mark.parametrize("kind", ["files", "threads", "disk"])
    def test_what_the_machine_does_not_give_just_now_is_worth_another_try(self, kind: str) -> None:
        def raising(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
            if kind == "threads":
                raise RuntimeError("can't start new thread")
            if kind == "disk":
                Path("/dev/full").write_bytes(b"a spooled form")
            raise ValueError("what came of it") from OSError(errno.EMFILE, "Too many open files")

        response = client(app=raising).get("/")
        assert ("disk" if kind == "disk" else "ulimit") in " ".join(problem(response, 503, "out_of_resources").values())
        assert response.headers["Retry-After"] == "1"


class TestFlask:
    """`register_problems` on a real Flask app."""

    @pytest.fixture
    def asked(self) -> Client:
        import flask

        app = flask.Flask("tests")
        seen: list[str] = []
        register_problems(app, lambda error: seen.append(error.code))

        @app.post("/ours")
        def ours() -> Any:
            raise ModelBusy("Full.")

        @app.post("/defect")
        def defect() -> Any:
            raise KeyError("the inner secret")

        @app.post("/json")
        def reading() -> Any:
            return {"given": flask.request.get_json()}

        @app.get("/folder/")
        def folder() -> Any:
            return "here"

        return client(app=app.wsgi_app)

    def test_our_errors_their_own_and_defects_are_problems(self, asked: Client) -> None:
        response = asked.post("/ours")
        problem(response, 429, "model_busy")
        assert response.headers["Retry-After"] == "1"
        problem(asked.get("/nowhere"), 404, "route_not_found")
        refused = asked.get("/ours")
        assert "POST" in problem(refused, 405, "method_not_allowed")["hint"]
        assert "POST" in refused.headers["Allow"]
        problem(asked.post("/json", data="{}", content_type="text/plain"), 415, "unsupported_media_type")
        problem(asked.post("/json", data="{", content_type="application/json"), 400, "bad_request")
        assert "inner secret" not in str(problem(asked.post("/defect"), 500, "internal_error"))

    def test_a_redirect_stays_one(self, asked: Client) -> None:
        response = asked.get("/folder")
        assert (response.status_code, response.headers["Location"].rpartition("/folder")[2]) == (308, "/")


def test_an_error_without_a_request_is_a_problem_too() -> None:
    from dar_search.serving.problems import problem as made

    assert made(DarError("It broke.")) == {"code": "error", "message": "It broke.", "hint": "", "request_id": ""}
