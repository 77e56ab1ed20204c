"""The demo models' tokenizer: CLIP's own kind (lower case, byte-level BPE), with few merges.

All 256 bytes are in it, so that any text has tokens. The end token has the highest number, as open_clip's pooling by
argmax wants; padding is number 0.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from dar_search.demo.conversations import conversation
from dar_search.demo.language import alt_text, described
from dar_search.demo.world import truth
from training.pictures import training_scene

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
MERGES = 700
TEXTS = 3_000


def corpus(count: int = TEXTS) -> Iterator[str]:
    """Texts of the training split only."""
    rng = random.Random(3)
    for number in range(count):
        scene = training_scene(number)
        yield alt_text(scene, rng)
        yield described(truth(scene), rng)
        yield conversation(scene, f"tokenizer:{number}", "train").dialogue.text


def build(length: int, count: int = TEXTS) -> CLIPTokenizer:
    """A tokenizer for texts of at most `length` tokens, start and end included."""
    learned = _merges(count)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [PAD, *alphabet, *(f"{byte}</w>" for byte in alphabet)]
    tokens += dict.fromkeys(left + right for left, right in learned)
    tokens += [START, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    # UNK is never used, since every byte has a token; END would end the text.
    return CLIPTokenizer(vocab=vocabulary, merges=learned, pad_token=PAD, unk_token=PAD, model_max_length=length)


def of_work(work: Path, length: int) -> CLIPTokenizer:
    """The work folder's own tokenizer, learned once: a later change of the world's phrasings does not break a training
    that goes on."""
    folder = work / "tokenizer"
    if not folder.exists():
        saved(build(length), folder)
    return CLIPTokenizer.from_pretrained(folder, model_max_length=length)


def saved(tokenizer: CLIPTokenizer, folder: Path) -> None:
    tokenizer.save_pretrained(folder)


def _merges(count: int) -> list[tuple[str, str]]:
    blank: Any = CLIPTokenizer(vocab={PAD: 0, START: 1, END: 2}, merges=[], pad_token=PAD, unk_token=PAD)
    backend = blank.backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + MERGES,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        min_frequency=2,
        show_progress=False,
    )
    learner.train_from_iterator(corpus(count), trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]
