"""Evaluation runs from files to files: the controls, the formats, and interruptions."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dar_search.data import Dialogue, Reformulation
from dar_search.errors import DimensionMismatch, ModelFailed, SettingsError, SourceError
from dar_search.evaluation.configuration import DialoguesTable, check_configuration, read_configuration
from dar_search.evaluation.dialogue_sets import read_conversations
from dar_search.evaluation.files import write_all
from dar_search.evaluation.galleries import gallery_from_files
from dar_search.evaluation.imaginations import ImaginerSource, PictureSource
from dar_search.evaluation.ranking import ArrayRanker, StoreRanker, stored_gallery
from dar_search.evaluation.runs import Ranked
from dar_search.evaluation.variants import TEXT_ONLY, Variant
from dar_search.models.reformulators.endpoint_reformulator import EndpointOptions, EndpointReformulator
from dar_search.models.reformulators.fallback import FallbackReformulator
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.stores.sqlite.store import SQLiteStore
from tests.evaluation_world import DIALOGUES, ROUNDS, make_world, perform, rank
from tests.fakes import FakeEncoder, FakeImaginer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


def test_every_schedule_stands_beside_its_noise_controls_and_the_words_find_the_picture(
    world: Path, tmp_path: Path
) -> None:
    _, results = perform(world, tmp_path)
    assert list(results["variants"]) == [
        *("text-only", "raw dialogue"),
        *("released", "released, fresh noise", "released, fixed noise"),
        *("0/1", "0/1, fresh noise", "0/1, fixed noise"),
    ]
    text = results["variants"]["text-only"]["measures"]["recall_at_10"]
    assert text[-1] > 0.8 > text[0]
    noise = results["variants"]["0/1, fresh noise"]["measures"]
    assert noise["recall_at_10"][-1] < 0.15
    # The trap that the control is there for: cumulative hits grow by fresh randomness alone, not by fixed.
    fixed = results["variants"]["0/1, fixed noise"]["measures"]
    assert noise["hits_at_10"][-1] > noise["hits_at_10"][0]
    assert fixed["hits_at_10"][-1] == fixed["hits_at_10"][0]


def test_noise_has_the_norm_of_the_imagination_it_stands_for_and_the_fixed_one_never_turns(
    world: Path, tmp_path: Path
) -> None:
    ranked, _ = perform(world, tmp_path)
    assert ranked.embedded.imagined is not None
    wanted = np.linalg.norm(ranked.embedded.imagined[0], axis=-1)
    for control, turns in (("fresh noise", True), ("fixed noise", False)):
        noise = Variant("only", "0/1", control=control).queries(ranked.embedded, 0, 0)  # type: ignore[arg-type]
        assert np.linalg.norm(noise, axis=-1) == pytest.approx(wanted, rel=1e-5)
        directions = noise / np.linalg.norm(noise, axis=-1, keepdims=True)
        cosine = np.einsum("drk,dk->dr", directions[:, 1:], directions[:, 0])
        assert (np.abs(cosine) < 0.8).all() if turns else cosine == pytest.approx(1, abs=1e-5)


def test_trec_files_give_the_same_recall_through_ir_measures(world: Path, tmp_path: Path) -> None:
    _, results = perform(world, tmp_path)
    for name, found in results["standard_measures"].items():
        variant = results["variants"][name]
        first_seed = next(iter(variant["ranks"].values()))
        hits = [rank is not None and rank <= 10 for row in first_seed for rank in row]
        assert found["R@10"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert len((tmp_path / "qrels.txt").read_text().splitlines()) == DIALOGUES * (ROUNDS + 1)


def test_the_report_stands_alone_and_shows_what_helped_and_what_harmed(world: Path, tmp_path: Path) -> None:
    perform(world, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<section>") == 6
    assert "helped" in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    for name in ("recall_at_10", "hits_at_10"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_killed_at_any_step_and_started_again_gives_the_same_results_byte_for_byte(
    world: Path, tmp_path: Path
) -> None:
    def start(output: Path, last_step: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.evaluation_world", str(world), str(output), str(last_step)]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )

    whole = start(tmp_path / "whole", -1)
    assert whole.returncode == 0, whole.stderr
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    steps = int(whole.stdout)
    for step in sorted(random.Random(seed).sample(range(1, steps + 1), 4)):
        killed = start(tmp_path / "killed", step)
        assert killed.returncode in (-signal.SIGKILL, 0)
    again = start(tmp_path / "killed", -1)
    assert again.returncode == 0, again.stderr
    for name in ("results.json", "recall_at_10.svg", "qrels.txt", "released.run.txt"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_arrays_and_the_embedded_store_give_the_same_ranks(world: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {
        "trec_depth": 0,
        "schedules": ["released"],
        "imagination": {"seeds": [0]},
        "dialogues": {"path": "dialogues.json", "rounds": ROUNDS, "count": 20},
    }
    arrays, results = perform(world, tmp_path / "arrays", **few)
    store = SQLiteStore(tmp_path / "gallery.sqlite")
    index = stored_gallery(store, arrays.gallery, FakeEncoder(dimension=32).provenance)
    ranker = StoreRanker(index, arrays.gallery, exact=True, depth=10_000, address=store.address)
    shown, stored = perform(world, tmp_path / "store", ranker=ranker, **few)
    assert stored["variants"].keys() == results["variants"].keys()
    assert_same_ranks_up_to_ties(arrays, shown)
    store.close()


def assert_same_ranks_up_to_ties(one: Ranked, other: Ranked) -> None:
    """A rank may differ only by pictures whose score is the target's within 1e-6: sums are added in another order."""
    different = 0
    for variant, by_seed in one.ranks.items():
        for seed, ranks in by_seed.items():
            queries = one.queries(variant, seed)
            for dialogue, number in np.argwhere(ranks != other.ranks[variant][seed]):
                scores = one.gallery.embeddings @ queries[dialogue, number]
                near = int((np.abs(scores - scores[one.targets[dialogue]]) <= 1e-6).sum())
                assert abs(ranks[dialogue, number] - other.ranks[variant][seed][dialogue, number]) < near
                different += 1
    total = sum(ranks.size for by_seed in one.ranks.values() for ranks in by_seed.values())
    assert different < 0.01 * total


