"""`python -m tests.ingest_service_child OPTIONS`: the ingest service with the tests' encoder, set by the environment.

It says its address on standard output. OPTIONS is a JSON object:

    at, count   it is killed, as by an out-of-memory killer, when it reaches the point `at` for the `count`-th time
    whole       true: all its processes, as where a machine stops; false: only the one that works
    marker      a file that is made right before; where it is there, nobody is killed
    admin_port  of its metrics; none: none
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from dar_ingest.serving import made

from dar_search.ingestion.jobs.fault_points import set_hook
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import load_settings
from tests.grid_encoder import GridEncoder


def make() -> Served:
    options = json.loads(sys.argv[1])
    marker = Path(options["marker"])
    reached: Counter[str] = Counter()

    def hook(name: str) -> None:
        reached[name] += 1
        if name == options.get("at") and reached[name] == options["count"] and not marker.exists():
            marker.touch()
            if options["whole"]:
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    set_hook(hook)
    return made(load_settings(), encoder=GridEncoder())


if __name__ == "__main__":
    run_service(
        make,
        Listening("127.0.0.1", 0, "127.0.0.1", json.loads(sys.argv[1]).get("admin_port", 0), threads=4),
        load_settings().service,
        on_ready=lambda address: print(address, flush=True),
    )
