"""The model card: its tables are made of the scripts' figures, and the committed one has them all."""

from __future__ import annotations

import json

from dar_search.models.catalogue import BUNDLE
from training import card, card_text


def variant(recall, ranks, gain=None):
    measures = {"recall_at_10": recall, "hits_at_10": recall}
    against = {} if gain is None else {name: [gain, gain] for name in measures}
    return {"measures": measures, "against_text_only": against, "ranks": ranks}


RESULTS = {
    "rounds": 2,
    "dialogues": 2,
    "seeds": [0, 1],
    "gallery": {"pictures": 50},
    "variants": {
        "text-only": variant([0.0, 0.5], {"0": [[40, 3], [40, 11]]}),
        "released": variant(
            [0.0, 1.0], {"0": [[40, 1], [40, 9]], "1": [[40, 1], [40, 10]]}, {"mean": 0.5, "low": 0.25, "high": 0.75}
        ),
        "released, fresh noise": variant([0.0, 0.0], {"0": [[40, 11], [40, None]]}, {"mean": 0, "low": 0, "high": 0}),
        "released, fixed noise": variant([0.0, 0.5], {"0": [[40, 1], [40, 20]]}, {"mean": 0, "low": 0, "high": 0}),
    },
}


def test_tables_hold_the_results_own_figures():
    table = card.by_round(RESULTS, "recall_at_10")
    assert "| released | 0.0 | +50.0 [+25.0, +75.0] |" in table
    assert "| text-only | 0.0 |  |" in table
    controls = card.against_controls(RESULTS)
    assert "| released | +100.0 [+100.0, +100.0] | +50.0 [+0.0, +100.0] |" in controls
    assert "text-only" not in controls


def test_what_was_not_measured_is_said_to_be_so(tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "encoder").mkdir(parents=True)
    (bundle / "encoder" / "weights.safetensors").write_bytes(bytes(1_500_000))
    text = card.card(tmp_path, tmp_path / "results.json", bundle)
    assert card_text.NO_FIGURES in text
    assert "| `encoder/` | 1.5 |" in text
    assert "prior/" not in text
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    assert "2 dialogues, 50 pictures" in card.card(tmp_path, tmp_path / "results.json", bundle)


def measured(folder, text, image, fused, gain, facts):
    """The files that `training.validate` and `training.reformulators` leave, as far as the card reads them."""
    folder.mkdir()
    interval = {"mean": gain, "low": gain - 0.01, "high": gain + 0.01}
    rows = {
        "raw dialogue": {"recall_at_10": [0.1, 0.2]},
        "rules: text": {"recall_at_10": [0.1, text]},
        "rules: mean x1, 0/1": {"recall_at_10": [0.1, image]},
        "rules: mean x1, 0.5/0.5": {"recall_at_10": [0.1, fused], "gain_at_last": interval},
    }
    (folder / "validation.json").write_text(json.dumps({"best": "0.5/0.5", "rows": rows}))
    row = {"precision": facts, "recall": facts - 0.1, "whole": facts - 0.2}
    judged = {"reformulator": {"rounds": {"5": row, "10": row}, "failed": 0, "texts": 400}}
    (folder / "reformulators-validation.json").write_text(json.dumps({"reformulators": judged}))


def test_a_later_training_stands_beside_the_bundle_with_its_times(tmp_path):
    measured(tmp_path / "work", 0.5, 0.4, 0.75, 0.25, 0.9)
    measured(tmp_path / "again", 0.52, 0.41, 0.72, 0.2, 0.8)
    (tmp_path / "again" / "times.json").write_text(json.dumps({"prior": 90.0}))
    table = card.trained_again(tmp_path / "work", tmp_path / "again")
    assert "| the bundle | 50.0 | 40.0 | 75.0 | +25.0 [+24.0, +26.0] | 90.0 | 80.0 |" in table
    assert "| trained again | 52.0 | 41.0 | 72.0 | +20.0 [+19.0, +21.0] | 80.0 | 70.0 |" in table
    assert card.trained_again(tmp_path / "work", None) == ""
    (tmp_path / "bundle").mkdir()
    text = card.card(tmp_path / "work", tmp_path / "results.json", tmp_path / "bundle", tmp_path / "again")
    assert table in text
    assert "| prior | 1.5 |\n| together | 1.5 |" in text


def test_a_section_without_new_figures_stays_as_it_was():
    old = "# Card\n\n## Costs\n| 1.5 |\n\n## Times\n9 minutes\n"
    new = (
        f"# Card, again\n\n## Costs\n{card_text.NO_FIGURES}\n\n## Times\n8 minutes\n\n## More\n{card_text.NO_FIGURES}\n"
    )
    assert card.with_kept_sections(new, old) == (
        f"# Card, again\n\n## Costs\n| 1.5 |\n\n## Times\n8 minutes\n\n## More\n{card_text.NO_FIGURES}\n"
    )


def test_the_committed_card_has_every_figure():
    text = (BUNDLE / "README.md").read_text()
    assert card_text.NO_FIGURES not in text
    assert card_text.NO_CONTROL not in text
    for part in sorted(path.name for path in BUNDLE.iterdir() if path.is_dir()):
        assert f"`{part}/`" in text
