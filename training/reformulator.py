"""The small chat model that reformulates: dialogue in, caption out, behind the same adapter as the big ones.

`python -m training.reformulator --work DIR` trains it on dialogues of the training split, made as they are needed, and
leaves DIR/reformulator: a Llama of about a million parameters with a tokenizer and a chat template of its own.
Reading and copying take far more samples than words do, so one dialogue teaches several of its rounds at once: after
the dialogue stand the texts of the rounds as branches, each of which sees only its own beginning of the dialogue.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn import functional

from dar_search.demo.conversations import Conversation, conversation
from dar_search.demo.language import PlainSpeaker, with_article
from dar_search.demo.splits import scene
from dar_search.demo.world import TYPES, VALUES, Fact, Knowledge
from training import checkpoints
from training import reformulator_words as words

LAYERS, WIDTH, HEADS, INNER, LENGTH = 4, 128, 4, 512, 512
BATCH, BRANCHES, RATE, SEED = 16, 5, 2e-3, 9
_PLAIN = PlainSpeaker()
_IGNORED = -100


def text_of(known: Knowledge) -> str:
    """What the model learns to write: each thing's name before its attributes, which are easier looked up by name."""
    parts = [_PLAIN.value("count", known[Fact("count")])] if Fact("count") in known else []
    for thing in TYPES:
        if any(fact.thing == thing for fact in known):
            told = [
                _PLAIN.value(part, known[Fact(part, thing)])
                for part in ("size", "colour", "texture")
                if Fact(part, thing) in known
            ]
            listed = " and ".join(filter(None, [", ".join(told[:-1]), *told[-1:]]))
            place = known.get(Fact("place", thing))
            words_of = [with_article(thing), f"that is {listed}" if listed else ""]
            parts.append(" ".join(filter(None, [*words_of, _PLAIN.value("place", place) if place else ""])))
    background = [_PLAIN.value(part, known[Fact(part)]) for part in ("setting", "sky") if Fact(part) in known]  # type: ignore[arg-type]
    return " ".join(filter(None, [", ".join(parts), *background]))


@cache
def tokens() -> list[str]:
    """The vocabulary, with all that can be written."""
    written = [_PLAIN.value(part, value) for part, values in VALUES.items() for value in values]
    return words.vocabulary([*written, "a an that is and ,"])


def network(vocabulary: int) -> transformers.LlamaForCausalLM:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=LENGTH,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=3,
            pad_token_id=0,
            attn_implementation="sdpa",
        )
    )


@dataclass(frozen=True, slots=True)
class Example:
    """A dialogue and some of its rounds' texts, packed.

    Attributes:
        numbers, positions, targets: (n,) token numbers, places, and what is to be predicted there (-100: nothing).
        parts: (n,) 0 for the dialogue, else the branch.
        ends: branch -> how many tokens of the dialogue it sees (ends[0] is unused).
    """

    numbers: list[int]
    positions: list[int]
    targets: list[int]
    parts: list[int]
    ends: list[int]


def example(told: Conversation, rounds: Sequence[int], numbers: dict[str, int]) -> Example:
    """Rounds ascend, and the dialogue is told up to the last of them."""
    unknown = numbers[words.UNKNOWN]

    def read(text: str) -> list[int]:
        return [numbers.get(token, unknown) for token in words.split(text)]

    shared = [numbers[words.CAPTION], *read(told.dialogue.caption)]
    ends = [len(shared)]
    for at, turn in enumerate(told.dialogue.turns[: rounds[-1]]):
        shared.append(numbers[words.NEXT_TURN if at else words.FIRST_TURN])
        shared += [*read(turn.question), numbers[words.ANSWER], *read(turn.answer)]
        ends.append(len(shared))
    packed = Example(list(shared), list(range(len(shared))), [_IGNORED] * len(shared), [0] * len(shared), [0])
    for branch, number in enumerate(rounds, 1):
        asked = [numbers[words.LAST_TURN if number else words.NO_TURNS], numbers[words.WRITE]]
        answer = [numbers[words.TEXT], *read(text_of(told.known[number])), numbers[words.TEXT_END], numbers[words.END]]
        own = [*asked, *answer[:-1]]
        packed.numbers.extend(own)
        packed.positions.extend(range(ends[number], ends[number] + len(own)))
        packed.targets.extend([_IGNORED, *answer])
        packed.parts.extend([branch] * len(own))
        packed.ends.append(ends[number])
    return packed


