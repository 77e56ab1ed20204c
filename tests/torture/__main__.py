"""`make torture`: workers killed 200 times over 5,000 pictures, and more with all on a real OpenSearch; the service
killed 100 times; the planted faults; a job of 20,000 interrupted.

Each step is logged to .torture/log.jsonl as it ends; run again, it goes on after the last one. At the end it sums up,
and its exit status is 1 if anything did not hold. Remove .torture to start anew.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dar_search.ingestion.jobs import fault_points
from tests.clusters import local_cluster
from tests.torture.arena import ROOT, Arena, late_writer
from tests.torture.plants import CARELESS, EARLY, PATIENT, PLANTS
from tests.torture.service_arena import ServiceArena

LOG = ROOT / ".torture" / "log.jsonl"
ROUNDS, PICTURES, RANDOM_KILLS = 12, 500, 12
CLUSTER_ROUNDS = 3
SERVICE_ROUNDS, ALBUM, SERVICE_RANDOM_KILLS = 5, 25, 12
WANTED_KILLS = 200  # a worker may end the job before it is to be killed, so there are more rounds than need be
LARGE = 20_000


def killing(folder: Path, seed: int, plant: str | None = None, cluster: str = "") -> tuple[Arena, int]:
    """One round: each named point, and random moments, in a random order."""
    chance = random.Random(seed)
    arena = Arena(folder, PICTURES, plant=plant, cluster=cluster)
    tried = 0
    kills: list[str | None] = [*(point for point in fault_points.NAMES if point != "ending"), *[None] * RANDOM_KILLS]
    chance.shuffle(kills)
    for point in [*kills, "ending"]:
        tried += 1
        if point is None:
            arena.killed_after(chance.randrange(1, 50))
        else:
            arena.killed_at(point, 1 if point in ("listed", "claimed", "ending") else chance.randint(1, 3))
    arena.finish(600)
    return arena, tried


def round_of_kills(folder: Path, seed: int, cluster: str = "") -> dict[str, Any]:
    arena, tried = killing(folder, seed, cluster=cluster)
    job = arena.found()
    found = {
        "pictures": PICTURES,
        "kills": arena.killed,
        "tried": tried,
        "indexed": job.indexed + job.unchanged,
        "failed": job.failed,
        "problems": arena.problems(),
    }
    arena.close()
    return found


def round_on_a_cluster(folder: Path, seed: int) -> dict[str, Any]:
    with local_cluster() as cluster:
        return round_of_kills(folder, seed, cluster.url)


def round_of_service_kills(folder: Path, seed: int) -> dict[str, Any]:
    """The service, whole, at each named point and at random moments, in a random order."""
    arena = ServiceArena(folder, ALBUM)
    arena.die_often(random.Random(seed), SERVICE_RANDOM_KILLS)
    arena.finish(600)
    return {
        "pictures": ALBUM * len(arena.albums),
        "kills": arena.killed,
        "acknowledged": arena.answered,
        "problems": arena.problems(),
    }


def late(folder: Path, seed: int) -> dict[str, Any]:
    arena = Arena(folder, 60)
    late_writer(arena)
    return {"problems": arena.problems()}


def planted(plant: str) -> Callable[[Path, int], dict[str, Any]]:
    def step(folder: Path, seed: int) -> dict[str, Any]:
        if plant == EARLY:
            arena, _ = killing(folder, seed, plant)
        else:
            arena = Arena(folder, 60, plant=plant)
            if plant == CARELESS:
                late_writer(arena)
            if plant == PATIENT:
                arena.killed_at("decoded", 1)
                arena.finish(20)
        found = arena.problems()
        return {"found": found, "problems": [] if found else [f"the planted fault was not found: {plant}"]}

    return step


def interrupted(folder: Path, seed: int) -> dict[str, Any]:
    arena = Arena(folder, LARGE)
    killed = arena.killed_at("written", random.Random(seed).randrange(100, 300))
    stored = arena.index.count()
    out = arena.finish(3_600)
    encoded = json.loads(out.splitlines()[-1])["encoded"] if out else None
    problems = arena.problems() if killed else [*arena.problems(), "it was not interrupted"]
    if encoded != LARGE - stored:
        problems.append(f"{encoded} encoded after {stored} were in, of {LARGE}")
    return {"pictures": LARGE, "in_at_kill": stored, "encoded_after": encoded, "problems": problems}


STEPS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    **{f"kills {number + 1} of {ROUNDS}": round_of_kills for number in range(ROUNDS)},
    **{f"kills on OpenSearch {number + 1} of {CLUSTER_ROUNDS}": round_on_a_cluster for number in range(CLUSTER_ROUNDS)},
    **{f"kills of the service {n + 1} of {SERVICE_ROUNDS}": round_of_service_kills for n in range(SERVICE_ROUNDS)},
    "a late writer": late,
    **{f"planted: {plant}": planted(plant) for plant in PLANTS},
    f"{LARGE} interrupted": interrupted,
}


def main() -> int:
    LOG.parent.mkdir(exist_ok=True)
    done = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    names = {entry["step"] for entry in done}
    for name, step in STEPS.items():
        if name in names:
            continue
        seed = random.SystemRandom().randrange(1, 1 << 32)
        print(f"{name} (seed {seed}) ...", flush=True)
        folder = Path(tempfile.mkdtemp(prefix="torture-"))
        began = time.monotonic()
        entry = {"step": name, "seed": seed, **step(folder / "arena", seed)}
        entry["seconds"] = round(time.monotonic() - began)
        shutil.rmtree(folder)
        with LOG.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        done.append(entry)
        print(f"  {json.dumps(entry)}", flush=True)
    return sum_up(done)


def sum_up(done: list[dict[str, Any]]) -> int:
    rounds = [entry for entry in done if entry["step"].startswith("kills")]
    problems = [f"{entry['step']}: {problem}" for entry in done for problem in entry["problems"]]
    kills, pictures = (sum(entry[name] for entry in rounds) for name in ("kills", "pictures"))
    print(f"{kills} kills over {pictures:,} pictures in {len(rounds)} rounds; {len(problems)} problems.")
    if kills < WANTED_KILLS:
        problems.append(f"only {kills} kills: remove some lines of {LOG} and run it again")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
