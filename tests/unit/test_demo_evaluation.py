"""The run file of the demo's claim stays what the model card says it is."""

from __future__ import annotations

from pathlib import Path

import dar_search.demo
from dar_search.evaluation.configuration import read_configuration


def test_the_claim_is_measured_on_held_out_dialogues_with_seeds_and_controls():
    run = read_configuration(Path(dar_search.demo.__file__).parent / "evaluation.toml")
    assert (run.gallery.kind, run.dialogues.kind, run.dialogues.split) == ("demo", "demo", "test")
    assert run.gallery.size >= 5_000
    assert run.dialogues.count is not None
    assert run.dialogues.count >= 500
    assert run.dialogues.rounds == 10
    assert len(set(run.imagination.seeds)) >= 3
    assert run.raw_text
    assert {"released", "0/1"} < set(run.schedules)
    assert (run.models.encoder, run.models.imaginer) == ("demo", "demo")
