"""What splits a search's candidates: groups that look alike, and the information of each question."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import Dialogue
from dar_search.method.candidate_splits import Candidate, Split, answer_of, group, shown, splits, typical
from dar_search.method.questions import (
    checked_question,
    worded,
)
from tests.fakes import direction


def candidate(number: int, look: str, caption: str = "", **metadata: object) -> Candidate:
    noise = 0.1 * direction(f"noise {number}", 64)
    row = direction(look, 64) + noise
    return Candidate(f"id{number}", (row / np.linalg.norm(row)).astype(np.float32), caption, metadata)  # type: ignore[arg-type]


def best(candidates: Sequence[Candidate], fields: Sequence[str] | None = None) -> Split:
    return splits(candidates, group(candidates, 4), fields=fields)[0]


def test_groups_are_the_looks_and_the_typical_one_is_of_its_group() -> None:
    candidates = [
        candidate(number, look, look) for number, look in enumerate(["sea"] * 5 + ["wood"] * 3 + ["town"] * 2)
    ]
    groups = group(candidates, 3)
    assert len(set(groups.tolist())) == 3
    assert [len(set(groups[some].tolist())) for some in (slice(0, 5), slice(5, 8), slice(8, 10))] == [1, 1, 1]
    assert [(one.caption, share) for one, share in typical(candidates, groups)] == [
        ("sea", 0.5), ("wood", 0.3), ("town", 0.2),
    ]  # fmt: skip


def test_the_same_picture_many_times_is_one_group() -> None:
    same = [Candidate(f"id{number}", direction("x", 64), "", {}) for number in range(6)]
    assert set(group(same, 4).tolist()) == {0}


def test_the_information_is_that_of_the_definition() -> None:
    looks = ["sea"] * 4 + ["wood"] * 4
    sky = ["sun", "sun", "sun", "rain", "rain", "rain", "rain", None]
    candidates = [
        candidate(number, look, **({"sky": value} if value else {}))
        for number, (look, value) in enumerate(zip(looks, sky, strict=True))
    ]
    split = splits(candidates, group(candidates, 2))[0]
    entropy = -(3 / 7) * math.log2(3 / 7) - (4 / 7) * math.log2(4 / 7)
    within = (4 / 7) * (-(3 / 4) * math.log2(3 / 4) - (1 / 4) * math.log2(1 / 4))
    assert split.bits == pytest.approx(7 / 8 * entropy)
    assert split.group_bits == pytest.approx(7 / 8 * (entropy - within))
    assert split.shares == {"rain": 0.5, "sun": 0.375, "unknown": 0.125}


def test_a_field_that_shows_in_the_pictures_is_asked_before_one_that_does_not() -> None:
    candidates = [
        candidate(number, "sea" if number < 8 else "wood", place="sea" if number < 8 else "wood", lens="ab"[number % 2])
        for number in range(16)
    ]
    found = splits(candidates, group(candidates, 2))
    assert [split.field for split in found] == ["place", "lens"]
    assert found[0].bits == found[1].bits == 1.0
    assert found[0].group_bits == pytest.approx(1.0)
    assert found[1].group_bits == pytest.approx(0.0)


def test_a_field_that_names_each_picture_is_never_asked_about() -> None:
    candidates = [candidate(number, "x", file=f"DSC{number}", kind="ab"[number % 2]) for number in range(30)]
    assert {split.field for split in splits(candidates, group(candidates, 4))} == {"kind"}


def test_many_numbers_are_asked_about_by_their_middle() -> None:
    candidates = [candidate(number, "x", price=float(number)) for number in range(40)]
    split = best(candidates)
    assert (split.kind, split.value) == ("field_above", "19.5")
    assert worded(split) == "Is its price 19.5 or more?"
    assert split.shares == {"no": 0.5, "yes": 0.5}


def test_only_the_fields_that_may_be_asked_about_are() -> None:
    candidates = [candidate(number, "x", secret="ab"[number % 2], kind="aab"[number % 3]) for number in range(12)]
    assert {split.field for split in splits(candidates, group(candidates, 2), fields=["kind"])} == {"kind"}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shares_are_the_counted_answers_of_the_candidates(seed: int) -> None:
    rng = random.Random(seed)
    values: list[object] = ["red", "blue", True, False, 1.0, 2.0, ("a", "b"), ("a",), ("c", "a"), "unknown"]
    candidates = []
    for number in range(rng.randint(2, 30)):
        metadata = {name: rng.choice(values) for name in ("one", "two") if rng.random() < 0.8}
        caption = " ".join(rng.sample(["tree", "trees", "river", "castle", "über"], rng.randint(0, 3)))
        candidates.append(candidate(number, rng.choice("xyz"), caption, **metadata))
    groups = group(candidates, 3)
    for split in splits(candidates, groups):
        answers = [answer_of(one, split) for one in candidates]
        assert split.shares == pytest.approx({one: answers.count(one) / len(answers) for one in set(answers)})
        assert sum(split.shares.values()) == pytest.approx(1.0)
        assert 0 <= split.group_bits <= split.bits + 1e-9
        text = worded(split)
        assert checked_question(text, Dialogue("x"), "stored") == text


def test_numbers_that_differ_in_their_last_digit_are_different_answers() -> None:
    assert [shown(value) for value in (1746714878034235396, 1746714878034235397, 2001, 2001.0, 0.5)] == [
        "1746714878034235396", "1746714878034235397", "2001", "2001", "0.5",
    ]  # fmt: skip
