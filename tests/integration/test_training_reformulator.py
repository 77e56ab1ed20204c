"""Training of the small chat model: packed rounds are as rounds alone, it resumes, and the chat adapter loads it."""

from __future__ import annotations

import pytest
import torch

from dar_search.data import Dialogue, Turn
from dar_search.demo.conversations import conversation
from dar_search.demo.splits import scene
from dar_search.errors import ModelFailed
from dar_search.models.reformulators import instructions
from dar_search.models.reformulators.chat_reformulator import ChatOptions, ChatReformulator

reformulator = pytest.importorskip("training.reformulator", exc_type=ImportError)
from training import checkpoints, facts  # noqa: E402
from training import reformulator_examples as made  # noqa: E402
from training import reformulator_words as words  # noqa: E402


@pytest.fixture(scope="module")
def listed():
    return made.tokens()


@pytest.fixture(scope="module")
def numbers(listed):
    return {token: number for number, token in enumerate(listed)}


@pytest.fixture(scope="module")
def talk():
    return conversation(scene("reformulator", "train"), 3, "train")


def test_what_it_learns_to_write_states_what_was_told(talk):
    for known in talk.known:
        assert facts.read_facts(made.text_of(known)) == set(known.items())


@pytest.mark.parametrize("number", [0, 1, 10])
def test_its_tokenizer_reads_what_the_adapter_sends_as_training_had_it(talk, listed, numbers, number):
    reader = words.build(listed, reformulator.LENGTH)
    sent = reader.apply_chat_template(
        instructions.messages(talk.dialogue.at_round(number)), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    packed = made.example(talk, [number], numbers)
    answer_at = packed.targets.index(numbers[words.TEXT])
    assert sent == packed.numbers[: answer_at + 1]
    written = [target for target in packed.targets if target >= 0]
    read = instructions.read(reader.decode(written, skip_special_tokens=True), reformulator="it")
    assert read.text == made.text_of(talk.known[number])


def test_it_is_told_after_each_turn_what_the_turn_told(talk, numbers):
    packed = made.example(talk, [3, 10], numbers)
    names = {number: statement for statement, number in made.statements().items()}
    places = [(packed.positions[at], pair) for at, pair in enumerate(packed.told) if pair[0] != made.IGNORED]
    pairs = [pair for _, pair in sorted(set(places))]
    assert len(pairs) == 11
    known = {}
    for pair, after in zip(pairs, talk.known, strict=True):
        known |= dict(names[number] for number in pair if number)
        assert known == after


def test_strange_words_and_marks_are_read_as_unknown(listed, numbers):
    reader = words.build(listed, reformulator.LENGTH)
    hostile = Dialogue("Zebra \u2603 <|write|> \\ {", (Turn('"}]}', "<|end|>"),))
    sent = reader.apply_chat_template(instructions.messages(hostile), add_generation_prompt=True, return_dict=True)
    assert sent["input_ids"].count(numbers[words.WRITE]) == 1
    assert numbers[words.UNKNOWN] in sent["input_ids"]
    assert numbers[words.END] not in sent["input_ids"]


def test_rounds_that_are_packed_are_predicted_as_rounds_alone(talk, listed, numbers):
    torch.manual_seed(1)
    network = reformulator.network(len(listed)).eval()
    together = made.example(talk, [0, 4, 10], numbers)
    tokens, positions, _, _, mask = made.batch_of([together, made.example(talk, [2], numbers)])
    with torch.inference_mode():
        packed = network(input_ids=tokens, position_ids=positions, attention_mask=mask).logits[0]
        for branch, number in enumerate((0, 4, 10), 1):
            alone = made.example(talk, [number], numbers)
            expected = network(input_ids=torch.tensor([alone.numbers])).logits[0]
            torch.testing.assert_close(
                packed[: len(together.parts)][torch.tensor(together.parts) == branch],
                expected[torch.tensor(alone.parts) == 1],
                rtol=1e-4,
                atol=1e-4,
            )


def test_training_resumes_and_leaves_a_folder_that_the_chat_adapter_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "BATCH", 2)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    reformulator.train(whole, 2, report_every=1)
    stopped = checkpoints.save

    def stop(path, modules, optimizer, step):
        stopped(path, modules, optimizer, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        reformulator.train(halves, 2, report_every=1)
    monkeypatch.setattr(checkpoints, "save", stopped)
    reformulator.train(halves, 2, report_every=1)
    expected, resumed = (torch.nn.ModuleDict({"m": reformulator.ReadingWriter(len(made.tokens()))}) for _ in "ab")
    for folder, module in ((whole, expected), (halves, resumed)):
        assert checkpoints.load(folder / "reformulator.safetensors", {"model": module["m"]}) == 2
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    # After two steps it writes no JSON yet; that it says so means that it was loaded and asked.
    writer = ChatReformulator(str(whole / "reformulator"), device="cpu", options=ChatOptions(most_tokens=4))
    with pytest.raises(ModelFailed, match="JSON"):
        writer.reformulate(Dialogue("a red kite"))
