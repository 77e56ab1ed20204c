"""`dar doctor` shows what really answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chat_server import chat_server
from tests.e2e.conftest import Dar
from tests.fakes import FakeEncoder

pytestmark = pytest.mark.usefixtures("light_models")


def _finding(said: str, check: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in json.loads(said)["checks"] if one["check"] == check)
    return found


def _endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> tuple[str, ...]:
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__URL", url)
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__TRIES", "1")
    return ("doctor", "--reformulator", "endpoint:m", "--imaginer", "none", "--json")


def test_rules_that_answer_in_an_endpoints_place_are_a_failure(dar: Dar, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = dar(*_endpoint(monkeypatch, "http://127.0.0.1:9/v1"))
    assert outcome.status == 3
    found = _finding(outcome.out, "reformulator")
    assert found["status"] == "fail"
    assert "rules instead of endpoint:m" in found["detail"]
    assert "Connection refused" in found["detail"]
    assert _finding(outcome.out, "encoder")["status"] == "ok"


def test_an_endpoint_that_answers_is_shown_with_what_it_wrote(dar: Dar, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server(lambda handler: handler.complete('{"text": "a kite that is red"}')) as server:
        outcome = dar(*_endpoint(monkeypatch, server.url))
    assert outcome.status == 0
    found = _finding(outcome.out, "reformulator")
    assert found["status"] == "ok"
    assert found["detail"].startswith('endpoint:m wrote "a kite that is red" in ')


def test_a_broken_encoder_hides_no_other_part(
    dar: Dar, monkeypatch: pytest.MonkeyPatch, light_models: FakeEncoder
) -> None:
    arguments = [one for one in _endpoint(monkeypatch, "http://127.0.0.1:9/v1") if one not in ("--imaginer", "none")]
    outcome = dar(*arguments, "--encoder", "open_clip:/nowhere", "--imaginer", "demo")
    assert outcome.status == 3
    assert _finding(outcome.out, "encoder")["status"] == "fail"
    assert _finding(outcome.out, "reformulator")["status"] == "fail"
    assert _finding(outcome.out, "imaginer")["status"] == "note"
