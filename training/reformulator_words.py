"""The small reformulator's tokenizer: whole words, marks, and the pieces of JSON that its input and output are made of.

The adapter for chat models sends the dialogue as one JSON object and reads one JSON object back
(`dar_search.models.reformulators.instructions`). With its fixed pieces as single tokens a dialogue of ten turns is some
130 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dar_search.demo.conversations import conversation
from dar_search.demo.splits import scene

PADDING, UNKNOWN, WRITE, END = "<|pad|>", "<|unknown|>", "<|write|>", "<|end|>"
CAPTION, FIRST_TURN, NO_TURNS = '{"caption": "', '", "turns": [{"question": "', '", "turns": []}'
ANSWER, NEXT_TURN, LAST_TURN = '", "answer": "', '"}, {"question": "', '"}]}'
TEXT, TEXT_END = '{"text": "', '"}'
# The longer before the shorter that it begins with.
PIECES = (CAPTION, FIRST_TURN, NO_TURNS, ANSWER, NEXT_TURN, LAST_TURN, TEXT, TEXT_END)
PATTERN = "|".join([*map(re.escape, PIECES), "[a-z']+", r"[^\sa-z']"])
_READ_FOR_WORDS = 3_000

TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + WRITE + "{% endif %}"
)
"""The instruction is left out: this model has learned to do one thing, and needs no telling."""


def split(text: str) -> list[str]:
    return re.findall(PATTERN, text.lower())


def vocabulary(written: Sequence[str] = (), count: int = _READ_FOR_WORDS) -> list[str]:
    """All tokens, by their numbers: those of `count` training dialogues, and of texts that are written."""
    seen = set(split(" ".join(written)))
    for number in range(count):
        seen.update(split(conversation(scene(f"words:{number}", "train"), f"words:{number}", "train").dialogue.text))
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", '"', "\\"]
    return [PADDING, UNKNOWN, WRITE, END, *PIECES, *sorted((seen | set(letters)) - set(PIECES))]


def build(tokens: Sequence[str], length: int) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers loads it. Lower case; white space between tokens is not kept."""
    numbers = {token: number for number, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(PATTERN), "removed", invert=True)
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[WRITE],
        chat_template=TEMPLATE,
        model_max_length=length,
        clean_up_tokenization_spaces=False,
    )


def saved(reader: PreTrainedTokenizerFast, folder: Path) -> None:
    reader.save_pretrained(folder)