def test_a_ranking_of_limited_depth_counts_deeper_targets_as_misses(world: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"trec_depth": 0, "imagination": {"kind": "none"}, "raw_text": False}
    arrays, _ = perform(world, tmp_path / "arrays", **few)
    store = SQLiteStore(tmp_path / "gallery.sqlite")
    index = stored_gallery(store, arrays.gallery, FakeEncoder(dimension=32).provenance)
    ranker = StoreRanker(index, arrays.gallery, exact=True, depth=5, address=store.address)
    shallow, _ = perform(world, tmp_path / "store", ranker=ranker, **few)
    full = next(iter(arrays.ranks[Variant(TEXT_ONLY)].values()))
    cut = next(iter(shallow.ranks[Variant(TEXT_ONLY)].values()))
    assert (cut == np.where(full <= 5, full, np.inf)).all()
    store.close()


def test_reformulations_are_used_as_they_are_and_joined_where_the_release_joins_them(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps([{"img": "a.jpg", "dialog": ["one", "two", "three"]}]))
    (plain,) = read_conversations(DialoguesTable(kind="reformulations", path=path, rounds=2))
    assert plain.texts == ("one", "two", "three")
    table = DialoguesTable(kind="reformulations", path=path, rounds=1, join_previous=" [SEP] ")
    (joined,) = read_conversations(table)
    assert joined.texts == ("one", "one [SEP] two")


def test_jsonl_and_chatir_lists_read_alike(tmp_path: Path) -> None:
    rows = [{"img": "a.jpg", "dialog": ["a dog", "is it big? yes"]}, {"img": "b.jpg", "dialog": ["a cat", "old? no"]}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    read = [read_conversations(DialoguesTable(path=tmp_path / name, rounds=1)) for name in ("list.json", "lines.jsonl")]
    assert read[0] == read[1]
    assert read[0][0].dialogue is not None
    assert read[0][0].dialogue.turns[0].answer == "yes"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedules": ["released", "half/half"]}, "does not read"),
        ({"gallery": {"kind": "embeddings"}}, 'needs "path"'),
        ({"galery": {}}, "galery"),
        ({"name": "../x"}, "name"),
        ({"k": []}, "k"),
    ],
)
def test_a_wrong_run_file_is_a_one_line_error_that_names_the_key(values: dict[str, object], message: str) -> None:
    whole: dict[str, object] = {
        "name": "x",
        "gallery": {"kind": "demo"},
        "dialogues": {"kind": "demo"},
    }
    with pytest.raises(SettingsError, match=message) as raised:
        check_configuration(whole | values, Path())
    assert "\n" not in str(raised.value)


