"""`python -m tests.celery_child [hold|leave] [POINT]`: a real Celery worker with the tests' encoder, set by the
environment.

At POINT, such as "recorded", it is told to stop (SIGTERM); with "hold" it waits there for a line on standard input
instead, once, and with "leave" something in it ends the program as if all were done. It says "claimed", "recorded", ...
on standard output as it works, and at the end how many pictures it encoded.
"""

from __future__ import annotations

import os
import signal
import sys

from dar_ingest.runtime import Runtime
from dar_ingest.tasks import run_worker

from dar_search.ingestion.jobs.fault_points import set_hook
from dar_search.serving.logs import configure_logs
from dar_search.settings import load_settings
from tests.grid_encoder import GridEncoder


def say(what: str) -> None:
    reached = what == sys.argv[-1]
    if reached:  # once: the argument is taken away
        sys.argv.pop()
    how = sys.argv[-1] if reached else ""
    if reached and how not in ("hold", "leave"):
        os.kill(os.getpid(), signal.SIGTERM)
    sys.stdout.write(what + "\n")
    sys.stdout.flush()
    if how == "hold":
        sys.stdin.readline()
    if how == "leave":
        sys.exit(0)


def main() -> None:
    settings = load_settings()
    configure_logs(settings.service)
    set_hook(say)
    encoder = GridEncoder()
    runtime = Runtime(settings, encoder=encoder)
    try:
        run_worker(runtime)
    finally:
        runtime.close()
    say(f"encoded {encoder.pictures}")


if __name__ == "__main__":
    main()
