"""How much the query service answers at once, and what becomes of the rest."""

from __future__ import annotations

import threading
import time

import pytest
from werkzeug.test import Client

from dar_search.data import Dialogue, Reformulation
from dar_search.errors import Overloaded
from dar_search.serving.admission import Gate
from tests.fakes import FakeReformulator
from tests.query_service import SEARCH, V1, Service, asked, query_settings


class TestLimits:
    def test_over_the_queue_a_search_is_refused_with_the_time_to_wait(self) -> None:
        with busy_service("refuse") as client:
            response = client.post(f"{V1}/search", json=SEARCH)
            assert (response.status_code, response.get_json()["code"]) == (429, "overloaded")
            assert response.headers["Retry-After"] == "1"

    def test_or_answered_by_text_as_the_settings_say(self) -> None:
        with busy_service("text_only") as client:
            answer = asked(client)
            assert answer["legs"]["imagination"]["status"] == "failed"
            assert "under way" in answer["legs"]["imagination"]["reason"]
            assert answer["hits"]

    def test_a_gate_lets_in_who_waited_when_one_goes(self) -> None:
        gate = Gate("searches", running=1, waiting=1)
        order: list[str] = []

        def second() -> None:
            with gate.entered(60):
                order.append("second")

        waiting = threading.Thread(target=second)
        with gate.entered():
            waiting.start()
            while gate.at_the_door == 0:
                time.sleep(0.001)
            with pytest.raises(Overloaded), gate.entered(60):
                pass  # the one place at the door is taken
            order.append("first")
        waiting.join()
        assert order == ["first", "second"]

    def test_a_gate_refuses_who_waited_too_long(self) -> None:
        gate = Gate("searches", running=1, waiting=5)
        with gate.entered(), pytest.raises(Overloaded), gate.entered(0.01):
            pass
        with gate.entered():
            assert (gate.inside, gate.at_the_door) == (1, 0)


class busy_service:
    """A service whose only place is taken, with nobody allowed to wait."""

    def __init__(self, over_limit: str) -> None:
        self._go, self._inside = threading.Event(), threading.Event()

        class Held(FakeReformulator):
            def reformulate(held, dialogue: Dialogue) -> Reformulation:
                if "hold" in dialogue.caption:
                    self._inside.set()
                    self._go.wait(60)
                return super().reformulate(dialogue)

        settings = query_settings(searches=1, waiting=0, over_limit=over_limit)
        self._service = Service(settings, reformulator=Held())

    def __enter__(self) -> Client:
        client = Client(self._service.app)
        body = SEARCH | {"dialogue": {"caption": "hold"}}
        self._holder = threading.Thread(target=lambda: Client(self._service.app).post(f"{V1}/search", json=body))
        self._holder.start()
        assert self._inside.wait(60)
        return client

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._holder.join()
        self._service.service.close()
