"""What a chat endpoint's answer says, and what of it is shown."""

from __future__ import annotations

import json

import pytest

from dar_search.models.reformulators.chat_completions import Completion, Refusal, completion_in, shown


@pytest.mark.parametrize(
    "message", [None, {"role": "assistant", "content": ""}, {"role": "assistant", "content": None}]
)
def test_an_error_inside_a_choice_is_a_refusal_in_its_words(message: object) -> None:
    error = {"code": 502, "message": "The provider went away."}
    choice = {"finish_reason": "error", "error": error, "message": message}
    found = completion_in(json.dumps({"choices": [choice]}).encode())
    assert isinstance(found, Refusal)
    assert "provider went away" in found.words
    assert found.status == 502


def test_words_beside_an_error_stay_an_answer() -> None:
    choice = {"error": {"message": "late"}, "message": {"content": "a red house"}}
    found = completion_in(json.dumps({"choices": [choice]}).encode())
    assert isinstance(found, Completion)
    assert found.text == "a red house"


@pytest.mark.parametrize("said", ["ends in w9xz", "…w9xz", "'...w9xz'", "(w9xz)"])
@pytest.mark.parametrize("key", ["key-0123456789-abcdef-w9xz", "short-w9xz"])
def test_the_short_end_of_a_key_is_masked(said: str, key: str) -> None:
    line = shown(f"The key {said} is not known.", [key])
    assert "w9xz" not in line
    assert "is not known" in line


def test_a_word_that_ends_like_a_key_stays() -> None:
    assert shown("the word overw9xz stays", ["short-w9xz"]) == "the word overw9xz stays"
