"""A run that is killed at any moment, and run again, ends as if it had never been killed."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from dar_search.data import ImageRecord
from dar_search.stores.sqlite.index import SQLiteIndex
from tests.grid_encoder import GridEncoder
from tests.ingest_child import open_index
from tests.pictures import COLOURS, encoded, scene
from tests.signals import hears_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 160
BATCH = 8
ROUNDS = int(os.environ.get("DAR_TEST_KILLS", "4"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PICTURES):
        colours = tuple((r, g, (b + number) % 256) for r, g, b in COLOURS)
        image = scene(colours, 32, 24)  # type: ignore[arg-type]
        (folder / f"{number:03}.png").write_bytes(encoded(image, "PNG"))
        if number % 3 == 0:
            (folder / f"{number:03}.txt").write_text(f"picture {number}")
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


def start(folder: Path, store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.ingest_child", str(folder), str(store), str(BATCH)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c
    )


def finish(folder: Path, store: Path) -> tuple[dict[str, Any], int]:
    """A run that is let alone -> its report, and how many steps it told."""
    process = start(folder, store)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    lines = out.splitlines()
    return json.loads(lines[-1]), len(lines)


def stop_after(folder: Path, store: Path, steps: int, how: signal.Signals) -> int:
    """Starts a run, and sends it a signal once it has told so many steps -> its exit status."""
    with start(folder, store) as process:
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
        decoders = psutil.Process(process.pid).children() if process.poll() is None else []
        process.send_signal(how)
        process.communicate(timeout=300)
    assert psutil.wait_procs(decoders, timeout=60)[1] == [], "a decoder outlived its run"
    return process.returncode


def state(index: SQLiteIndex) -> dict[str, ImageRecord]:
    return index.get(list(index.ids()))


def assert_same(found: dict[str, ImageRecord], expected: dict[str, ImageRecord]) -> None:
    assert found.keys() == expected.keys()
    for key, record in expected.items():
        other = found[key]
        assert np.array_equal(record.embedding, other.embedding)
        assert (record.source, record.origin, record.digest, record.caption, record.thumbnail) == (
            other.source,
            other.origin,
            other.digest,
            other.caption,
            other.thumbnail,
        )


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, ImageRecord], int]:
    store = tmp_path_factory.mktemp("undisturbed") / "store.db"
    report, steps = finish(folder, store)
    assert (report["indexed"], report["failed"], report["encoded"]) == (PICTURES, 1, PICTURES)
    return state(open_index(store)), steps


def test_killed_at_random_moments_and_run_again_it_comes_to_the_same_end(
    folder: Path, undisturbed: tuple[dict[str, ImageRecord], int], tmp_path: Path
) -> None:
    expected, steps = undisturbed
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    killed_midway = 0
    for number in range(ROUNDS):
        store = tmp_path / f"{number}.db"
        for _ in range(chance.randint(1, 3)):
            status = stop_after(folder, store, chance.randrange(steps), signal.SIGKILL)
            assert status in (0, -signal.SIGKILL)
            killed_midway += status != 0
        stored = len(state(open_index(store)))
        report, _ = finish(folder, store)
        assert report["encoded"] == report["indexed"] == PICTURES - stored, "something was encoded twice"
        assert (report["unchanged"], report["failed"], report["removed"]) == (stored, 1, 0)
        index = open_index(store)
        assert_same(state(index), expected)
        assert index.count() == PICTURES
    assert killed_midway, "no run was killed, so this tested nothing"


def test_interrupted_by_ctrl_c_it_ends_at_once_and_can_be_finished(
    folder: Path, undisturbed: tuple[dict[str, ImageRecord], int], tmp_path: Path
) -> None:
    expected, steps = undisturbed
    store = tmp_path / "store.db"
    assert stop_after(folder, store, steps // 3, signal.SIGINT) != 0
    stored = len(state(open_index(store)))
    assert 0 < stored < PICTURES
    report, _ = finish(folder, store)
    assert report["encoded"] == PICTURES - stored
    assert_same(state(open_index(store)), expected)
    assert GridEncoder.provenance == open_index(store).provenance
