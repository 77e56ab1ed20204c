"""What a person would read at once in a model's answer is read; what leaves a doubt is not."""

from __future__ import annotations

import json

import pytest

from dar_search.data import Dialogue, Turn
from dar_search.errors import ModelFailed
from dar_search.models.reformulators import instructions
from dar_search.models.reformulators.instructions import object_in

GOOD = '{"text": "a red balloon", "prompts": ["a photo"]}'


@pytest.mark.parametrize(
    ("answer", "text", "prompts"),
    [
        ('{"text": "a red\nballoon", "prompts": ["a\tphoto"]}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompts": "a photo"}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompt": "a photo"}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompts": null}', "a red balloon", ("a red balloon",)),
        ('{"text": "a red balloon", "prompts": [null, "a photo"]}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompts": [{"prompt": "a photo"}]}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompts": {"prompt": "a photo"}}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompts": ["..."]}', "a red balloon", ("a red balloon",)),
        (f'{{"answer": {GOOD}}}', "a red balloon", ("a photo",)),
        (f'{{"result": {{"answer": [{GOOD}]}}}}', "a red balloon", ("a photo",)),
        (json.dumps(GOOD), "a red balloon", ("a photo",)),
        (json.dumps(GOOD)[1:-1], "a red balloon", ("a photo",)),
        (json.dumps({"name": "answer", "arguments": GOOD}), "a red balloon", ("a photo",)),
        (json.dumps({"text": GOOD, "prompts": []}), "a red balloon", ("a photo",)),
        (f"[{GOOD}]", "a red balloon", ("a photo",)),
        ('{"Text": "a red balloon", "PROMPTS": ["a photo"]}', "a red balloon", ("a photo",)),
        ('{"text": "a red balloon", "prompts": ["a photo",],}', "a red balloon", ("a photo",)),
        ("{'text': 'a dog's red balloon', 'prompts': ['a photo', None]}", "a dog's red balloon", ("a photo",)),
        ('{"text": "a sign "STOP" on it", "prompts": ["a photo"]}', 'a sign "STOP" on it', ("a photo",)),
        ("{“text”: “a red balloon”, “prompts”: [“a photo”]}", "a red balloon", ("a photo",)),
        ('{text: "a red balloon", // all of it\n prompts: ["a photo"] /* one */}', "a red balloon", ("a photo",)),
        ('```json\n{"text": "a red balloon", "prompts": ["a photo"]\n```'[:-4], "a red balloon", ("a photo",)),
        ('{"text": "a sign that says <think>", "prompts": ["a photo"]}', "a sign that says <think>", ("a photo",)),
    ],
)
def test_what_a_person_would_read_at_once_is_read(answer: str, text: str, prompts: tuple[str, ...]) -> None:
    read = instructions.read(f"Here you are: {answer}" if answer[0] == "{" else answer, reformulator="m", prompts=2)
    assert (read.text, read.prompts) == (text, prompts)


@pytest.mark.parametrize(
    "answer",
    [
        "The text is: a red balloon",
        '{"text": "a red ball',
        '{"text": "a red balloon", "prompts": ["a pho',
        '{"text": "a red", big "balloon"}',
        '{"first": {"text": "a"}, "second": {"text": "b"}}',
        '{"type": "object", "properties": {"text": {"type": "string"}}}',
        "{'text': a red balloon}",
        '{"text": "' + "x " * 20_000 + '"}',
    ],
)
def test_what_leaves_a_doubt_is_a_model_error(answer: str) -> None:
    with pytest.raises(ModelFailed):
        instructions.read(answer, reformulator="m")


@pytest.mark.parametrize("letters", [0, 1_000, 17_000, 200_000])
@pytest.mark.parametrize(
    "thinking",
    [
        "<think>{}</think>",
        "<THINKING>{}</THINKING>",
        "{}</think>",  # the template has begun it
        "<think>a</think><think>{}</think>",
        "[THINK]{}[/THINK]",
        "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    ],
)
def test_an_answer_is_found_after_thinking_of_any_length_and_no_draft_in_it_is_taken(
    thinking: str, letters: int
) -> None:
    thought = 'perhaps {"text": "a draft", "prompts": []} ' + "x " * (letters // 2)
    assert object_in(thinking.format(thought) + "\n" + GOOD) == json.loads(GOOD)
    assert object_in(thinking.format(thought)) is None


@pytest.mark.parametrize("beginning", ["<think>", "[THINK]", "<|channel|>analysis<|message|>"])
def test_thinking_that_did_not_end_holds_no_answer(beginning: str) -> None:
    assert object_in(f'{beginning}perhaps {{"text": "a draft"}}') is None


@pytest.mark.parametrize(
    "answer",
    [
        '{"' * 130_000,
        "{'" * 130_000,
        "<think>" * 30_000,
        "</think>" * 30_000,
        '{"a": ' * 40_000,
        "{'text': '" + "' " * 99_999,
    ],
)
def test_a_hostile_answer_is_looked_through_to_its_end(answer: str) -> None:
    assert object_in(answer) is None


def test_a_prompt_that_a_server_repeats_before_the_answer_is_no_answer() -> None:
    chat = instructions.messages(Dialogue("a car", (Turn("what colour?", "red"),)))
    prompt = "".join(f"<|{message['role']}|>{message['content']}" for message in chat)
    assert object_in(f"{prompt}<|assistant|>{GOOD}") == json.loads(GOOD)
    assert object_in(prompt) is None