def test_a_run_file_that_is_no_toml_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("name = ")
    with pytest.raises(SettingsError, match="not a TOML file"):
        read_configuration(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_configuration(tmp_path / "none.toml")


def test_targets_outside_the_gallery_are_refused_or_skipped_by_choice(world: Path, tmp_path: Path) -> None:
    rows = json.loads((world / "dialogues.json").read_text())
    rows[3]["img"] = "elsewhere.jpg"
    (world / "missing.json").write_text(json.dumps(rows))
    table = {"path": "missing.json", "rounds": ROUNDS}
    with pytest.raises(SourceError, match=r"1 of 70 targets.*elsewhere\.jpg"):
        perform(world, tmp_path / "refused", dialogues=table)
    _, results = perform(world, tmp_path / "skipped", dialogues=table | {"missing_targets": "skip"})
    assert results["dialogues"] == DIALOGUES - 1


def test_a_gallery_of_another_dimension_is_refused(world: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "small.json").write_text('["a", "b", "c"]')
    with pytest.raises(DimensionMismatch, match="3 dimensions, the encoder's 32"):
        perform(world, tmp_path, gallery=gallery_from_files(tmp_path / "small.npy", tmp_path / "small.json"))


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "names.json").write_text('["a"]')
    with pytest.raises(SourceError, match="cannot be read"):
        gallery_from_files(tmp_path / "bad.npy", tmp_path / "names.json")


class Counting:
    """A reformulator of a fixed name whose key says which model it is."""

    name = "chat:same"

    def __init__(self, key: str, says: str, note: str = "") -> None:
        self.key, self._says, self._note, self.calls = key, says, note, 0

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        self.calls += 1
        text = f"{dialogue.text} {self._says}"
        return Reformulation(text, (text,), self.name, self._note)


def test_texts_of_another_model_or_of_other_options_under_the_same_name_are_not_reused(
    world: Path, tmp_path: Path
) -> None:
    few: dict[str, Any] = {"imagination": {"kind": "none"}, "schedules": ["text-only"], "raw_text": False}
    first, again, other = Counting("weights 1", "big"), Counting("weights 1", "never"), Counting("weights 2", "small")
    texts = [rank(world, tmp_path, reformulator=one, **few).embedded.reformulations for one in (first, again, other)]
    assert first.calls == other.calls == DIALOGUES * (ROUNDS + 1)
    assert again.calls == 0
    assert texts[0] == texts[1]
    assert all(text.endswith("small") for row in texts[2] for text in row)


def test_a_fallbacks_text_is_an_error_and_is_never_kept_as_the_models(world: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"imagination": {"kind": "none"}, "schedules": ["text-only"], "raw_text": False}
    with pytest.raises(ModelFailed, match="rules instead of chat:same"):
        rank(world, tmp_path, reformulator=Counting("1", "x", note="rules instead of chat:same: it died."), **few)
    mended = Counting("1", "mended")
    rank(world, tmp_path, reformulator=mended, **few)
    assert mended.calls == DIALOGUES * (ROUNDS + 1)


def test_the_keys_of_real_reformulators_tell_models_and_options_apart() -> None:
    def endpoint(**options: Any) -> str:
        return EndpointReformulator(EndpointOptions(**{"url": "http://localhost:1/v1", "model": "a", **options})).key

    keys = [endpoint(), endpoint(model="b"), endpoint(url="http://localhost:2/v1"), endpoint(prompts=2)]
    keys += [endpoint(most_tokens=9), endpoint(structured=False), RulesReformulator().key]
    assert len(set(keys)) == len(keys)
    assert endpoint(seconds=3.0) == endpoint()
    asked = EndpointReformulator(EndpointOptions("http://localhost:1/v1", "a"))
    assert FallbackReformulator(asked, RulesReformulator()).key == asked.key
    assert RulesReformulator().key == RulesReformulator().key


def test_a_pregenerated_picture_made_again_of_the_same_size_is_encoded_again(tmp_path: Path) -> None:
    encoder, path = FakeEncoder(), tmp_path / "0_0.jpg"
    path.write_bytes(b"a" * 100)
    before = PictureSource(tmp_path, encoder).key
    assert PictureSource(tmp_path, encoder).key == before
    path.write_bytes(b"b" * 100)
    os.utime(path, ns=(1, 1))
    assert PictureSource(tmp_path, encoder).key != before


def test_only_the_examples_pictures_are_read(world: Path, tmp_path: Path) -> None:
    ranked, _ = perform(world, tmp_path / "run")
    asked: list[int] = []

    def picture(position: int) -> bytes | None:
        asked.append(position)
        return None

    write_all(ranked, ArrayRanker(ranked.gallery), tmp_path / "again", imagined_picture=picture)
    assert 0 < len(asked) <= ranked.configuration.examples


def test_imaginations_of_another_model_under_the_same_name_are_not_reused() -> None:
    class Keyed(FakeImaginer):
        def __init__(self, weights: str) -> None:
            super().__init__(FakeEncoder())
            self._weights = weights

        def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
            return f"{self._weights} {prompt} {seed} {steps}"

    sources = [("1", 2, None), ("2", 2, None), ("1", 3, None), ("1", 2, 8)]
    keys = [ImaginerSource(Keyed(weights), count, steps).key for weights, count, steps in sources]
    assert len(set(keys)) == 4
    assert ImaginerSource(Keyed("1"), 2, None).key == keys[0]
