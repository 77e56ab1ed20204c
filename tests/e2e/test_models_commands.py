"""`dar models`: the presets, fetching, checking. Light models stand for "demo"; everything else is real."""

from __future__ import annotations

import tomllib

import pytest

from dar_search.models import presets
from dar_search.settings import load_settings
from tests.e2e.conftest import Dar

pytestmark = pytest.mark.usefixtures("light_models")
PRESETS = [preset.name for preset in presets.presets()]


def test_the_list_names_each_preset_with_its_models_and_sizes(dar: Dar) -> None:
    shown = dar("models", "list")
    assert shown.status == 0
    for preset in presets.presets():
        assert preset.name in shown.out
        assert all(part.name in shown.out for part in preset.parts)
    listed = dar("models", "list", "--json").json["presets"]
    assert [one["name"] for one in listed] == PRESETS
    assert all(part["licence"] for one in listed for part in one["parts"])


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_prints_below_settings_is_a_configuration_that_can_be_loaded(dar: Dar, name: str) -> None:
    shown = dar("models", "list", name)
    assert shown.status == 0
    values = tomllib.loads(shown.out.partition("settings")[2])
    assert values == presets.preset(name).settings
    settings = load_settings(**values)
    assert settings.encoder == values["encoder"]


def test_an_unknown_preset_is_one_line_with_the_nearest(dar: Dar) -> None:
    for command in (("list",), ("fetch",), ("check",)):
        outcome = dar("models", *command, "gpx")
        assert outcome.status == 2
        assert "Did you mean gpu?" in outcome.err
        assert outcome.err.count("\n") == 1


def test_checking_loads_and_runs_each_model_of_the_settings_and_says_how_long(dar: Dar) -> None:
    shown = dar("models", "check")
    assert shown.status == 0
    assert shown.out.count(" s") >= 6
    rows = dar("models", "check", "--json").json["checks"]
    assert [(row["role"], row["name"], row["ok"]) for row in rows] == [
        ("encoder", "demo", True),
        ("reformulator", "rules", True),
        ("imaginer", "demo", True),
    ]
    assert "24 dimensions" in rows[0]["said"]


def test_a_part_that_cannot_run_is_said_and_the_others_are_checked(dar: Dar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_REFORMULATOR", "chat:./no/such/folder")
    shown = dar("models", "check")
    assert shown.status == 3
    assert "failed" in shown.out
    assert "There is no model folder" in shown.out
    rows = dar("models", "check", "--json").json["checks"]
    assert [row["ok"] for row in rows] == [True, False, True]


def test_options_of_the_settings_reach_the_models(dar: Dar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAR_REFORMULATOR", "endpoint:tiny")
    monkeypatch.setenv("DAR_REFORMULATOR_OPTIONS__URL", "ftp://nowhere")
    rows = dar("models", "check", "--json").json["checks"]
    assert "no http(s) URL" in rows[1]["said"]


def test_fetching_what_is_here_says_so_and_what_cannot_be_had_does_not_stop_the_rest(
    dar: Dar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert dar("models", "fetch", "demo").status == 0
    outcome = dar("models", "fetch", "--json", "--encoder", "transformers:./no/such/folder")
    assert outcome.status == 3
    first, *others = outcome.json["fetched"]
    assert first["error"]["code"] == "weights_missing"
    assert all(row["ok"] for row in others)


def test_stop_says_whether_anything_was_left(dar: Dar) -> None:
    assert dar("models", "stop").out == "None was left.\n"
    assert dar("models", "stop", "--json").json == {"stopped": 0}
