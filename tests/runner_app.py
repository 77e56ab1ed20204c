"""A service of a few lines, served by the real runner: what the runner's tests start as a process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from dar_search.errors import SettingsError
from dar_search.serving import wsgi
from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings.service import ServiceSettings


def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
    """/slow waits for a line on standard input; everything else answers at once."""
    path = environ["PATH_INFO"]
    environ[wsgi.ROUTE] = path if path in ("/slow", "/pid") else "other"
    if path == "/slow":
        say("slow")
        sys.stdin.readline()
    return wsgi.answer_json(start_response, 200, {"pid": os.getpid()})


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
    service = ServiceSettings(graceful_seconds=grace)
    listening = Listening("127.0.0.1", port, "127.0.0.1", admin_port, threads=4)
    try:
        run_service(make, listening, service, on_ready=lambda address: say("ready", address=address))
    except SettingsError as error:
        say("refused", message=error.message)
        sys.exit(2)
