"""Jobs whose index and ledger are on a real OpenSearch: workers are killed, and so is one node of three."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dar_search.stores.node import LocalCluster
from tests.torture.arena import BAD, Arena, seeded

PICTURES = 180


def test_workers_killed_at_each_point_lose_nothing_on_a_cluster(tmp_path: Path, opensearch_url: str) -> None:
    arena = Arena(tmp_path / "arena", PICTURES, cluster=opensearch_url)
    arena.killed_at_each_point(seeded())
    arena.finish()
    assert arena.problems() == []
    assert arena.was_killed_at_each_point
    arena.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_node_of_three_is_killed_during_a_job(tmp_path: Path, three_nodes: LocalCluster) -> None:
    chance = seeded()
    arena = Arena(tmp_path / "arena", 400, cluster=",".join(three_nodes.urls), replicas=1)
    three_nodes.wait("green")  # a replica that is not in sync yet cannot take over
    victim = chance.randrange(3)
    with arena.worker(lease_seconds=30) as worker:
        for _ in range(chance.randint(2, 8)):
            arena.wait_until_said(worker, "written")
        three_nodes.kill(victim)
        out, _ = worker.communicate(timeout=400)
        assert worker.returncode == 0, out
    assert arena.problems() == [], "with a node less, the job does not end by itself"
    assert json.loads(out.splitlines()[-1])["encoded"] >= 400
    assert arena.found().settled == 400 + BAD
    three_nodes.restart(victim)
    three_nodes.wait("green")
    assert arena.problems() == []
    arena.close()
