"""Dialogues are read from every form that people write them in, and nothing hostile gets through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dar_search.data import Dialogue, Turn
from dar_search.errors import DialogueError
from dar_search.method.dialogues import (
    MAX_CHARACTERS,
    MAX_TURNS,
    as_json,
    load_dialogues,
    parse_dialogue,
    parse_targeted,
    parse_turn,
    read_dialogue,
    read_dialogues,
)
from dar_search.method.rewriting import rewrite
from dar_search.models.reformulators.rules import RulesReformulator
from tests.fakes import FakeEncoder

EXCERPT = Path(__file__).parents[1] / "data" / "chatir_excerpt.json"
CHATIR = Path(__file__).parents[2] / ".." / "shared" / "data" / "chatir"
DOG = Dialogue("a dog", (Turn("what color is it?", "brown"), Turn("is it big?", "no")))


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ("is it red? yes", "is it red?", "yes"),
        ("is it red ? yes", "is it red ?", "yes"),
        ("is it red?yes", "is it red?", "yes"),
        ("  is it\tred?\n yes  it is ", "is it red?", "yes it is"),
        ("What is it? Is it a dog? a dog", "What is it? Is it a dog?", "a dog"),
        ("is it a dog? maybe a cat?", "is it a dog?", "maybe a cat?"),
        ("really?? yes", "really??", "yes"),
        ("is it choppy?\nAnswer: choppy a man surfing", "is it choppy?", "Answer: choppy a man surfing"),
        ("is it red?", "is it red?", ""),
        ("is it red??", "is it red??", ""),
        ("it is red", "", "it is red"),
        ("?", "?", ""),
        ("这是什么？狗", "这是什么？", "狗"),
        ("ما هذا؟ كلب", "ما هذا؟", "كلب"),
    ],
)
def test_a_turn_splits_behind_its_question(text: str, question: str, answer: str) -> None:
    assert parse_turn(text) == Turn(question, answer)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab ?？؟\n.")).filter(str.strip))
def test_a_split_loses_no_character_but_white_space(text: str) -> None:
    turn = parse_turn(text)
    assert "".join((turn.question + turn.answer).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "value",
    [
        ["a dog", "what color is it? brown", "is it big? no"],
        ("a dog", {"question": "what color is it?", "answer": "brown"}, ["is it big?", "no"]),
        {"img": "dog.jpg", "dialog": ["a dog", "what color is it? brown", "is it big? no"]},
        {"dialogue": ["a dog", "what color is it? brown", "is it big? no"], "id": 7},
        {"caption": "a dog", "turns": [{"question": "what color is it?", "answer": "brown"}, "is it big? no"]},
        "a dog\nwhat color is it? brown\n\n  is it big? no\n",
    ],
)
def test_every_form_reads_as_the_same_dialogue(value: Any) -> None:
    assert parse_dialogue(value) == DOG
    if not isinstance(value, tuple):
        assert read_dialogue(value if isinstance(value, str) else json.dumps(value)) == DOG


def test_a_caption_alone_is_a_dialogue_at_round_0() -> None:
    for value in (["a dog"], {"caption": "a dog"}, "a dog", {"caption": "a dog", "turns": []}):
        assert parse_dialogue(value) == Dialogue("a dog")


@pytest.mark.parametrize(
    ("value", "target"),
    [({"img": "1.jpg", "dialog": ["a"]}, "1.jpg"), ({"target": "2", "img": "1", "caption": "a"}, "2"), (["a"], "")],
)
def test_the_target_is_kept(value: Any, target: str) -> None:
    assert parse_targeted(value).target == target


parts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30).map(lambda text: " ".join(text.split()))


@settings(deadline=None)
@given(parts.filter(bool), st.lists(st.tuples(parts, parts).filter(any), max_size=5))
def test_a_dialogue_reads_back_from_its_json(caption: str, turns: list[tuple[str, str]]) -> None:
    dialogue = Dialogue(caption, tuple(Turn(question, answer) for question, answer in turns))
    assert read_dialogue(json.dumps(as_json(dialogue))) == dialogue


def test_files_hold_one_dialogue_a_list_or_one_a_line(tmp_path: Path) -> None:
    items = [{"img": str(number), "dialog": ["a dog", f"how many? {number}"]} for number in range(3)]
    contents = {
        "list.json": json.dumps(items),
        "pretty.json": "\ufeff" + json.dumps(items, indent=2),
        "lines.jsonl": "\n".join(map(json.dumps, items)) + "\n\n",
        "lists.json": json.dumps([item["dialog"] for item in items]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content, "utf-8")
        read = load_dialogues(tmp_path / name)
        assert [one.dialogue.turns for one in read] == [(Turn("how many?", str(number)),) for number in range(3)]
        assert [one.target for one in read] == (["0", "1", "2"] if name != "lists.json" else [""] * 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not null"),
        (5, "not a number"),
        (True, "not true or false"),
        ([], "no caption"),
        ({}, "no caption"),
        ([""], "no caption"),
        (["  \n"], "no caption"),
        ([5, "a? b"], "The caption is a number"),
        ({"caption": ["a"]}, "The caption is a list"),
        (["a", 5], "Turn 1 is a number"),
        (["a", "b? c", None], "Turn 2 is null"),
        (["a", " "], "Turn 1 is empty"),
        (["a", {}], "Turn 1 is empty"),
        (["a", {"question": {}, "answer": "b"}], "Turn 1's question is an object"),
        (["a", ["b", "c", "d"]], "Turn 1 is a list"),
        ({"dialog": {"a": 1}}, "a list, not an object"),
        ({"caption": "a", "turns": "b? c"}, "turns are a list, not a string"),
        ({"img": 5, "dialog": ["a"]}, "The target is a number"),
        (["a\x00b"], "U+0000"),
        (["a", "b? \x1b[31mred"], "U+001B"),
        (["a", "b? \x85\u009bred"], "U+009B"),
        (["a", {"question": "\ud800", "answer": ""}], "U+D800"),
        (["a" * (MAX_CHARACTERS + 1)], "4,001 characters"),
        (["a", "b? " + "c" * 1_000_000], "1,000,003 characters"),
        (["a", {"question": "", "answer": "c" * 5_000}], "5,000 characters"),
        (["a"] * (MAX_TURNS + 2), "101 turns"),
    ],
)
def test_what_is_no_dialogue_is_refused_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(DialogueError) as caught:
        parse_dialogue(value)
    assert message in caught.value.message
    assert caught.value.hint
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("[", "not valid JSON"),
        ("{]", "not valid JSON"),
        ('["a"', "not valid JSON"),
        ("[" * 1_000_000, "not valid JSON"),
        ('{"a":' * 200_000, "not valid JSON"),
        ("[[" + "1," * 500_000 + "1]]", "at most 100"),
        ("[NaN]", "not valid JSON"),
        ('["\\ud800"]', "not valid JSON"),
        ("[" + "9" * 100_000 + "]", "not valid JSON"),
        ("x" * 1_000_000, "1,000,000 characters"),
        ("line\n" * 200_000, "at most 100"),
        ('["a"]\n["b"', "Line 2 is not valid JSON"),
        ('["a"]\n\n{"caption": 5}', "Line 3: The caption is a number"),
        ('[["a"], 5]', "Dialogue 2"),
        ("[[]]", "Dialogue 1"),
    ],
)
def test_hostile_input_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DialogueError) as caught:
        read_dialogues(text)
    assert message in caught.value.message
    assert len(str(caught.value)) < 400


def test_several_dialogues_are_not_one() -> None:
    with pytest.raises(DialogueError, match="2 dialogues where one is wanted"):
        read_dialogue('[["a"], ["b"]]')


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    with pytest.raises(DialogueError, match="cannot be read"):
        load_dialogues(broken)
    with pytest.raises(DialogueError, match="cannot be read"):
        load_dialogues(tmp_path)
    broken.write_bytes(b"\xff\xfe[")
    with pytest.raises(DialogueError, match="not UTF-8"):
        load_dialogues(broken)
    broken.write_text("[5]")
    with pytest.raises(DialogueError) as caught:
        load_dialogues(broken)
    assert caught.value.message == f"{broken}: Dialogue 1: A dialogue is a list or an object, not a number."


def rounds_that_go_through(path: Path) -> int:
    """Parses a ChatIR file and rewrites each of its rounds by rules; returns how many there were."""
    raw = json.loads(path.read_text("utf-8"))
    encoder, reformulator, rounds = FakeEncoder(dimension=4), RulesReformulator(), 0
    for item, read in zip(raw, load_dialogues(path), strict=True):
        assert read.target == item["img"]
        assert read.dialogue.caption == " ".join(item["dialog"][0].split())
        for text, turn in zip(item["dialog"][1:], read.dialogue.turns, strict=True):
            assert turn.text.split() == text.split()
            assert turn.question.endswith("?") or "? " not in text
        for round in range(len(item["dialog"])):
            query = rewrite(read.dialogue.at_round(round), encoder, reformulator)
            assert query.legs["reformulation"].status == "ok"
            assert query.reformulation.text.startswith(read.dialogue.caption.rstrip(".,; "))
            assert query.dialogue.round == round
            rounds += 1
    return rounds


def test_an_excerpt_of_chatir_goes_through_every_round() -> None:
    assert rounds_that_go_through(EXCERPT) == 11 * 11


def test_all_of_visdial_goes_through_every_round() -> None:
    path = CHATIR / "VisDial_v1.0_queries_val.json"
    if not path.is_file():
        pytest.skip("the ChatIR dialogues are not here")
    assert rounds_that_go_through(path) == 2064 * 11


@pytest.mark.parametrize("name", ["ChatGPT_BLIP2.json", "FLAN_ALPACA_XXL_BLIP2.json"])
def test_the_simulated_dialogues_read_whole(name: str) -> None:
    path = CHATIR / name
    if not path.is_file():
        pytest.skip("the ChatIR dialogues are not here")
    raw = json.loads(path.read_text("utf-8"))
    for item, read in zip(raw, load_dialogues(path), strict=True):
        texts = ["".join(turn.text.split()) for turn in read.dialogue.turns]
        assert texts == ["".join(text.split()) for text in item["dialog"][1:]]


def test_a_file_may_hold_any_number_of_dialogues() -> None:
    assert len(read_dialogues(json.dumps([["a dog"]] * 5_000))) == 5_000
