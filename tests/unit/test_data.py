"""The data model: frozen, and a dialogue knows its rounds."""

from __future__ import annotations

import dataclasses

import pytest

import dar_search
from dar_search import data
from dar_search.data import Dialogue, ImageRecord, ScoreFusion, Turn

DIALOGUE = Dialogue("a dog", (Turn("what color is it?", "brown"), Turn("", "it is big"), Turn("is it old?", "")))


def test_every_class_is_frozen() -> None:
    classes = [value for value in vars(data).values() if dataclasses.is_dataclass(value)]
    assert len(classes) > 10
    for one in classes:
        assert one.__dataclass_params__.frozen, one  # type: ignore[union-attr]
        assert hasattr(one, "__slots__"), one


def test_a_dialogue_after_n_turns_is_at_round_n() -> None:
    assert DIALOGUE.round == 3
    assert [DIALOGUE.at_round(number).round for number in range(4)] == [0, 1, 2, 3]
    assert DIALOGUE.at_round(0) == Dialogue("a dog")
    assert DIALOGUE.at_round(3) == DIALOGUE


def test_a_dialogues_text_is_everything_said_in_order() -> None:
    assert DIALOGUE.text == "a dog what color is it? brown it is big is it old?"
    assert DIALOGUE.at_round(1).text == "a dog what color is it? brown"
    assert Dialogue("", (Turn("", "yes"),)).text == "yes"


def test_dialogues_can_be_keys() -> None:
    assert len({DIALOGUE, dataclasses.replace(DIALOGUE), DIALOGUE.at_round(1)}) == 2


def test_records_do_not_share_their_metadata(unit_vector: object) -> None:
    first, second = (ImageRecord(name, unit_vector, name) for name in "ab")  # type: ignore[arg-type]
    assert first.metadata == {}
    assert first.metadata is not second.metadata


@pytest.fixture
def unit_vector() -> object:
    return [1.0, 0.0]


def test_score_fusion_is_weighted_to_one_by_default() -> None:
    assert ScoreFusion().knn + ScoreFusion().keyword == pytest.approx(1.0)


def test_the_package_exports_its_words_sorted() -> None:
    names = [name for name in dar_search.__all__ if not name.startswith("__")]
    assert names == sorted(names)
    for name in dar_search.__all__:
        assert hasattr(dar_search, name)
