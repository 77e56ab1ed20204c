"""What the parts take of the machine, and whether it is what they took before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import psutil

from tests.torture.soak.stage import PARTS, Stage

#: What may be more than before: memory by a share and by so much; threads, descriptors, connections by so many.
GROWTH, MEGABYTES = 0.10, 30.0
THREADS, FILES, POOLED = 3, 6, 34
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Footprint:
    """Of a part with all its processes.

    Attributes:
        megabytes: resident; what a fork shares counts for both.
        files: descriptors, but for the connections below.
        pooled: connections to the store and to Redis, which the clients keep: up to 16 for each of two.
        processes: their number.
        restarts: how often the part or a process that answers for it was started anew; see `Footprints`.
    """

    megabytes: float
    threads: int
    files: int
    pooled: int
    processes: int


def footprint(stage: Stage, part: str) -> Footprint | None:
    """None where a process ended while it was looked at."""
    kept = {stage.store_port, stage.redis.port}
    megabytes, threads, files, pooled = 0.0, 0, 0, 0
    family = stage.family(part)
    try:
        for process in family:
            with process.oneshot():
                megabytes += process.memory_info().rss / _MEGABYTE
                threads += process.num_threads()
                connections = [one for one in process.net_connections("tcp") if one.raddr and one.raddr.port in kept]
                files += process.num_fds() - len(connections)
                pooled += len(connections)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return None
    return Footprint(round(megabytes, 1), threads, files, pooled, len(family)) if family else None


def footprints(stage: Stage, patience: float = 20.0) -> dict[str, Footprint]:
    """Of each part, when it stands still: twice the same threads, descriptors and processes, or after this time."""
    deadline = time.monotonic() + patience
    before: dict[str, Footprint | None] = {}
    while True:
        now = {part: footprint(stage, part) for part in PARTS}
        there = {part: one for part, one in now.items() if one is not None}
        still = len(there) == len(PARTS) and all(_same(before.get(part), one) for part, one in there.items())
        if still or (time.monotonic() > deadline and there):
            return there
        before = now
        time.sleep(1.0)


def grown(before: Mapping[str, Footprint], after: Mapping[str, Footprint]) -> list[str]:
    """What is more than before, beyond what may be; and processes that are not as many."""
    problems = []
    for part, was in before.items():
        now = after.get(part)
        if now is None:
            problems.append(f"{part} is not there")
            continue
        limits = {
            "megabytes": was.megabytes * (1 + GROWTH) + MEGABYTES,
            "threads": was.threads + THREADS,
            "files": was.files + FILES,
            "pooled": max(was.pooled, POOLED),
            "processes": was.processes,
        }
        found, earlier = asdict(now), asdict(was)
        problems += [
            f"{part}: {name} {earlier[name]:g} -> {found[name]:g}"
            for name, most in limits.items()
            if found[name] > most
        ]
    return problems


def strays(stage: Stage) -> list[str]:
    """Processes of the parts' own interpreter that belong to no part any more."""
    known = {process.pid for part in PARTS for process in stage.family(part)}
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        command = process.info["cmdline"] or []
        if command[:1] == [str(stage.python)] and process.pid not in known:
            found.append(f"process {process.pid} is left: {' '.join(command[1:5])}")
    return found


def _same(before: Footprint | None, now: Footprint) -> bool:
    return before is not None and (before.threads, before.files, before.pooled, before.processes) == (
        now.threads,
        now.files,
        now.pooled,
        now.processes,
    )
