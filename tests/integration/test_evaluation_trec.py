"""TREC files, read by tools that are not ours: pytrec_eval (trec_eval's own code) and ir-measures.

Sources of the faults that these hold against: trec_eval #22, ir_measures #18, beir #105.
"""

import json
import random
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from dar_search.evaluation.galleries import make_gallery
from dar_search.evaluation.ranking import ArrayRanker
from dar_search.evaluation.trec import named
from tests.evaluation_world import PICTURES, ROUNDS, make_world, perform

AWKWARD = [
    "a b.jpg",
    "a-b.jpg",
    "a%20b.jpg",
    "a\tb",
    "a\u00a0b",
    "a\u2028b",
    "写真.jpg",
    "é",
    "e\u0301",
    "%",
    "",
    "#1",
    "a\x85b",
]
AWKWARD += ["a\udcffb", "\ufeffa", "a\x00b", "a\nb", " a", "a ", "A", "a"]
IDS = ["a b", "a-b", "1", "1", "a\tb", "", "a%-0", "d_0", "d", "ü ü"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world of fakes, with names that no column can hold, shared ids, and pictures that are there often."""
    folder = make_world(tmp_path_factory.mktemp("world"))
    rng = random.Random(3)
    names = json.loads((folder / "names.json").read_text())
    renamed = dict(zip(names, [*AWKWARD, *names[len(AWKWARD) :]], strict=True))
    (folder / "names.json").write_text(json.dumps(list(renamed.values())))
    gallery = np.load(folder / "gallery.npy")
    gallery[-200:] = gallery[[rng.randrange(20) for _ in range(200)]]
    np.save(folder / "gallery.npy", gallery)
    dialogues = json.loads((folder / "dialogues.json").read_text())
    for place, dialogue in enumerate(dialogues):
        name = renamed[dialogue["img"]]
        dialogue["img"] = name if name and name.isprintable() else names[-1]  # the names that a dialogue can have
        dialogue["id"] = IDS[place % len(IDS)] if place < 30 else f"d{place}"
    (folder / "dialogues.json").write_text(json.dumps(dialogues))
    return folder


def by_pytrec_eval(qrels: Path, run: Path, measure: str) -> dict[str, float]:
    with qrels.open(encoding="utf-8", newline="\n") as judged, run.open(encoding="utf-8", newline="\n") as found:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(judged), {measure})
        return {name: one[measure] for name, one in evaluator.evaluate(pytrec_eval.parse_run(found)).items()}


@pytest.mark.parametrize("depth", [10, 100, PICTURES])
def test_each_querys_rank_is_the_one_that_tools_read_from_the_files(world: Path, tmp_path: Path, depth: int) -> None:
    changes: dict[str, Any] = {"trec_depth": depth, "schedules": ["0.5/0.5", "0.5 / 0.5"]}
    ranked, results = perform(world, tmp_path, **changes)
    assert len(list(tmp_path.glob("*.run.txt"))) == len(ranked.ranks) == len(results["standard_measures"])
    for variant, name in {"text-only": "text-only", "raw dialogue": "raw_dialogue", "0.5/0.5": "0.5_0.5"}.items():
        first_seed = next(iter(results["variants"][variant]["ranks"].values()))
        expected = [1 / rank if rank is not None and rank <= depth else 0.0 for row in first_seed for rank in row]
        run = tmp_path / f"{name}.run.txt"
        reciprocal = by_pytrec_eval(tmp_path / "qrels.txt", run, "recip_rank")
        assert list(reciprocal.values()) == pytest.approx(expected), "in the order of dialogues and rounds"
        measures = [ir_measures.RR @ 10, ir_measures.nDCG @ 10, ir_measures.R @ 10]
        found = ir_measures.calc_aggregate(
            measures,
            ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt")),
            ir_measures.read_trec_run(str(run)),
        )
        at_10 = [value if value >= 0.1 else 0.0 for value in expected]
        assert found[ir_measures.RR @ 10] == pytest.approx(np.mean(at_10))
        gains = [1 / np.log2(1 / value + 1) if value else 0.0 for value in at_10]
        assert found[ir_measures.nDCG @ 10] == pytest.approx(np.mean(gains))
        stored = results["standard_measures"][variant]
        assert {str(measure): value for measure, value in found.items()} == pytest.approx(stored, abs=1e-6)


def test_every_line_has_its_columns_every_query_its_name_and_scores_descend_as_float32(
    world: Path, tmp_path: Path
) -> None:
    ranked, _ = perform(world, tmp_path, trec_depth=PICTURES, imagination={"kind": "none"})
    judged = [line.split() for line in (tmp_path / "qrels.txt").read_text("utf-8").split("\n")[:-1]]
    assert {len(columns) for columns in judged} == {4}
    assert len({columns[0] for columns in judged}) == len(judged) == len(ranked.conversations) * (ROUNDS + 1)
    queries: dict[str, list[list[str]]] = {}
    for line in (tmp_path / "text-only.run.txt").read_text("utf-8").split("\n")[:-1]:
        columns = line.split()
        assert len(columns) == 6
        queries.setdefault(columns[0], []).append(columns)
    assert list(queries) == [columns[0] for columns in judged]
    for rows in queries.values():
        assert len({row[2] for row in rows}) == len(rows) == PICTURES
        assert [int(row[3]) for row in rows] == list(range(1, PICTURES + 1))
        scores = np.array([float(row[4]) for row in rows]).astype(np.float32)
        assert (np.diff(scores) < 0).all()


def test_a_run_over_names_that_no_encoding_has_is_written_whole(world: Path, tmp_path: Path) -> None:
    for name in ("gallery.npy", "dialogues.json"):
        (tmp_path / name).write_bytes((world / name).read_bytes())
    targets = {dialogue["img"] for dialogue in json.loads((world / "dialogues.json").read_text())}
    names = json.loads((world / "names.json").read_text())
    renamed = [name if name in targets else f"{name}\udcff" for name in names]
    (tmp_path / "names.json").write_text(json.dumps(renamed))
    perform(tmp_path, tmp_path / "out", imagination={"kind": "none"}, raw_text=False)
    assert "%ED%B3%BF" in (tmp_path / "out" / "text-only.run.txt").read_text("utf-8")
    assert "</html>" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_names_are_told_apart_and_plain_ones_stay_as_they_are() -> None:
    assert len({named(name) for name in AWKWARD}) == len(AWKWARD)
    assert all(len(f"x {named(name)} y".split()) == 3 for name in AWKWARD)
    for name in ("photos/写真-1.jpg", "COCO_val2014_000000000042.jpg", "a+b&c=d.webp", "#1"):
        assert named(name) == name
    assert named("a b\t100%") == "a%20b%09100%25"


@pytest.mark.parametrize("dimension", [2, 16, 129, 512])
@pytest.mark.parametrize("count", [1, 3, 140])
def test_equal_pictures_rank_by_id_and_ranks_are_places_in_the_best_of_the_same_queries(
    dimension: int, count: int
) -> None:
    rng = np.random.default_rng(dimension)
    vectors = rng.standard_normal((1003, dimension)).astype(np.float32)
    same = [1, *range(0, len(vectors), 7)]
    vectors[same] = vectors[1]
    gallery = make_gallery([f"p{number:04d}" for number in range(len(vectors))], vectors)
    queries = rng.standard_normal((count, dimension)).astype(np.float32) * np.float32(3)
    targets = rng.choice(len(vectors), count)
    targets[::2] = rng.choice(same, len(targets[::2]))
    ranker = ArrayRanker(gallery)
    rows, _ = ranker.top(queries, len(vectors))
    assert ranker.ranks(queries, targets).tolist() == [
        1 + line.index(target) for line, target in zip(rows.tolist(), targets.tolist(), strict=True)
    ]
    for line in rows.tolist():
        first = line.index(0)
        assert line[first : first + len(same)] == sorted(same)
