"""Dialogues -> text and imagined embeddings, chunk by chunk. What is done stays done, whenever the run is killed.

A chunk's file is named by the content of all that it depends on, written under another name and renamed, and its
dialogues are always encoded together: so a run that was killed and one that was not read the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from dar_search.data import FloatArray, Reformulation
from dar_search.errors import ModelFailed, SourceError
from dar_search.evaluation.dialogue_sets import Conversation
from dar_search.evaluation.imaginations import ImaginationSource, ImaginerSource
from dar_search.ports import Encoder, KeyedReformulator, Reformulator
from dar_search.settings import owner_only

CHUNK = 32
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Embedded:
    """Dialogues, embedded.

    Attributes:
        text: (dialogues, rounds, d) the reformulations, unit length.
        raw: the same of the dialogues as they were said; None where they are not known or not wanted.
        imagined: (seeds, dialogues, rounds, d) means of each round's imaginations, NOT of unit length; None without.
        reformulations: a text for each dialogue and round.
        took_ms: leg -> milliseconds of each round's call; of what is done in batches, its share of the batch.
    """

    text: FloatArray
    raw: FloatArray | None
    imagined: FloatArray | None
    reformulations: tuple[tuple[str, ...], ...]
    took_ms: Mapping[str, list[float]] = field(default_factory=dict)


def embed(
    conversations: Sequence[Conversation],
    *,
    encoder: Encoder,
    reformulator: Reformulator,
    imaginations: ImaginationSource | None,
    seeds: Sequence[int],
    raw_text: bool,
    cache: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> Embedded:
    """Embed all conversations; `cache` keeps the chunks.

    Raises what the models raise, and ModelFailed where a reformulation is not by the reformulator that was named.
    """
    owner_only.make_folder(cache)
    raw_text = raw_text and all(conversation.dialogue is not None for conversation in conversations)
    maker = _Maker(encoder, reformulator, imaginations, tuple(seeds), raw_text)
    chunks: list[Embedded] = []
    for start in range(0, len(conversations), CHUNK):
        chunk = conversations[start : start + CHUNK]
        path = cache / f"{maker.key(chunk, start)}.safetensors"
        if not path.exists():
            _write(path, maker.make(chunk, start))
        chunks.append(_read(path))
        progress(len(chunk))
    return _joined(chunks)


@dataclass(frozen=True, slots=True)
class _Maker:
    encoder: Encoder
    reformulator: Reformulator
    imaginations: ImaginationSource | None
    seeds: tuple[int, ...]
    raw_text: bool

    def key(self, chunk: Sequence[Conversation], start: int) -> str:
        parts = [
            FORMAT,
            [self.encoder.provenance.identity, _identity(self.reformulator), self.raw_text],
            [self.imaginations.key, list(self.seeds)] if self.imaginations else None,
            [[c.id, start + at, c.dialogue and c.dialogue.text, c.rounds, c.texts] for at, c in enumerate(chunk)],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def make(self, chunk: Sequence[Conversation], start: int) -> Embedded:
        took_ms: dict[str, list[float]] = defaultdict(list)
        written = [list(self._reformulated(conversation, took_ms)) for conversation in chunk]
        texts = [[one.text for one in row] for row in written]
        raw = None
        if self.raw_text:
            said = [[c.dialogue.at_round(n).text for n in range(c.rounds + 1)] for c in chunk if c.dialogue]
            raw = self._encoded(said, None)
        imagined = None
        if self.imaginations is not None:
            imagined = np.stack([self._imagined(chunk, written, start, seed, took_ms) for seed in self.seeds])
        return Embedded(
            self._encoded(texts, took_ms["encoding"]), raw, imagined, tuple(tuple(row) for row in texts), took_ms
        )

    def _reformulated(self, conversation: Conversation, took_ms: dict[str, list[float]]) -> Iterator[Reformulation]:
        for number in range(conversation.rounds + 1):
            if conversation.texts is not None:
                text = conversation.texts[number]
                yield Reformulation(text, (text,), "given")
                continue
            assert conversation.dialogue is not None  # noqa: S101  # one of the two is given
            begun = time.perf_counter()
            reformulation = self.reformulator.reformulate(conversation.dialogue.at_round(number))
            took_ms["reformulation"].append(1000 * (time.perf_counter() - begun))
            if reformulation.note:
                # Kept under the wrong name, it would pass for what was asked for in this run and the next ones.
                raise ModelFailed(
                    f"Dialogue {conversation.id}, round {number}: {reformulation.note}",
                    "Mend the reformulator and run again: what is done is kept.",
                )
            yield reformulation

    def _encoded(self, texts: Sequence[Sequence[str]], took_ms: list[float] | None) -> FloatArray:
        flat = list(dict.fromkeys(text for row in texts for text in row))
        begun = time.perf_counter()
        rows = dict(zip(flat, self.encoder.encode_texts(flat), strict=True))
        if took_ms is not None:
            took_ms.append(1000 * (time.perf_counter() - begun) / len(flat))
        return np.stack([np.stack([rows[text] for text in row]) for row in texts])

    def _imagined(
        self,
        chunk: Sequence[Conversation],
        written: Sequence[Sequence[Reformulation]],
        start: int,
        seed: int,
        took_ms: dict[str, list[float]],
    ) -> FloatArray:
        assert self.imaginations is not None  # noqa: S101  # asked only then
        if isinstance(self.imaginations, ImaginerSource):
            return self._imagined_together(self.imaginations, written, start, seed, took_ms)
        rows = []
        for at, (conversation, row) in enumerate(zip(chunk, written, strict=True)):
            means = []
            for number, reformulation in enumerate(row):
                begun = time.perf_counter()
                found = self.imaginations.imagined(conversation, start + at, number, reformulation.prompts, seed)
                took_ms["imagination"].append(1000 * (time.perf_counter() - begun))
                means.append(found.mean(axis=0, dtype=np.float64).astype(np.float32))
            rows.append(np.stack(means))
        return np.stack(rows)

    def _imagined_together(
        self,
        source: ImaginerSource,
        written: Sequence[Sequence[Reformulation]],
        start: int,
        seed: int,
        took_ms: dict[str, list[float]],
    ) -> FloatArray:
        asked = [(start + at, one.prompts) for at, row in enumerate(written) for one in row]
        begun = time.perf_counter()
        found = source.imagined_together(asked, seed)
        took_ms["imagination"] += [1000 * (time.perf_counter() - begun) / len(asked)] * len(asked)
        means = np.stack([one.mean(axis=0, dtype=np.float64).astype(np.float32) for one in found])
        return means.reshape(len(written), -1, means.shape[-1])


def _identity(reformulator: Reformulator) -> str:
    # By name alone, texts of other weights or options would be taken for these.
    return reformulator.key if isinstance(reformulator, KeyedReformulator) else reformulator.name


def _write(path: Path, chunk: Embedded) -> None:
    tensors = {"text": chunk.text}
    if chunk.raw is not None:
        tensors["raw"] = chunk.raw
    if chunk.imagined is not None:
        tensors["imagined"] = chunk.imagined
    notes = {"reformulations": json.dumps(chunk.reformulations), "took_ms": json.dumps(chunk.took_ms)}
    part = path.with_suffix(f".{os.getpid()}.part")
    owner_only.write(part, save(tensors, metadata=notes))
    part.replace(path)


def _read(path: Path) -> Embedded:
    try:
        with safe_open(path, framework="numpy") as file:
            notes = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except Exception as error:
        raise SourceError(f"{path} cannot be read: {error}.", "Delete it and run again.") from error
    texts = tuple(tuple(row) for row in json.loads(notes["reformulations"]))
    took_ms = json.loads(notes["took_ms"])
    return Embedded(tensors["text"], tensors.get("raw"), tensors.get("imagined"), texts, took_ms)


def _joined(chunks: Sequence[Embedded]) -> Embedded:
    raws = [chunk.raw for chunk in chunks if chunk.raw is not None]
    imagined = [chunk.imagined for chunk in chunks if chunk.imagined is not None]
    took_ms: dict[str, list[float]] = defaultdict(list)
    for chunk in chunks:
        for leg, values in chunk.took_ms.items():
            took_ms[leg] += values
    return Embedded(
        text=np.concatenate([chunk.text for chunk in chunks]),
        raw=np.concatenate(raws) if raws else None,
        imagined=np.concatenate(imagined, axis=1) if imagined else None,
        reformulations=tuple(row for chunk in chunks for row in chunk.reformulations),
        took_ms=took_ms,
    )
