"""A run: conversations and a gallery in, ranks of every variant out. Resumable at every step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dar_search.data import FloatArray, Provenance
from dar_search.errors import SourceError
from dar_search.evaluation.configuration import Configuration
from dar_search.evaluation.dialogue_sets import Conversation
from dar_search.evaluation.galleries import Gallery, target_positions
from dar_search.evaluation.imaginations import ImaginationSource
from dar_search.evaluation.measures import Ranks
from dar_search.evaluation.queries import Embedded, embed
from dar_search.evaluation.ranking import Ranker
from dar_search.evaluation.variants import Variant, variants
from dar_search.ports import Encoder, Reformulator
from dar_search.settings import owner_only

#: (what is being done, how much of it is done, how much there is in all)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Ranked:
    """All that a run found out.

    Attributes:
        ranks: variant -> seed -> (dialogues, rounds); variants without sampling have the first seed only.
        depth: beyond it, ranks are infinite.
    """

    configuration: Configuration
    conversations: Sequence[Conversation]
    targets: Sequence[int]
    gallery: Gallery
    provenance: Provenance
    embedded: Embedded
    ranks: Mapping[Variant, Mapping[int, Ranks]]
    depth: int
    search_ms: Sequence[float]

    def queries(self, variant: Variant, seed: int) -> FloatArray:
        """(dialogues, rounds, d): what was searched for."""
        return variant.queries(self.embedded, self.configuration.imagination.seeds.index(seed), seed)


def run(
    configuration: Configuration,
    conversations: Sequence[Conversation],
    gallery: Gallery,
    *,
    encoder: Encoder,
    reformulator: Reformulator,
    imaginations: ImaginationSource | None,
    ranker: Ranker,
    cache: Path,
    progress: Progress = lambda what, done, total: None,
) -> Ranked:
    """Embed, fuse and rank. `cache` is a folder that makes a second run, or one after a crash, start where it can."""
    provenance = encoder.provenance
    table = configuration.dialogues
    positions = target_positions(
        gallery,
        [conversation.target for conversation in conversations],
        provenance.dimension,
        refuse_missing=table.missing_targets == "refuse",
    )
    kept = [(one, row) for one, row in zip(conversations, positions, strict=True) if row is not None]
    if not kept:
        raise SourceError("No dialogue is left to evaluate.")
    conversations, targets = [one for one, _ in kept], [row for _, row in kept]
    seeds = configuration.imagination.seeds
    done = 0

    def embedded_some(count: int) -> None:
        nonlocal done
        done += count
        progress("encoding and imagining", done, len(conversations))

    embedded = embed(
        conversations,
        encoder=encoder,
        reformulator=reformulator,
        imaginations=imaginations,
        seeds=seeds,
        raw_text=configuration.raw_text,
        cache=cache / "queries",
        progress=embedded_some,
    )
    compared = list(variants(embedded, configuration.schedules))
    planned = [(v, at, seed) for v in compared for at, seed in enumerate(seeds if v.seeded else seeds[:1])]
    ranks: dict[Variant, dict[int, Ranks]] = {variant: {} for variant in compared}
    total = len(planned) * len(conversations) * embedded.text.shape[1]
    ranked = 0

    def ranked_some(count: int) -> None:
        nonlocal ranked
        ranked += count
        progress("ranking", ranked, total)

    for variant, at, seed in planned:
        queries = variant.queries(embedded, at, seed)
        ranks[variant][seed] = _ranks(queries, targets, ranker, cache / "ranks", ranked_some)
    return Ranked(
        *(configuration, conversations, targets, gallery, provenance, embedded, ranks),
        depth=ranker.depth,
        search_ms=ranker.took_ms,
    )


def _ranks(
    queries: FloatArray, targets: Sequence[int], ranker: Ranker, folder: Path, progress: Callable[[int], None]
) -> Ranks:
    """(dialogues, rounds, d) -> (dialogues, rounds), from the cache where it is there."""
    owner_only.make_folder(folder)
    dialogues, rounds, dimension = queries.shape
    repeated = np.repeat(np.asarray(targets, np.intp), rounds)
    digest = hashlib.sha256(f"{ranker.key} {queries.shape}".encode())
    digest.update(np.ascontiguousarray(queries).data)
    digest.update(repeated.data)
    path = folder / f"{digest.hexdigest()}.npy"
    if path.exists():
        progress(dialogues * rounds)
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    found = ranker.ranks(queries.reshape(-1, dimension), repeated, progress).reshape(dialogues, rounds)
    part = path.with_suffix(f".{os.getpid()}.part")
    with owner_only.open_new(part, "wb") as file:
        np.save(file, found, allow_pickle=False)
    part.replace(path)
    return found
