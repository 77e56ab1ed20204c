"""A service of a few lines, served by the real runner: what the runner's tests start as a process."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from dar_search.errors import SettingsError
from dar_search.serving import wsgi
from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import load_settings

_opened: list[int] = []


def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    """/slow waits for a line on standard input; /body reads one; /large answers 32 MB; /events never ends; /broken
    raises after its head; /defect raises, and so does what it leaves behind; /files opens all that it may; everything
    else answers at once."""
    path = environ["PATH_INFO"]
    environ[wsgi.ROUTE] = path if path in ("/slow", "/pid", "/body", "/large", "/events", "/broken") else "other"
    if path == "/slow":
        say("slow")
        sys.stdin.readline()
    if path == "/body":
        return wsgi.answer_json(start_response, 200, {"bytes": len(environ["wsgi.input"].read())})
    if path == "/defect":
        _defect(environ["wsgi.input"].read().decode())
    if path == "/files":
        _opened.extend(_all_files())
    if path in ("/large", "/events", "/broken"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return {"/large": [b"x" * (32 << 20)], "/events": _without_end(), "/broken": _broken()}[path]
    return wsgi.answer_json(start_response, 200, {"pid": os.getpid()})


def _all_files() -> Iterator[int]:
    with suppress(OSError):
        while True:
            yield os.open(os.devnull, os.O_RDONLY)


def _without_end() -> Iterator[bytes]:
    while True:
        yield b"x" * 65_536


def _broken() -> Iterator[bytes]:
    yield b"begun"
    _defect("a canary")


class _Clinging:
    def __init__(self, said: str) -> None:
        self.said = said

    def __del__(self) -> None:
        raise ValueError(self.said)


def _defect(said: str) -> None:
    """Fails with what a caller said, in every way in which it could reach a log."""

    def end() -> None:
        raise ValueError(said)

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    _Clinging(said)
    logging.getLogger("dar_search.tests").warning("This lacks an argument: %s %s", said)
    logging.getLogger("urllib3.connectionpool").debug("Sent: %s", said)
    logging.getLogger("opensearch").debug("> %s", said)
    try:
        raise KeyError(said)
    except KeyError as error:
        raise ValueError(f"It does not fit: {said}") from error


def say(what: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
    sys.stdout.flush()


def make() -> Served:
    if "--broken" in sys.argv:
        raise SettingsError("The index is not there.", "Make it.")
    metrics = Metrics()
    wrapped = guarded(app, service, metrics, host="127.0.0.1", max_bytes=1_000)
    return Served(wrapped, metrics, lambda: say("closed"))


if __name__ == "__main__":
    port, admin_port, grace = (int(value) for value in sys.argv[1:4])
    # DAR_SERVICE__... in the environment; the rest is what the tests say.
    service = load_settings().service.model_copy(update={"graceful_seconds": grace})
    listening = Listening("127.0.0.1", port, "127.0.0.1", admin_port, threads=4)
    try:
        run_service(make, listening, service, on_ready=lambda address: say("ready", address=address))
    except SettingsError as error:
        say("refused", message=error.message)
        sys.exit(2)
