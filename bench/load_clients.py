"""The clients of bench/load.py, by Locust as a library (its gevent wants a process of its own):

    python bench/load_clients.py ADDRESS INDEX CLIENTS SECONDS

Each client talks: round after round of a conversation, mostly searches, some of them streamed, some questions,
rewrites and looks at health, with no pause between them. A client that gets a 429 waits as long as Retry-After says,
and asks again. Prints one JSON object with what came of it.
"""

# ruff: noqa: I001  # locust patches the standard library for gevent, so it comes first
from __future__ import annotations

from locust import FastHttpUser, constant, task
from locust.env import Environment

import json
import random
import sys
import time
from collections import Counter, defaultdict
from typing import Any

import gevent  # type: ignore[import-untyped]
import numpy as np
from vocabulary import words

ROUNDS = 10
CONVERSATIONS = 50  # so few that all imaginations are in the cache soon, and memory is comparable after that
SHARES = {"search": 70, "stream": 10, "question": 10, "rewrite": 5, "health": 5}
BUSY = ("overloaded", "model_busy", "rate_limited")

outcomes: dict[str, Counter[str]] = defaultdict(Counter)
took_ms: dict[str, list[float]] = defaultdict(list)
undocumented: Counter[str] = Counter()
degraded: Counter[str] = Counter()


def conversation(number: int) -> tuple[str, list[dict[str, str]]]:
    chance = np.random.default_rng(number)
    caption = " ".join(words(chance, 3))
    turns = [{"question": "what else is there?", "answer": f"a {word}"} for word in words(chance, ROUNDS)]
    return caption, turns


class Person(FastHttpUser):
    """Talks until the time is over."""

    wait_time = constant(0)
    network_timeout = 60.0
    connection_timeout = 60.0
    index = ""

    def on_start(self) -> None:
        self.round = 0
        self.talk = conversation(random.randrange(CONVERSATIONS))

    @task
    def turn(self) -> None:
        (kind,) = random.choices(list(SHARES), list(SHARES.values()))
        again = self.ask(kind)
        while again is not None:
            gevent.sleep(again)
            again = self.ask(kind)
        if kind in ("search", "stream"):
            self.round += 1
            if self.round > ROUNDS:
                self.on_start()

    def ask(self, kind: str) -> float | None:
        """Seconds after which to ask again, where the service is busy."""
        caption, turns = self.talk
        body = {"index": self.index, "dialogue": {"caption": caption, "turns": turns[: self.round]}}
        method, path = ("GET", "/_dar/health") if kind == "health" else ("POST", f"/_dar/v1/{kind}")
        options: dict[str, Any] = {} if kind == "health" else {"json": body}
        if kind == "stream":
            path, options["headers"] = "/_dar/v1/search", {"Accept": "text/event-stream"}
        with self.client.request(method, path, name=kind, catch_response=True, **options) as response:
            response.success()  # what an error is, is counted here
            status, exception = response.status_code, response.request_meta["exception"]
            # An error status is an exception too; with none, or with 200, it is a connection that broke.
            failed = type(exception).__name__ if exception is not None and status in (0, 200) else ""
            content = b"" if failed else response.content or b""
            after = (response.headers or {}).get("Retry-After", "")
            spent = response.request_meta["response_time"]
        if status == 200:
            took_ms[kind].append(spent)
            problem = failed or wrong_with(kind, content)
            outcomes[kind]["200" if not problem else "broken"] += 1
            if problem:
                undocumented[f"{kind}: {problem}"] += 1
            return None
        outcomes[kind][str(status)] += 1
        code = problem_code(content)
        if status == 429 and after.isdecimal() and code in BUSY:
            return float(after)
        undocumented[f"{kind}: {status} {failed or code}, Retry-After {after!r}"] += 1
        return None


def wrong_with(kind: str, content: bytes) -> str:
    """What an answer lacks, "" for nothing; counts degraded legs."""
    try:
        if kind == "stream":
            events = [part.split(b"\ndata: ", 1) for part in content.strip().split(b"\n\n")]
            if [name for name, _ in events if name not in (b"event: text", b"event: imagined")]:
                return f"ended with {events[-1][0].decode()} {problem_code(events[-1][1])}"
            answer = json.loads(events[-1][1])
        else:
            answer = json.loads(content)
        if kind == "stream" and not answer["final"]:
            return "ended before the last answer"
        for name, leg in answer.get("legs", {}).items():
            if leg["status"] not in ("ok", "off"):
                degraded[f"{name} {leg['status']}"] += 1
        lacking = {"search": "hits", "stream": "hits", "question": "question", "rewrite": "request", "health": "alive"}
        return "" if answer[lacking[kind]] else f"no {lacking[kind]}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable ({type(error).__name__})"


def problem_code(content: bytes) -> str:
    try:
        return str(json.loads(content)["code"])
    except (ValueError, KeyError, TypeError):
        return f"no problem but {content[:80]!r}"


def main(address: str, index: str, clients: int, seconds: float) -> None:
    Person.index = index
    broken: list[BaseException] = []
    environment = Environment(user_classes=[Person], host=address, stop_timeout=60)

    def defect(exception: BaseException, **_: Any) -> None:
        broken.append(exception)
        undocumented[f"a client broke: {type(exception).__name__}: {exception}"] += 1

    environment.events.user_error.add_listener(defect)  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()
    runner.start(clients, spawn_rate=clients)
    until = time.monotonic() + seconds
    while time.monotonic() < until and not broken:
        gevent.sleep(0.2)
    most = runner.user_count
    runner.quit()
    print(
        json.dumps(
            {"clients": most, "outcomes": outcomes, "took_ms": took_ms, "undocumented": undocumented,
             "degraded": degraded}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
