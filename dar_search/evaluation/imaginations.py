"""Where a run's imaginations come from: the imaginer, pregenerated pictures, or embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps

from dar_search.data import FloatArray, Imagination
from dar_search.errors import SourceError
from dar_search.evaluation.dialogue_sets import Conversation
from dar_search.ports import Encoder, Imaginer, KeyedImaginer

# Far apart, so that two dialogues never share a seed; all of a run's seeds stay within 31 bits.
SEED_STRIDE = 64
SEED_LIMIT = 2**31


class ImaginationSource(Protocol):
    """The imaginations of one round.

    Attributes:
        key: all that they depend on, beside the dialogue and the seed.
    """

    key: str

    def imagined(
        self, conversation: Conversation, position: int, number: int, prompts: Sequence[str], seed: int
    ) -> FloatArray:
        """(K, d) float32, rows of unit length, for round `number` of the `position`-th conversation."""
        ...


@runtime_checkable
class BatchImaginer(Protocol):
    """An imaginer that takes many prompts at once, which costs a fraction of one by one."""

    def imagine_all(
        self, requests: Sequence[tuple[str, int, int]], *, steps: int | None = None
    ) -> list[tuple[Imagination, ...]]:
        """(prompt, count, seed) of each -> what `imagine` gives for each."""
        ...


class ImaginerSource:
    """Imagined now. A dialogue has seeds of its own, the same in each round: rounds differ by what was said alone."""

    def __init__(self, imaginer: Imaginer, count: int, steps: int | None) -> None:
        self._imaginer = imaginer
        self._count = count
        self._steps = steps
        # By name alone, imaginations of other weights or options would be taken for these.
        identity = imaginer.key("", 0, steps) if isinstance(imaginer, KeyedImaginer) else imaginer.name
        self.key = f"imaginer {identity} count {count} steps {steps}"

    def imagined(
        self, conversation: Conversation, position: int, number: int, prompts: Sequence[str], seed: int
    ) -> FloatArray:
        return self.imagined_together([(position, prompts)], seed)[0]

    def imagined_together(self, asked: Sequence[tuple[int, Sequence[str]]], seed: int) -> list[FloatArray]:
        """(position, prompts) of each round -> (K, d) of each, imagined in batches; what repeats, once."""
        wanted = list(dict.fromkeys(self._request(position, prompt, seed) for position, row in asked for prompt in row))
        if isinstance(self._imaginer, BatchImaginer):
            found = self._imaginer.imagine_all(wanted, steps=self._steps)
        else:
            found = [self._imaginer.imagine(one[0], count=one[1], seed=one[2], steps=self._steps) for one in wanted]
        made = dict(zip(wanted, found, strict=True))
        return [
            np.stack([one.embedding for prompt in row for one in made[self._request(position, prompt, seed)]])
            for position, row in asked
        ]

    def _request(self, position: int, prompt: str, seed: int) -> tuple[str, int, int]:
        return prompt, self._count, (seed * 1_000_003 + position) * SEED_STRIDE % SEED_LIMIT


class PictureSource:
    """Pregenerated pictures, named as in DAR's release: {dialogue}_{round}.jpg, `dialogue` being its place or id."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder.", "Name the folder of {dialogue}_{round}.jpg files.")
        self._folder = folder
        self._encoder = encoder
        # The time of change too: a picture that was generated again may be as large as before.
        found = [(path.name, path.stat()) for path in folder.iterdir()]
        names = sorted(f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in found)
        self.key = f"pictures {hashlib.sha256(chr(10).join(names).encode()).hexdigest()}"

    def imagined(
        self, conversation: Conversation, position: int, number: int, prompts: Sequence[str], seed: int
    ) -> FloatArray:
        if path := pregenerated_picture(self._folder, conversation, position, number):
            return self._encode(path)
        raise SourceError(f"{self._folder} has no picture {conversation.id}_{number}.jpg.", "One a dialogue and round.")

    def _encode(self, path: Path) -> FloatArray:
        try:
            with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
                return self._encoder.encode_images([ImageOps.exif_transpose(image)])
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise SourceError(f"{path} is no readable picture: {error}.", "Generate it again.") from error


def pregenerated_picture(folder: Path, conversation: Conversation, position: int, number: int) -> Path | None:
    """The file of a dialogue's round, under its id or its place; None where there is none."""
    stems = (f"{conversation.id}_{number}", f"{position}_{number}")
    paths = (folder / f"{stem}{suffix}" for stem in stems for suffix in (".jpg", ".jpeg", ".png", ".webp"))
    return next((path for path in paths if path.is_file()), None)


class EmbeddingSource:
    """Embeddings from a .npy array: (dialogues, rounds, d), or (dialogues, rounds, K, d)."""

    def __init__(self, path: Path) -> None:
        try:
            self._rows = np.load(path, allow_pickle=False, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} is no .npy array: {error}.") from error
        if self._rows.ndim == 3:
            self._rows = self._rows[:, :, None]
        if self._rows.ndim != 4:
            raise SourceError(f"{path} has the shape {self._rows.shape}.", "It should be (dialogues, rounds, d).")
        self.key = f"embeddings {hashlib.sha256(path.read_bytes()).hexdigest()}"

    def imagined(
        self, conversation: Conversation, position: int, number: int, prompts: Sequence[str], seed: int
    ) -> FloatArray:
        if position >= self._rows.shape[0] or number >= self._rows.shape[1]:
            raise SourceError(f"There are no imagined embeddings for dialogue {position}, round {number}.")
        rows = np.asarray(self._rows[position, number], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
