"""Workers are killed at every point of their work: nothing is lost, nothing is done to a record twice over.

The same scenarios, run with a planted fault, must find it.
"""

import json
import os
from pathlib import Path

import pytest

from tests.torture.arena import BAD, Arena, late_writer, seeded
from tests.torture.plants import CARELESS, EARLY, PATIENT
from tests.torture.worker import STAY

PICTURES = 180
RANDOM_KILLS = 30 if os.environ.get("DAR_TORTURE") == "1" else 6


def test_killed_at_each_named_point_the_job_ends_with_everything_in_it(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", PICTURES)
    arena.killed_at_each_point(seeded())
    arena.finish()
    assert arena.problems() == []
    assert arena.was_killed_at_each_point
    arena.close()


def test_killed_at_random_the_job_ends_with_everything_in_it(tmp_path: Path) -> None:
    # Many deaths among few pictures would hit one of them three times, and it would rightly be given up.
    arena = Arena(tmp_path / "arena", 15 * RANDOM_KILLS)
    chance = seeded()
    for _ in range(RANDOM_KILLS):
        arena.killed_after(chance.randrange(2, 40))
    arena.finish()
    assert arena.problems() == []
    assert arena.killed
    arena.close()


def test_workers_that_die_early_one_after_another_are_not_laid_to_one_picture(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", 20)
    for _ in range(5):  # with all in hand; with a group; with the rest; with one picture; with another one
        assert arena.killed_at("decoded", 1)
    arena.finish()
    assert arena.problems() == []
    arena.close()


def test_a_worker_that_wakes_up_late_changes_nothing(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", 60)
    late_writer(arena)
    assert arena.problems() == []
    arena.close()


def test_completion_recorded_before_the_write_is_found_out(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", PICTURES, plant=EARLY)
    arena.killed_at_each_point(seeded())
    arena.finish()
    assert any("lost" in problem for problem in arena.problems())
    arena.close()


def test_a_missing_lease_check_is_found_out(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", 60, plant=CARELESS)
    late_writer(arena)
    assert any("not what the file is now" in problem for problem in arena.problems())
    arena.close()


def test_missing_expiry_is_found_out(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", 30, plant=PATIENT)
    assert arena.killed_at("decoded", 1)
    arena.finish(seconds=12.0)
    assert "the job is running" in arena.problems()
    arena.close()


def test_an_interrupted_job_goes_on_without_encoding_again_what_is_in_the_index(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", PICTURES)
    assert arena.killed_at("written", 2)
    stored = arena.index.count()
    assert 0 < stored < PICTURES
    out = arena.finish()
    assert arena.problems() == []
    assert json.loads(out.splitlines()[-1])["encoded"] == PICTURES - stored
    arena.close()


@pytest.mark.timeout(180)
def test_workers_whose_clocks_are_an_hour_apart_share_a_job_and_one_is_killed(tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena", 2 * PICTURES)
    with arena.worker(at="written", count=1, signal=STAY, clock=3600) as first:
        arena.wait_until_said(first, "written")
        with arena.worker(clock=-3600) as second:
            arena.wait_until_said(second, "claimed")  # alone: a third, if quick, would leave it nothing
            with arena.worker() as third:
                first.kill()
                outs = [process.communicate(timeout=120)[0] for process in (first, second, third)]
    assert arena.problems() == []
    assert [process.returncode for process in (first, second, third)] == [-9, 0, 0], outs
    assert arena.found().settled == 2 * PICTURES + BAD
    arena.close()
