"""Asking the services, and keeping count of what they said."""

from __future__ import annotations

import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import urllib3

from tests.torture.soak.stage import Stage

V1 = "/_dar/v1"
#: What a service may say when something around it does not work; a 4xx other than these is a defect of the soak's.
IN_TROUBLE = frozenset({404, 409, 429, 503, 504})
_SECONDS = 60.0
_JOB = re.compile(r"/jobs/[^/]+")
_FORM = {"X-Requested-With": "soak"}


@dataclass
class Told:
    """What was said in one phase. Safe for many threads."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    health: dict[str, list[float]] = field(default_factory=lambda: {"query": [], "ingest": []})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def heard(self, what: str, *, wrong: str = "") -> None:
        """what: a status with its code, or what happened to the connection. wrong: where it must not be, by whom."""
        with self._lock:
            self.answers[what] += 1
            if wrong:
                self.wrong[wrong] += 1

    def was_healthy(self, service: str, seconds: float) -> None:
        with self._lock:
            self.health[service].append(seconds)

    def summary(self) -> dict[str, Any]:
        with self._lock:
            health = {
                name: {"asked": len(times), "p50": _rounded(statistics.median(times)), "max": _rounded(max(times))}
                for name, times in self.health.items()
                if times
            }
            return {"answers": dict(self.answers.most_common()), "wrong": dict(self.wrong), "health": health}


@dataclass
class Answer:
    """status 0: there was none. text: the body, or what happened to the connection."""

    status: int
    text: str

    @property
    def value(self) -> Any:
        """Its JSON; {} where it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return {}

    @property
    def code(self) -> str:
        value = self.value
        return str(value.get("code", "")) if isinstance(value, dict) else ""

    @property
    def message(self) -> str:
        value = self.value
        return str(value.get("message", "") if isinstance(value, dict) else self.text)[:300]

    @property
    def named(self) -> str:
        return " ".join(filter(None, (str(self.status), self.code))) if self.status else self.text


class Asker:
    """Asks for one client. `told`: where its answers are counted now; `calm`: nothing is wrong around the services;
    `breaking`: what goes wrong may break connections."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.told = Told()
        self.calm, self.breaking = True, False
        self._pool = urllib3.PoolManager(retries=False, timeout=_SECONDS, maxsize=8)

    def ask(self, service: str, method: str, path: str, *, right: Collection[int] = (), **rest: Any) -> Answer:
        """right: statuses that are no defect here, whatever holds. rest: as urllib3 takes it (json, fields)."""
        if "fields" in rest:
            rest["headers"] = _FORM
        answer = self._asked(f"{self.stage.address(service)}{path}", method, rest)
        self._count(f"{method} {path.partition('?')[0]}", answer, right)
        return answer

    def events(self, service: str, method: str, path: str, seconds: float, **rest: Any) -> Iterator[tuple[str, Any]]:
        """The events of a stream, (name, value), for so long; none where the answer is no stream."""
        name = f"{method} {path} (stream)"
        ended = time.monotonic() + seconds
        headers = {"Accept": "text/event-stream"}
        try:
            answer = self._pool.request(
                method, f"{self.stage.address(service)}{path}", headers=headers, preload_content=False, **rest
            )
        except urllib3.exceptions.HTTPError as error:
            self._count(name, Answer(0, type(error).__name__))
            return
        try:
            if answer.status != 200:
                self._count(name, Answer(answer.status, answer.read().decode("utf-8", "replace")))
                return
            event = ""
            for line in _lines(answer, ended):
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    value = json.loads(line.removeprefix("data: "))
                    if event == "error":
                        status = 500 if value["code"] == "internal_error" else 503
                        self._count(name, Answer(status, line.removeprefix("data: ")))
                    yield event, value
            self.told.heard("200")
        except urllib3.exceptions.HTTPError as error:
            self._count(name, Answer(0, type(error).__name__))
        finally:
            answer.close()

    def metrics(self, service: str) -> Answer:
        answer = self._asked(f"{self.stage.admin(service)}/metrics", "GET", {})
        self._count("GET /metrics", answer)
        return answer

    def close(self) -> None:
        self._pool.clear()

    def _asked(self, url: str, method: str, rest: dict[str, Any]) -> Answer:
        try:
            answer = self._pool.request(method, url, **rest)
        except urllib3.exceptions.HTTPError as error:
            return Answer(0, type(error).__name__)
        return Answer(answer.status, answer.data.decode("utf-8", "replace"))

    def _count(self, what: str, answer: Answer, right: Collection[int] = ()) -> None:
        is_right = answer.status in right or judged(answer, calm=self.calm, breaking=self.breaking)
        wrong = "" if is_right else f"{_JOB.sub('/jobs/<job>', what)}: {answer.named}: {answer.message}"
        self.told.heard(answer.named, wrong=wrong)


def judged(answer: Answer, *, calm: bool, breaking: bool) -> bool:
    """Whether a service may answer so. calm, breaking: see Asker."""
    if answer.status == 0:
        return breaking
    return 200 <= answer.status < 300 or (not calm and answer.status in IN_TROUBLE)


def _lines(answer: urllib3.BaseHTTPResponse, ended: float) -> Iterator[str]:
    """The lines of a body as they come, until it ends or it is late."""
    rest = b""
    for part in answer.stream(4096):
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
        if time.monotonic() > ended:
            return


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