def batch_of(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numbers, positions and targets (n, length), and who sees whom (n, 1, length, length) as an additive mask."""
    length = max(len(one.numbers) for one in examples)
    grid = np.zeros((3, len(examples), length), np.int64)
    grid[2] = _IGNORED
    hidden = np.ones((len(examples), length, length), np.bool_)
    hidden[:, range(length), range(length)] = False  # padding sees itself: a row without any would be NaN
    causal = np.tril(np.ones((length, length), np.bool_))
    for row, one in enumerate(examples):
        count = len(one.numbers)
        grid[:, row, :count] = [one.numbers, one.positions, one.targets]
        parts = np.array(one.parts)
        ends = np.array([count, *one.ends[1:]])[parts]
        column = np.arange(count)
        shared = (parts == 0)[None, :] & (column[None, :] < ends[:, None])
        hidden[row, :count, :count] = ~(causal[:count, :count] & (shared | (parts[None, :] == parts[:, None])))
    mask = torch.zeros(hidden.shape).masked_fill(torch.from_numpy(hidden), torch.finfo(torch.float32).min)
    numbers, positions, targets = torch.from_numpy(grid)
    return numbers, positions, targets, mask[:, None]


def examples_of(step: int, steps: int, numbers: dict[str, int]) -> list[Example]:
    """Dialogues that were never read before; short ones in the beginning, which are easier."""
    rng = random.Random(f"reformulator:{step}")
    longest = min(10, 2 + 16 * step // steps)
    found = []
    for number in range(BATCH):
        name = f"reformulator:{step}:{number}"
        last = longest if rng.random() < 0.6 else rng.randint(0, longest)
        rounds = sorted({last, *rng.sample(range(last + 1), min(BRANCHES - 1, last + 1))})
        found.append(example(conversation(scene(name, "train"), name, "train"), rounds, numbers))
    return found


def train(work: Path, steps: int, report_every: int = 100) -> None:
    torch.manual_seed(SEED)
    listed = tokens()
    numbers = {token: number for number, token in enumerate(listed)}
    modules = {"network": network(len(listed))}
    optimizer = checkpoints.adamw(modules["network"].parameters(), RATE, 0.05, (0.9, 0.98))
    path = work / "reformulator.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    began, samples, losses, right = time.perf_counter(), 0, [], []
    for step in range(first, steps):
        checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 200))
        examples = examples_of(step, steps, numbers)
        tokens_in, positions, targets, mask = batch_of(examples)
        hidden = (
            modules["network"]
            .model(input_ids=tokens_in, position_ids=positions, attention_mask=mask, use_cache=False)
            .last_hidden_state
        )
        counted = targets != _IGNORED
        logits = modules["network"].lm_head(hidden[counted])
        loss = functional.cross_entropy(logits, targets[counted])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules["network"].parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        right.append((logits.argmax(-1) == targets[counted]).float().mean().item())
        samples += sum(len(one.ends) - 1 for one in examples)
        if (step + 1) % report_every == 0 or step + 1 == steps:
            rate = samples / (time.perf_counter() - began)
            print(
                f"reformulator {step + 1}/{steps} loss {np.mean(losses[-100:]):.4f} "
                f"right {100 * np.mean(right[-100:]):.1f} {rate:.0f} samples/s",
                flush=True,
            )
            checkpoints.save(path, modules, optimizer, step + 1)
    export(work / "reformulator", modules["network"], listed)


def export(folder: Path, trained: transformers.LlamaForCausalLM, listed: Sequence[str]) -> None:
    """A folder that transformers' AutoModelForCausalLM and AutoTokenizer load, in half precision."""
    half = network(len(listed))
    half.load_state_dict(trained.state_dict())
    half.half().save_pretrained(folder, safe_serialization=True)
    words.build(listed, LENGTH).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.steps)
