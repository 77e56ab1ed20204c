"""Words must be those of OpenSearch's english analyzer; the contract suite asks the real one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.stores import words as module
from dar_search.stores.words import MAX_WORD_CHARACTERS, STOP_WORDS, words

TRICKY = st.text(st.sampled_from("abZ09_'’.:,;-\" \n\x00\téś‍🐶漢カひ々ก"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two DOGS running", ["two", "dogs", "running"]),
        ("the dog's bowl, it's the dogs' bowl’s", ["dog", "bowl", "dogs", "bowl"]),
        (
            "3.5 1,000 U.S.A. wi-fi red_ball __ don't 'quoted'",
            ["3.5", "1,000", "u.s.a", "wi", "fi", "red_ball", "don't", "quoted"],
        ),
        ("红色 カメラ ねこ 한국어 ภาษาไทย नमस्ते", ["红", "色", "カメラ", "ね", "こ", "한국어", "ภาษาไทย", "नमस्ते"]),
        ("ΟΔΟΣ İ", ["οδοσ", "i"]),
        ("👍🏽🐶 © ✓", ["👍🏽", "🐶", "©"]),
        ('caption:*) OR "', ["caption"]),
        ("to be or not to be", []),
        ("", []),
    ],
)
def test_a_text_has_these_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(st.characters(max_codepoint=127), max_size=60) | TRICKY.filter(str.isascii))
def test_the_fast_way_for_ascii_finds_what_the_general_way_finds(text: str) -> None:
    general = [s for s in module._SEGMENT.findall(text) if not module._JOINERS_ALONE.fullmatch(s)]
    # The one thing that the fast way leaves to the general one: keycaps need a character that ASCII lacks.
    assert [segment for segment in module._ASCII_SEGMENT.findall(text) if segment.strip("_")] == general


@given(st.text(max_size=80) | TRICKY)
def test_no_word_can_be_taken_for_query_syntax(text: str) -> None:
    for word in words(text):
        assert not re.search(r'["\s()*^+\-\x00-\x1f]', word)
        assert 0 < len(word) <= MAX_WORD_CHARACTERS
        assert word not in STOP_WORDS


@given(st.lists(st.text(st.characters(categories=["Ll"], max_codepoint=0x24F), min_size=1, max_size=8), max_size=8))
def test_words_parted_by_blanks_are_found_again(parts: list[str]) -> None:
    once = words(" ".join(parts))
    assert words(" ".join(once)) == once


@pytest.mark.parametrize(
    "unit", ["_", "_\u0301", "\u0301", "a'", "1,", "a", "\u200d", "👩\u200d", "ก\u0301", "'", "＿", "#\ufe0f"]
)
@pytest.mark.parametrize("end", ["", " é"])
def test_a_long_row_of_anything_is_taken_apart(unit: str, end: str) -> None:
    found = words(unit * (200_000 // len(unit.encode())) + end)
    assert all(len(word) <= MAX_WORD_CHARACTERS for word in found)
    assert ("é" in found) == bool(end)


def test_long_words_are_cut_as_lucene_cuts_them() -> None:
    assert [len(word) for word in words("x" * 600)] == [255, 255, 90]
