"""Presets name models and settings that there are, and say what they cost."""

from __future__ import annotations

import pytest

from dar_search.errors import UnknownModel
from dar_search.models import catalogue, presets
from dar_search.models.imaginers.picture_imaginer import PictureOptions
from dar_search.models.options import read_options
from dar_search.settings import Settings

KNOWN = presets.presets()


def test_there_is_one_for_each_kind_of_machine_and_for_the_paper() -> None:
    assert {"demo", "cpu", "gpu", "paper"} <= {preset.name for preset in KNOWN}


@pytest.mark.parametrize("preset", KNOWN, ids=lambda preset: preset.name)
def test_a_preset_names_each_of_its_parts_with_licence_and_size(preset: presets.Preset) -> None:
    assert presets.names_of(preset.settings) == {part.role: part.name for part in preset.parts}
    for part in preset.parts:
        assert part.licence
        assert part.run == ("these weights" if part.name in ("demo", "rules") else "random weights")
        assert (part.download_mb > 0) == (part.memory_mb > 0) or part.name == "demo"
        kinds = {
            "encoder": catalogue.ENCODERS,
            "reformulator": catalogue.REFORMULATORS,
            "imaginer": catalogue.IMAGINERS,
        }[part.role]
        assert part.name.partition(":")[0] in {known.partition(":")[0] for known in kinds}
    assert preset.download_mb == sum(part.download_mb for part in preset.parts)


@pytest.mark.parametrize("preset", KNOWN, ids=lambda preset: preset.name)
def test_a_presets_settings_are_settings_and_its_options_the_imaginers(preset: presets.Preset) -> None:
    options = {"imaginer_options", "reformulator_options"}
    assert set(preset.settings) <= set(Settings.model_fields) | options
    if preset.settings.get("imaginer", "").startswith("diffusers:"):
        read_options(PictureOptions, preset.settings.get("imaginer_options"), model=preset.name)


def test_the_papers_preset_says_where_it_differs() -> None:
    differs = presets.preset("paper").differs
    for part in ("encoder", "language model", "pictures"):
        assert part in differs


def test_an_unknown_preset_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UnknownModel, match="Did you mean paper"):
        presets.preset("papr")


def test_checking_says_what_is_wrong_with_each_part_and_raises_nothing() -> None:
    found = list(presets.check({"encoder": "nothing:x", "reformulator": "rules", "imaginer": "demo"}))
    assert [check.ok for check in found] == [False, True, False]
    assert "no encoder" in found[0].said
    assert "red" in found[1].said
    assert found[2].hint == "Check the encoder first."
