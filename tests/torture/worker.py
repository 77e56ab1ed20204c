"""`python -m tests.torture.worker FOLDER OPTIONS`: an ingest worker with its sweeper, for tests that kill it.

FOLDER holds the index and the ledger, where no cluster does. It works until there is no job left to work on, and says
what it does on standard output: "claimed", "decoded", ... OPTIONS is a JSON object:

    at, count, signal   send itself a signal when it reaches the point `at` for the `count`-th time; STAY: this thread
                        stays there, the others go on; SIGSTOP: as soon as none of its threads has SQLite's lock
    plant               one of plants.PLANTS
    lease_seconds       after which the sweeper takes a worker for dead
    clock               seconds by which this process's clock is wrong
    cluster, name, replicas   see places.Place
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dar_search.errors import StoreError
from dar_search.ingestion.jobs.fault_points import set_hook
from dar_search.ingestion.jobs.sweeping import Sweeper
from dar_search.ingestion.pipeline.working import Worker
from dar_search.ingestion.pipeline.writing import Writer
from tests.grid_encoder import GridEncoder
from tests.torture import plants
from tests.torture.places import Place

BATCH, SHARD = 8, 24
STAY = 0


def say(what: str) -> None:
    """A line at once: what several threads print would run into each other, since the line's end is written apart."""
    os.write(sys.stdout.fileno(), f"{what}\n".encode())


def arm(options: dict[str, Any], place: Place) -> None:
    reached: Counter[str] = Counter()

    def hook(name: str) -> None:
        say(name)
        reached[name] += 1
        if name == options.get("at") and reached[name] == options["count"]:
            if options["signal"] == STAY:
                threading.Event().wait()
            if options["signal"] == signal.SIGSTOP:
                place.wait_until_unlocked()
            os.kill(os.getpid(), options["signal"])

    set_hook(hook)


def main() -> None:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    plant = options.get("plant")
    true_time, wrong = time.time, options.get("clock", 0)
    time.time = lambda: true_time() + wrong  # type: ignore[assignment]
    place = Place(folder, options["cluster"], options["name"], options["replicas"])
    arm(options, place)
    ledger, index = place.ledger(plant), place.index()
    writers = {plants.EARLY: plants.EarlyWriter, plants.CARELESS: plants.CarelessWriter}
    encoder = GridEncoder()
    worker = Worker(
        ledger,
        lambda job: index,
        encoder,
        batch_size=BATCH,
        processes=1,
        beat_seconds=0.2,
        make_writer=writers.get(plant, Writer),
        shard_size=SHARD,
    )
    sweeper = (plants.PatientSweeper if plant == plants.PATIENT else Sweeper)(
        ledger, worker.work, lease_seconds=options["lease_seconds"], resend_seconds=0.0
    )
    while True:
        try:
            if not sweeper.sweep():
                break
        except StoreError as error:
            say(f"trouble: {error}")
        time.sleep(0.1)
    say(json.dumps({"encoded": encoder.pictures}))


if __name__ == "__main__":
    main()
