"""The small chat model that reformulates: dialogue in, caption out, behind the same adapter as the big ones.

`python -m training.reformulator --work DIR` trains it on dialogues of the training split, made as they are needed
(`training.reformulator_examples`), and leaves DIR/reformulator: a Llama of about a million parameters with a tokenizer
and a chat template of its own. Besides writing, its lower layers learn to say, at the end of each turn, what the turn
told; what reads that off them is thrown away afterwards.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn import functional

from training import checkpoints
from training import reformulator_words as words
from training.device import here
from training.reformulator_examples import BATCH, IGNORED, batch_of, examples_of, statements, tokens
from training.twins import Twins

LAYERS, WIDTH, HEADS, INNER, LENGTH = 4, 128, 4, 512, 512
RATE, SEED = 2e-3, 9
READING_LAYER, READING_WEIGHT = 2, 0.5


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


class ReadingWriter(torch.nn.Module):
    """The chat model, and what tells, from the hidden state in the middle, what a turn has told."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.network = network(vocabulary)
        self.reading = torch.nn.Linear(WIDTH, len(statements()) + 1)

    def losses(self, batch: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, float]:
        """See `batch_of` -> the losses of writing and of reading, and the share of tokens that are right."""
        numbers, positions, targets, told, mask = batch
        states = self.network.model(
            input_ids=numbers, position_ids=positions, attention_mask=mask, use_cache=False, output_hidden_states=True
        ).hidden_states
        counted, read = targets != IGNORED, told[..., 0] != IGNORED
        logits = self.network.lm_head(states[-1][counted])
        likely = functional.log_softmax(self.reading(states[READING_LAYER][read]), -1)
        right = (logits.argmax(-1) == targets[counted]).float().mean().item()
        return functional.cross_entropy(logits, targets[counted]), -likely.gather(1, told[read]).mean(), right


def train(work: Path, steps: int, report_every: int = 100, threads: int = 2) -> None:
    torch.manual_seed(SEED)
    listed = tokens()
    numbers = {token: number for number, token in enumerate(listed)}
    modules = {"model": here(ReadingWriter(len(listed)))}
    optimizer = checkpoints.adamw(modules["model"].parameters(), RATE, 0.05, (0.9, 0.98))
    path = work / "reformulator.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    began, samples, told = time.perf_counter(), 0, []

    def loss_of(model: torch.nn.Module, *batch: torch.Tensor) -> torch.Tensor:
        assert isinstance(model, ReadingWriter)
        writing, reading, right = model.losses(batch)
        told.append((writing.item(), reading.item(), right))
        return writing + READING_WEIGHT * reading

    with Twins(modules["model"], threads, BATCH) as twins:
        for step in range(first, steps):
            checkpoints.set_rate(optimizer, checkpoints.cosine(step, steps, RATE, 200))
            examples = examples_of(step, steps, numbers)
            twins.backward(loss_of, *(here(tensor) for tensor in batch_of(examples)))
            torch.nn.utils.clip_grad_norm_(modules["model"].parameters(), 1.0)
            optimizer.step()
            samples += sum(len(one.ends) - 1 for one in examples)
            if (step + 1) % report_every == 0 or step + 1 == steps:
                rate = samples / (time.perf_counter() - began)
                writing, reading, right = np.mean(told, 0)
                told.clear()
                print(
                    f"reformulator {step + 1}/{steps} writing {writing:.4f} reading {reading:.4f} "
                    f"right {100 * right:.1f} {rate:.0f} samples/s",
                    flush=True,
                )
                checkpoints.save(path, modules, optimizer, step + 1)
    export(work / "reformulator", modules["model"].network, listed)


def export(folder: Path, trained: transformers.LlamaForCausalLM, listed: Sequence[str]) -> None:
    """A folder that transformers' AutoModelForCausalLM and AutoTokenizer load, in half precision."""
    half = network(len(listed))
    half.load_state_dict(trained.state_dict())
    half.half().save_pretrained(folder, safe_serialization=True)
    words.build(listed, LENGTH).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    train(arguments.work, arguments.steps, threads=arguments.threads)
