"""Mixed load at a steady, modest rate: some clients, each of which does one kind of thing again and again."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import urllib3

from tests.torture.service_arena import picture
from tests.torture.soak.asking import V1, Asker, Told
from tests.torture.soak.stage import INDEX, SERVICES, Stage

_PATIENCE = 30.0
_JOB_SECONDS = 15.0
_IDS = 12
_ENDED = (404, 409)  # a job may end, or be lost with its ledger, just before it is asked for
_SAID = (
    ("a red balloon", ()),
    ("a house at the beach", ("what colour is it? blue", "how is the sky? sunny")),
    ("two kites", ("where are they? over a meadow",)),
    ("a yellow fish", ("is it large? yes, a large one", "what else is there? a star", "where? in the sea")),
)
Client = Callable[[Asker], Iterator[None]]


class Load:
    """Clients in threads of their own, from `start` to `close`; between `pause` and `resume` they stand still."""

    def __init__(self, stage: Stage) -> None:
        self._askers: list[Asker] = []
        self._ended, self._going = threading.Event(), threading.Event()
        self._busy = threading.Semaphore(0)
        clients: dict[str, tuple[Client, float]] = {
            "uploads": (_uploads, 0.6),
            "jobs": (_jobs, 1.0),
            "searches": (_searches, 0.5),
            "rewriting": (_rewriting, 0.7),
            "looking": (_looking, 1.0),
        }
        self._idle = {name: threading.Event() for name in (*clients, *SERVICES)}
        self._threads = []
        for name, (client, pause) in clients.items():
            asker = Asker(stage)
            self._askers.append(asker)
            self._threads.append(threading.Thread(target=self._repeat, args=(name, client(asker), pause), name=name))
        for service in SERVICES:
            self._threads.append(threading.Thread(target=self._ask_health, args=(stage, service), name=service))
        self._told = Told()

    def start(self) -> None:
        self._going.set()
        for thread in self._threads:
            thread.start()

    def phase(self, *, calm: bool, breaking: bool = False) -> Told:
        """From now on what is said is counted here. See Asker."""
        self._told = Told()
        for asker in self._askers:
            asker.calm, asker.breaking, asker.told = calm, breaking, self._told
        return self._told

    def pause(self, seconds: float) -> bool:
        """Returns when no client has a request under way any more; False after this time."""
        self._going.clear()
        ended = time.monotonic() + seconds
        return all(idle.wait(max(0.0, ended - time.monotonic())) for idle in self._idle.values())

    def resume(self) -> None:
        self._going.set()

    def close(self) -> None:
        self._ended.set()
        self._going.set()
        for thread in self._threads:
            thread.join()
        for asker in self._askers:
            asker.close()

    def _repeat(self, name: str, steps: Iterator[None], pause: float) -> None:
        while self._may_go_on(name):
            next(steps)
            self._ended.wait(pause)

    def _ask_health(self, stage: Stage, service: str) -> None:
        """Each time on a connection of its own, as a supervisor does."""
        url = f"{stage.address(service)}/_dar/health"
        while self._may_go_on(service):
            began = time.monotonic()
            try:
                with urllib3.PoolManager(retries=False, timeout=_PATIENCE) as pool:
                    healthy = pool.request("GET", url).status == 200
            except urllib3.exceptions.HTTPError:
                healthy = False
            # No answer counts as one that comes after all patience.
            self._told.was_healthy(service, time.monotonic() - began if healthy else 2 * _PATIENCE)
            self._ended.wait(0.5)

    def _may_go_on(self, name: str) -> bool:
        if not self._going.is_set():
            self._idle[name].set()
            self._going.wait()
            self._idle[name].clear()
        return not self._ended.is_set()


def _uploads(asker: Asker) -> Iterator[None]:
    """Pictures one by one under few ids, some deletions, and now and then a file that is no picture."""
    chance = random.Random(1)
    for number in itertools.count():
        id = f"sent-{chance.randrange(_IDS)}"
        if number % 4 == 3:
            asker.ask("ingest", "DELETE", f"{V1}/images/{id}?index={INDEX}")
        else:
            data = b"no picture" if number % 9 == 5 else picture(50_000 + number)
            fields = {"index": INDEX, "id": id, "caption": f"picture {number}", "image": ("one.png", data)}
            asker.ask("ingest", "POST", f"{V1}/images", fields=fields)
        yield


def _jobs(asker: Asker) -> Iterator[None]:
    """A small folder after another: followed, paused and resumed, cancelled, done again, forgotten."""
    for number in itertools.count():
        body = {"index": INDEX, "source": str(asker.stage.album(number)), "prune": False}
        made = asker.ask("ingest", "POST", f"{V1}/jobs", json=body)
        job = made.value.get("id") if made.status == 201 else None
        yield
        if job is None:
            continue
        if number % 3 == 1:
            asker.ask("ingest", "POST", f"{V1}/jobs/{job}/pause", right=_ENDED)
            yield
            asker.ask("ingest", "POST", f"{V1}/jobs/{job}/resume", right=_ENDED)
            yield
        state = _followed(asker, job)
        yield
        asker.ask("ingest", "GET", f"{V1}/jobs/{job}")
        asker.ask("ingest", "GET", f"{V1}/jobs/{job}/failures")
        if state == "done":
            asker.ask("ingest", "POST", f"{V1}/jobs/{job}/retry", json={})
            yield
        forget(asker, job)
        yield


def _followed(asker: Asker, job: str) -> str:
    """The job's last state that was seen."""
    state = ""
    for name, value in asker.events("ingest", "GET", f"{V1}/jobs/{job}", _JOB_SECONDS):
        state = value["state"] if name == "progress" else state
    return state


