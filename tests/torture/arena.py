"""A job over real pictures, workers that are killed and stopped at it, and what must hold at the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dar_search.ingestion.jobs import fault_points
from dar_search.ingestion.jobs.data import Job, JobSpec
from dar_search.ingestion.sources.locations import record_id
from tests.grid_encoder import GridEncoder
from tests.pictures import encoded, scene
from tests.torture.places import Place

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 1.5
BAD = 3


def colours(number: int) -> tuple[tuple[int, int, int], ...]:
    """Four colours that tell a picture from every other."""
    chance = random.Random(number)
    return tuple((chance.randrange(256), chance.randrange(256), chance.randrange(256)) for _ in range(4))


class Arena:
    """A folder of pictures (of which BAD are none), a store, a ledger, and one job.

    Args:
        folder: a new one.
        pictures: how many good ones.
        plant: the fault that workers have, one of plants.PLANTS.
        cluster: addresses of the cluster that has the index and the ledger; "" is SQLite.
        replicas: see `places.Place`.
    """

    def __init__(
        self, folder: Path, pictures: int, *, plant: str | None = None, cluster: str = "", replicas: int = 0
    ) -> None:
        self.folder = folder
        self.pictures = pictures
        self.plant = plant
        self.source = folder / "photos"
        self.source.mkdir(parents=True)
        self.paint(0)
        for number in range(BAD):
            (self.source / f"{number * 7:05}-bad.jpg").write_bytes(b"no picture")
        name = f"torture-{uuid.uuid4().hex[:10]}" if cluster else "photos"
        self.place = Place(folder, cluster, name, replicas)
        self.index, self.ledger = self.place.index(), self.place.ledger()
        self.job = self.ledger.create(JobSpec(name, str(self.source))).id
        self.killed = 0

    def paint(self, edition: int) -> None:
        """All pictures, new; each is replaced at once, as a careful program does."""
        for number in range(self.pictures):
            path = self.source / f"{number:05}.png"
            new = path.with_suffix(".new")
            new.write_bytes(encoded(scene(colours(number + edition * 1_000_000), 16, 12), "PNG"))  # type: ignore[arg-type]
            new.replace(path)

    @contextlib.contextmanager
    def worker(self, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A worker; killed at the end if it still runs."""
        given = {"lease_seconds": LEASE_SECONDS, "plant": self.plant} | options
        given |= {"cluster": self.place.cluster, "name": self.place.name, "replicas": self.place.replicas}
        command = [sys.executable, "-m", "tests.torture.worker", str(self.folder), json.dumps(given)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
                    process.communicate()

    @staticmethod
    def wait_until_said(process: subprocess.Popen[str], what: str) -> None:
        assert process.stdout is not None
        assert any(line == f"{what}\n" for line in process.stdout), f"it ended and never said {what}"

    def killed_at(self, point: str, count: int) -> bool:
        """A worker that is killed when it comes to a point -> whether it was; else it ended the job."""
        with self.worker(at=point, count=count, signal=int(signal.SIGKILL)) as process:
            out, _ = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL), out
        self.killed += process.returncode != 0
        return process.returncode != 0

    def killed_at_each_point(self, chance: random.Random) -> None:
        """One worker after another, each at another point, early in its life."""
        for point in fault_points.NAMES:
            if point != "ending":
                self.killed_at(point, 1 if point in ("listed", "claimed") else chance.randint(1, 2))
        self.killed_at("ending", 1)

    @property
    def was_killed_at_each_point(self) -> bool:
        """Where not, a worker ended the job before it came to its point, and this tested less."""
        return self.killed == len(fault_points.NAMES)

    def killed_after(self, steps: int) -> bool:
        """A worker that is killed once it has said so many things."""
        with self.worker() as process:
            assert process.stdout is not None
            for _ in range(steps):
                if not process.stdout.readline():
                    break
            process.kill()
            process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL)
        self.killed += process.returncode != 0
        return process.returncode != 0

    def finish(self, seconds: float = 120.0) -> str:
        """A worker that is let alone -> what it said; ended where the job does not end in this time."""
        with self.worker() as process:
            try:
                out, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                return ""
        assert process.returncode == 0, out
        return out

    def found(self) -> Job:
        return self.ledger.job(self.job)

    def problems(self) -> list[str]:
        """What does not hold: nothing may be lost, doubled, stale, or failed without a reason."""
        job = self.found()
        problems = []
        if job.state != "done":
            problems.append(f"the job is {job.state}")
        total = self.pictures + BAD
        if job.items != total or job.settled != total:
            problems.append(f"{job.items} items listed and {job.settled} settled, of {total}")
        if dict(job.codes) != {"not_a_picture": BAD}:
            problems.append(f"failures: {dict(job.codes)}")
        self.index.refresh()
        ids = list(self.index.ids())
        if not len(ids) == len(set(ids)) == self.index.count():
            problems.append(f"{len(ids)} ids, {len(set(ids))} of them different, {self.index.count()} counted")
        records = self.index.get(ids)
        expected = {record_id(self.path(number).as_uri()): number for number in range(self.pictures)}
        if lost := expected.keys() - records.keys():
            problems.append(f"{len(lost)} lost")
        if strange := records.keys() - expected.keys():
            problems.append(f"{len(strange)} that nobody asked for")
        encoder = GridEncoder()
        now = encoder.encode_images([self.picture(number) for number in range(self.pictures)])
        stale = [
            id for id, number in expected.items() if id in records and not same(records[id].embedding, now[number])
        ]
        if stale:
            problems.append(f"{len(stale)} are not what the file is now")
        return problems

    def path(self, number: int) -> Path:
        return (self.source / f"{number:05}.png").resolve()

    def picture(self, number: int) -> Any:
        from PIL import Image

        with Image.open(self.path(number)) as image:
            return image.convert("RGB")

    def close(self) -> None:
        self.ledger.close()
        self.place.remove()


def same(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, atol=1e-5))


def late_writer(arena: Arena) -> None:
    """A worker stops before its first write; the pictures change and another does its work; then it goes on."""
    with arena.worker(at="encoded", count=1, signal=int(signal.SIGSTOP)) as late:
        wait_stopped(late)
        arena.paint(1)
        assert arena.finish(60.0), "the other one did not end the job"
        late.send_signal(signal.SIGCONT)
        late.communicate(timeout=60)


def wait_stopped(process: subprocess.Popen[str]) -> None:
    """Until the system says that the process is stopped."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"it ended with {status}"


def seeded() -> random.Random:
    """Chance, with its seed printed."""
    seed = int(os.environ.get("DAR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"seed {seed} (DAR_TEST_SEED={seed} repeats it)", time.strftime("%H:%M:%S"))
    return random.Random(seed)
