"""The ingest service, killed while it works on jobs and takes single pictures, and what must hold at the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from dar_search.ingestion.jobs import fault_points
from dar_search.ingestion.sources.locations import record_id
from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.grid_encoder import GridEncoder
from tests.ingest_child import INDEX, open_index
from tests.pictures import encoded, scene
from tests.torture.arena import LEASE_SECONDS, ROOT, colours, same

IDS = 12
#: What fails of each album.
BAD = {"not_a_picture": 1}
_GONE = (urllib3.exceptions.HTTPError, OSError)
#: Pictures sent singly are other ones than those in albums.
_SENT = 10_000_000


def picture(number: int) -> bytes:
    return encoded(scene(colours(number), 16, 12), "PNG")  # type: ignore[arg-type]


class ServiceArena:
    """A service over SQLite whose lives are short. Each life is given an album, a folder of pictures, as a new job,
    and is sent pictures one by one, again and again under the same few ids; some of them are deleted.

    Attributes:
        allowed: id -> what the index may have under it: the numbers of pictures, None for nothing. An answer leaves
            one of them; what was asked and never answered may have been done or not.
        answered: how many single pictures and deletions were acknowledged.
        killed: how many lives ended so.
    """

    def __init__(self, folder: Path, pictures: int) -> None:
        """pictures: of each album; one more is none."""
        self.folder, self.pictures = folder, pictures
        self.albums: list[Path] = []
        self.jobs: dict[Path, str] = {}
        self.allowed: dict[str, set[int | None]] = {f"sent-{number}": {None} for number in range(IDS)}
        self.answered = self.killed = self._sent = 0
        folder.mkdir(parents=True)
        open_index(self._store)

    @property
    def _store(self) -> Path:
        return self.folder / "store.db"

    def die_often(self, chance: random.Random, at_random: int) -> int:
        """A life that ends at each named point, and so many that end at random, in any order -> how many there were."""
        lives = [*fault_points.NAMES, *[None] * at_random]
        chance.shuffle(lives)
        for point in lives:
            self.life(chance, point)
        return len(lives)

    def life(self, chance: random.Random, point: str | None = None) -> None:
        """One life of the service, ended when it reaches a point of its work, or after a while of up to 1.5 seconds."""
        with self._service({"at": point, "count": 1} if point else {}) as (process, address):
            stop = threading.Event()
            sender = threading.Thread(target=self._send, args=(address, stop, random.Random(chance.random())))
            try:
                self._new_job(address)
                sender.start()
                if point is None:
                    time.sleep(chance.uniform(0, 1.5))
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)  # a point is reached sooner: there is a new job
            except _GONE:  # killed while it made the job
                process.wait(60)
            finally:
                stop.set()
                if sender.ident is not None:
                    sender.join()
            self.killed += process.returncode == -signal.SIGKILL

    def finish(self, seconds: float) -> None:
        """A life in which it is let alone until all jobs are done, or for so long."""
        with self._service({}) as (process, address):
            self._new_job(address)
            ledger = self._ledger()
            ended = time.monotonic() + seconds
            while time.monotonic() < ended and ledger.jobs(running=True, limit=1_000):
                time.sleep(0.1)
            ledger.close()
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def problems(self) -> list[str]:
        """What does not hold: nothing may be lost, doubled, or failed without a reason."""
        problems = []
        ledger = self._ledger()
        jobs = [ledger.job(job.id) for job in ledger.jobs(limit=1_000)]
        ledger.close()
        if lost := set(self.jobs.values()) - {job.id for job in jobs}:
            problems.append(f"{len(lost)} jobs were acknowledged and are not there")
        for job in jobs:
            total = self.pictures + sum(BAD.values())
            if (job.state, job.items, job.settled, dict(job.codes)) != ("done", total, total, BAD):
                problems.append(f"{job.spec.source}: {job.state}, {job.settled} of {job.items}, {dict(job.codes)}")
        index = open_index(self._store)
        ids = list(index.ids())
        if not len(ids) == len(set(ids)) == index.count():
            problems.append(f"{len(ids)} ids, {len(set(ids))} of them different, {index.count()} counted")
        records = index.get(ids)
        expected: dict[str, set[int | None]] = dict(self.allowed)
        for album, folder in enumerate(self.albums):
            for number in range(self.pictures):
                path = (folder / f"{number:04}.png").resolve()
                expected[record_id(path.as_uri())] = {album * self.pictures + number}
        problems += [f"{id} is there, and nobody asked for it" for id in records.keys() - expected.keys()]
        encoder = GridEncoder()
        for id, numbers in expected.items():
            if id not in records:
                if None not in numbers:
                    problems.append(f"{id} is lost")
            elif not any(
                same(records[id].embedding, encoder.encode_images([scene(colours(number), 16, 12)])[0])  # type: ignore[arg-type]
                for number in numbers
                if number is not None
            ):
                problems.append(f"{id} is not what was acknowledged last")
        return problems

    def _ledger(self) -> SQLiteLedger:
        return SQLiteLedger(self._store)

    def _new_job(self, address: str) -> None:
        """A job for a new album, and again for each that was asked for in an earlier life and never acknowledged: if
        that one was made after all, its album is done twice, and must be in the index once."""
        folder = self.folder / "albums" / f"{len(self.albums):04}"
        folder.mkdir(parents=True)
        for number in range(self.pictures):
            (folder / f"{number:04}.png").write_bytes(picture(len(self.albums) * self.pictures + number))
        (folder / "bad.jpg").write_bytes(b"no picture")
        self.albums.append(folder)
        for album in self.albums:
            if album not in self.jobs:
                body = {"index": INDEX, "source": str(album)}
                answer = urllib3.request("POST", f"{address}/_dar/v1/jobs", json=body, retries=False, timeout=30)
                assert answer.status == 201, answer.data
                self.jobs[album] = answer.json()["id"]

    def _send(self, address: str, stop: threading.Event, chance: random.Random) -> None:
        """Pictures, and now and then a deletion, until nobody answers."""
        pool = urllib3.PoolManager(retries=False, timeout=30)
        while not stop.is_set():
            id = chance.choice(list(self.allowed))
            self._sent += 1
            number = None if chance.random() < 0.2 else _SENT + self._sent
            self.allowed[id] = self.allowed[id] | {number}
            try:
                if number is None:
                    answer = pool.request("DELETE", f"{address}/_dar/v1/images/{id}?index={INDEX}")
                else:
                    fields = {"index": INDEX, "id": id, "image": ("one.png", picture(number))}
                    answer = pool.request("POST", f"{address}/_dar/v1/images", fields=fields)
            except _GONE:
                return
            if answer.status == 200 and not (number is not None and answer.json()["failed"]):
                self.allowed[id] = {number}
                self.answered += 1

    @contextlib.contextmanager
    def _service(self, kill: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], str]]:
        variables = {
            "DAR_STORE": f"sqlite:{self._store}",
            "DAR_INGEST__SOURCES": json.dumps([str(self.folder)]),
            "DAR_INGEST__BEAT_SECONDS": "0.2",
            "DAR_INGEST__LEASE_SECONDS": str(LEASE_SECONDS),
            "DAR_INGEST__RESEND_SECONDS": "0.5",
            "DAR_INGEST__SWEEP_SECONDS": "0.2",
            "DAR_INGEST__DECODERS": "1",
        }
        options = kill | {"whole": True, "marker": str(self.folder / f"killed-{len(self.albums)}")}
        command = [sys.executable, "-m", "tests.ingest_service_child", json.dumps(options)]
        with (
            (self.folder / "service.log").open("ab") as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | variables,
                start_new_session=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                address = process.stdout.readline().strip()
                assert address, (self.folder / "service.log").read_text()[-2000:]
                yield process, address
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
