"""The ingest service is killed, whole, at every point of its work and at random: what it acknowledged is there."""

import os
from pathlib import Path

import pytest

from tests.torture.arena import seeded
from tests.torture.service_arena import ServiceArena

RANDOM_KILLS = 30 if os.environ.get("DAR_TORTURE") == "1" else 4


@pytest.mark.timeout(600)
def test_a_service_that_is_killed_keeps_all_that_it_acknowledged(tmp_path: Path) -> None:
    arena = ServiceArena(tmp_path / "arena", 24)
    lives = arena.die_often(seeded(), RANDOM_KILLS)
    arena.finish(120)
    assert arena.problems() == []
    assert arena.killed == lives
    assert arena.answered, "nothing was acknowledged, so this tested little"
