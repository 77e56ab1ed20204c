"""`python -m tests.ingest_service_child MARKER`: the ingest service with the tests' encoder, set by the environment.

Its first process that has written for the third time makes the file MARKER and kills itself, as an out-of-memory killer
would. It says its address on standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from dar_ingest.serving import made

from dar_search.fault_points import set_hook
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import load_settings
from tests.grid_encoder import GridEncoder


def make() -> Served:
    marker = Path(sys.argv[1])
    written = 0

    def hook(name: str) -> None:
        nonlocal written
        written += name == "written"
        if written == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    set_hook(hook)
    return made(load_settings(), encoder=GridEncoder())


if __name__ == "__main__":
    run_service(
        make,
        Listening("127.0.0.1", 0, "127.0.0.1", 0, threads=4),
        load_settings().service,
        on_ready=lambda address: print(address, flush=True),
    )
