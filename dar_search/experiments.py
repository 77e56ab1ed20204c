"""An evaluation run from its TOML file to its files: reads the inputs, builds the adapters, runs, writes.

What `dar evaluate` calls; a notebook may call it as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dar_search.bootstrap import load_encoder, load_imaginer, load_reformulator, open_store
from dar_search.demo.conversations import gallery_conversations
from dar_search.demo.picture_files import draw_gallery, picture_name
from dar_search.errors import IndexNotFound, SettingsError, SourceError
from dar_search.evaluation.configuration import Configuration, read_configuration
from dar_search.evaluation.dialogue_sets import Conversation, read_conversations
from dar_search.evaluation.files import write_all
from dar_search.evaluation.galleries import Gallery, gallery_from_files, gallery_from_index
from dar_search.evaluation.imaginations import (
    EmbeddingSource,
    ImaginationSource,
    ImaginerSource,
    PictureSource,
    pregenerated_picture,
)
from dar_search.evaluation.ranking import ArrayRanker, Ranker, StoreRanker, stored_gallery
from dar_search.evaluation.runs import Progress, run
from dar_search.ingestion.decoding.limits import limits_of
from dar_search.ingestion.ingest import IngestRequest, ingest
from dar_search.ingestion.sources.opening import open_source
from dar_search.ports import Encoder, ImageIndex, Imaginer, Reformulator, Store
from dar_search.settings import Settings, load_settings, owner_only


@dataclass(frozen=True, slots=True)
class Models:
    """The adapters that a run names."""

    encoder: Encoder
    reformulator: Reformulator
    imaginer: Imaginer | None


def perform(
    path: Path, output: Path, *, store: str | None = None, progress: Progress = lambda what, done, total: None
) -> dict[str, Any]:
    """Run the TOML file at `path`, write everything into `output`, and return what is in results.json.

    Args:
        store: the store of a gallery of kind "index"; default: the settings'.

    Started again after a crash, or with another schedule, it goes on from `output`/cache. Raises DarError.
    """
    configuration = read_configuration(path)
    settings = load_settings(store=store, **configuration.models.model_dump())
    models = _models(configuration, settings)
    conversations = _conversations(configuration)
    cache = output / "cache"
    gallery = _gallery(configuration, settings, models.encoder, cache, progress)
    ranker = _ranker(configuration, settings, gallery, models.encoder)
    ranked = run(
        configuration,
        conversations,
        gallery,
        encoder=models.encoder,
        reformulator=models.reformulator,
        imaginations=_imaginations(configuration, models),
        ranker=ranker,
        cache=cache,
        progress=progress,
    )
    return write_all(
        ranked,
        ranker,
        output,
        imagined_picture=partial(_picture, configuration, ranked.conversations),
        progress=progress,
    )


def _models(configuration: Configuration, settings: Settings) -> Models:
    encoder = load_encoder(settings)
    wanted = configuration.imagination.kind == "imaginer"
    imaginer = load_imaginer(settings, encoder) if wanted else None
    return Models(encoder, load_reformulator(settings), imaginer)


def _conversations(configuration: Configuration) -> list[Conversation]:
    table = configuration.dialogues
    if table.kind != "demo":
        return read_conversations(table)
    size = configuration.gallery.size
    if configuration.gallery.kind != "demo" or (count := table.count or min(500, size)) > size:
        raise SettingsError(
            'Dialogues of kind "demo" are about a gallery of kind "demo" that is at least as large as their count.'
        )
    return [
        Conversation(str(number), picture_name(picture.number), one.dialogue.at_round(table.rounds))
        for number, (picture, one) in enumerate(gallery_conversations(count, size, split=table.split))
    ]


def _gallery(
    configuration: Configuration, settings: Settings, encoder: Encoder, cache: Path, progress: Progress
) -> Gallery:
    table = configuration.gallery
    if table.kind == "index":
        return gallery_from_index(_open(open_store(settings.store, settings), table.index or "", encoder))
    if table.kind == "demo":
        split = configuration.dialogues.split
        drawn = draw_gallery(
            cache / f"demo-{split}",
            table.size,
            split=split,
            progress=lambda done: progress("drawing the gallery", done, table.size),
        )
        return _encoded(drawn.manifest, settings, encoder, cache, progress)
    assert table.path is not None  # noqa: S101  # checked with the configuration
    if table.kind == "embeddings":
        assert table.names is not None  # noqa: S101  # as above
        return gallery_from_files(table.path, table.names)
    return _encoded(table.path, settings, encoder, cache, progress)


def _encoded(target: Path, settings: Settings, encoder: Encoder, cache: Path, progress: Progress) -> Gallery:
    """Pictures of a folder or JSONL file, encoded once into an index in the cache."""
    owner_only.make_folder(cache)
    index = _open(open_store(f"sqlite:{cache / 'gallery.sqlite'}", settings), _name(target, encoder), encoder)
    report = ingest(
        open_source(target),
        index,
        encoder,
        IngestRequest(prune=True, limits=limits_of(settings.ingest.decode)),
        progress=lambda now: progress("encoding the gallery", now.done, now.total or now.done),
    )
    if report.failures:
        first = report.failures[0]
        raise SourceError(
            f"{report.failed} pictures of the gallery cannot be used, {first.source} among them: {first.message}",
            "Mend or remove them: a gallery is the same for everyone who evaluates on it.",
        )
    return gallery_from_index(index)


def _open(store: Store, name: str, encoder: Encoder) -> ImageIndex:
    try:
        return store.open(name, encoder.provenance)
    except IndexNotFound:
        if not store.address.endswith("gallery.sqlite"):
            raise
        return store.create(name, encoder.provenance)


def _name(folder: Path, encoder: Encoder) -> str:
    return "gallery-" + hashlib.sha256(f"{folder.resolve()} {encoder.provenance.identity}".encode()).hexdigest()[:24]


def _ranker(configuration: Configuration, settings: Settings, gallery: Gallery, encoder: Encoder) -> Ranker:
    table = configuration.backend
    if table.kind == "arrays":
        return ArrayRanker(gallery)
    assert table.store is not None  # noqa: S101  # checked with the configuration
    store = open_store(table.store, settings)
    if configuration.gallery.kind == "index" and table.store == settings.store:
        index = _open(store, configuration.gallery.index or "", encoder)
    else:
        index = stored_gallery(store, gallery, encoder.provenance)
    return StoreRanker(index, gallery, exact=table.exact, depth=table.depth, address=store.address)


def _imaginations(configuration: Configuration, models: Models) -> ImaginationSource | None:
    table = configuration.imagination
    if table.kind == "none":
        return None
    if table.kind == "imaginer":
        if models.imaginer is None:
            raise SettingsError(
                'The run imagines with the imaginer "none".', 'Name one in [models], or set kind = "none".'
            )
        return ImaginerSource(models.imaginer, table.count, table.steps)
    assert table.path is not None  # noqa: S101  # checked with the configuration
    if table.kind == "pictures":
        return PictureSource(table.path, models.encoder)
    return EmbeddingSource(table.path)


def _picture(configuration: Configuration, conversations: Sequence[Conversation], position: int) -> bytes | None:
    """The pregenerated picture of a dialogue's last round, for the report; None where there is none."""
    table = configuration.imagination
    if table.kind != "pictures" or table.path is None:
        return None
    found = pregenerated_picture(table.path, conversations[position], position, conversations[position].rounds)
    return None if found is None else found.read_bytes()
