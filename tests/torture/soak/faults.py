"""The faults, each for some seconds, and everything that it took given back."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import urllib3

from tests.torture.soak.asking import V1, Asker
from tests.torture.soak.crowds import connected, request, send
from tests.torture.soak.load import forget
from tests.torture.soak.stage import DECODER, INDEX, LEDGER, MODEL, PARTS, SERVICES, Stage

IDLE, SLOW, UNREAD, FOLLOWERS, PAUSED = 300, 60, 24, 16, 16
_REST = 0.25


@dataclass(frozen=True)
class Fault:
    """
    Attributes:
        point: of the review that it is from: 8 the machine, 9 callers, 10 the store, 11 jobs.
        happen: lets it happen for so many seconds.
        breaking: connections of callers may break meanwhile, and health need not answer.
    """

    point: int
    happen: Callable[[Stage, float], None]
    breaking: bool = False


def descriptors(stage: Stage, seconds: float, *, part: str) -> None:
    """No process of the part can open anything more."""
    before: list[tuple[int, tuple[int, int]]] = []
    try:
        for process in stage.family(part):
            with contextlib.suppress(psutil.Error, ProcessLookupError, FileNotFoundError):
                limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (_lowest_free(process), limits[1]))
                before.append((process.pid, limits))
        time.sleep(seconds)
    finally:
        highest = max((limits for _, limits in before), default=(1024, 1024))
        for process in stage.family(part):  # those too that were started meanwhile
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, dict(before).get(process.pid, highest))


def decoders_cannot_start(stage: Stage, seconds: float) -> None:
    """The interpreter is not where it was, and the decoders that there are end."""
    away = stage.python.with_name("away")
    stage.python.rename(away)
    try:
        _killing(stage, seconds, DECODER)
    finally:
        away.rename(stage.python)


def _killing(stage: Stage, seconds: float, module: str) -> None:
    """Each process that runs this module, again and again."""
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        for part in PARTS:
            for process in stage.family(part, module):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(1.0)


def models_killed(stage: Stage, seconds: float) -> None:
    """Twice: what was started anew is killed too."""
    for _ in range(2):
        _killing(stage, 0.5, MODEL)
        time.sleep(seconds / 2)


def worker_killed(stage: Stage, seconds: float) -> None:
    for _ in range(2):
        stage.kill("worker")
        time.sleep(seconds / 2)


def slow_headers(stage: Stage, seconds: float) -> None:
    """A byte now and then."""
    text = request("/_dar/health")
    with _crowds(stage, SLOW) as crowds:
        ended = time.monotonic() + seconds
        for byte in text[:-1]:
            if time.monotonic() > ended:
                break
            for crowd in crowds:
                send(crowd, bytes([byte]))
            time.sleep(_REST)
        time.sleep(max(0.0, ended - time.monotonic()))


def idle_connections(stage: Stage, seconds: float) -> None:
    """Some asked once, most never do."""
    with _crowds(stage, IDLE) as crowds:
        for crowd in crowds:
            send(crowd[:20], request("/_dar/health"))
        time.sleep(seconds)


def unread_answers(stage: Stage, seconds: float) -> None:
    """Of some megabytes each, and of many small ones on a connection."""
    job = _job_of_missing(stage)
    with ExitStack() as stack:
        failures = stack.enter_context(connected(stage.ports["ingest"], UNREAD, small=True))
        send(failures, request(f"{V1}/jobs/{job}/failures?limit=10000"))
        for service in SERVICES:
            documents = stack.enter_context(connected(stage.ports[service], UNREAD, small=True))
            send(documents, request("/_dar/openapi/openapi.json") * 200)
        time.sleep(seconds)


def followers(stage: Stage, seconds: float) -> None:
    """Of a job that does not go on."""
    with _paused_jobs(stage, 1) as jobs, connected(stage.ports["ingest"], FOLLOWERS) as crowd:
        for job in jobs:
            send(crowd, request(f"{V1}/jobs/{job}", accept="text/event-stream"))
        time.sleep(seconds)


def store(stage: Stage, seconds: float, *, ways: tuple[str, ...], only: str = "") -> None:
    for way in ways:
        with stage.proxy.spoiling(way, only):
            time.sleep(seconds / len(ways))


def jobs_stopped(stage: Stage, seconds: float) -> None:
    """Jobs of several shards: paused and cancelled while a shard is worked on, and resumed."""
    asker = _asker(stage)
    made = [_made(asker, str(stage.large)) for _ in range(3)]
    jobs = [job for job in made if job]
    time.sleep(seconds / 3)
    for job, change in zip(jobs, ("pause", "cancel", "pause"), strict=False):
        asker.ask("ingest", "POST", f"{V1}/jobs/{job}/{change}")
    time.sleep(seconds / 3)
    for job in jobs[::2]:
        asker.ask("ingest", "POST", f"{V1}/jobs/{job}/resume")
    time.sleep(seconds / 3)
    for job in jobs:
        forget(asker, job)
    asker.close()


def ledger_deleted(stage: Stage, seconds: float) -> None:
    """By somebody, on the cluster; with all jobs in it."""
    urllib3.request("DELETE", f"{stage.cluster}/{LEDGER}*", timeout=30)
    time.sleep(seconds)


def worker_killed_with_paused_jobs(stage: Stage, seconds: float) -> None:
    with _paused_jobs(stage, PAUSED):
        stage.kill("worker")
        time.sleep(seconds)


FAULTS: dict[str, Fault] = {
    "query without descriptors": Fault(8, partial(descriptors, part="query"), breaking=True),
    "ingest without descriptors": Fault(8, partial(descriptors, part="ingest"), breaking=True),
    "worker without descriptors": Fault(8, partial(descriptors, part="worker")),
    "decoders cannot start": Fault(8, decoders_cannot_start),
    "decoders killed": Fault(8, partial(_killing, module=DECODER)),
    "models killed": Fault(8, models_killed),
    "worker killed": Fault(8, worker_killed),
    "slow headers": Fault(9, slow_headers),
    "idle connections": Fault(9, idle_connections),
    "unread answers": Fault(9, unread_answers),
    "sixteen followers": Fault(9, followers),
    "silent store": Fault(9, partial(store, ways=("silent",))),
    "slow then silent store": Fault(10, partial(store, ways=("slow", "silent"))),
    "JSON of another shape": Fault(10, partial(store, ways=("shape",))),
    "broken chunks": Fault(10, partial(store, ways=("chunks", "short"))),
    "jobs stopped": Fault(11, jobs_stopped),
    "nonsense ledger": Fault(11, partial(store, ways=("shape",), only=LEDGER)),
    "ledger deleted": Fault(11, ledger_deleted),
    "worker killed with paused jobs": Fault(11, worker_killed_with_paused_jobs),
}


@contextmanager
def _crowds(stage: Stage, number: int) -> Iterator[list[list]]:  # type: ignore[type-arg]
    with ExitStack() as stack:
        yield [stack.enter_context(connected(stage.ports[service], number)) for service in SERVICES]


@contextmanager
def _paused_jobs(stage: Stage, number: int) -> Iterator[list[str]]:
    """Jobs of small folders, paused; resumed and forgotten in the end."""
    asker = _asker(stage)
    jobs = []
    try:
        for place in range(number):
            if job := _made(asker, str(stage.album(place))):
                asker.ask("ingest", "POST", f"{V1}/jobs/{job}/pause")
                jobs.append(job)
        yield jobs
    finally:
        for job in jobs:
            asker.ask("ingest", "POST", f"{V1}/jobs/{job}/resume")
        for job in jobs:
            forget(asker, job)
        asker.close()


def _job_of_missing(stage: Stage) -> str:
    """A job that has failed with each of its many pictures, made where there is none."""
    asker = _asker(stage)
    source = str(stage.missing)
    try:
        for job in asker.ask("ingest", "GET", f"{V1}/jobs?limit=1000").value.get("jobs", []):
            if job["source"] == source and job["state"] == "done":
                return str(job["id"])
        made = _made(asker, source)
        list(asker.events("ingest", "GET", f"{V1}/jobs/{made}", 120.0))
        return made
    finally:
        asker.close()


def _made(asker: Asker, source: str) -> str:
    """ "" where it could not be made: another fault may not be over."""
    made = asker.ask("ingest", "POST", f"{V1}/jobs", json={"index": INDEX, "source": source})
    return str(made.value.get("id", ""))


def _asker(stage: Stage) -> Asker:
    asker = Asker(stage)
    asker.calm = False
    return asker


def _lowest_free(process: psutil.Process) -> int:
    """The number that the process's next descriptor would have."""
    taken = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    return next(number for number in range(len(taken) + 1) if number not in taken)