def forget(asker: Asker, job: str) -> None:
    """Cancelled where it goes on, and forgotten."""
    asker.ask("ingest", "POST", f"{V1}/jobs/{job}/cancel", right=_ENDED)
    asker.ask("ingest", "DELETE", f"{V1}/jobs/{job}", right=_ENDED)


def dialogue(number: int) -> dict[str, Any]:
    caption, turns = _SAID[number % len(_SAID)]
    split = [turn.partition("? ") for turn in turns]
    return {
        "caption": caption,
        "turns": [{"question": f"{question}?", "answer": answer} for question, _, answer in split],
    }


def _searches(asker: Asker) -> Iterator[None]:
    for number in itertools.count():
        body: dict[str, Any] = {"index": INDEX, "dialogue": dialogue(number), "size": 5}
        if number % 4 == 1:
            body |= {"offset": 5, "fields": ["caption", "thumbnail"]}
        if number % 4 == 2:
            body |= {"imagine": {"count": 2, "seed": number % 50}, "explain": True}
        if number % 4 == 3:
            body |= {"keyword": False, "exact": True, "filter": {"year": {"gte": 2000}}}
        asker.ask("query", "POST", f"{V1}/search", json=body)
        yield
        if number % 3 == 0:
            list(
                asker.events("query", "POST", f"{V1}/search", 40.0, json={"index": INDEX, "dialogue": dialogue(number)})
            )
            yield


def _rewriting(asker: Asker) -> Iterator[None]:
    for number in itertools.count():
        body = {"index": INDEX, "dialogue": dialogue(number)}
        answer = asker.ask("query", "POST", f"{V1}/rewrite", json=body)
        yield
        asker.ask("query", "POST", f"{V1}/question", json=body | {"candidates": 20})
        yield
        chosen = {"search": answer.value.get("request_id", "none"), "hit": "sent-1"}
        asker.ask("query", "POST", f"{V1}/choice", json=chosen)
        yield


def _looking(asker: Asker) -> Iterator[None]:
    """As people and machines that watch do. Not ready is no defect here: `routes` looks at it."""
    for number in itertools.count():
        service = SERVICES[number % 2]
        asker.metrics(service)
        asker.ask(service, "GET", "/_dar/openapi/openapi.json")
        asker.ask("ingest", "GET", f"{V1}/jobs?running={'true' if number % 2 else 'false'}")
        asker.ask(service, "GET", "/_dar/ready")
        yield
