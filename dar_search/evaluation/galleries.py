"""The pictures that are searched: names and embeddings, from a file, a folder or an index."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from dar_search.data import FloatArray, ImageRecord
from dar_search.errors import DimensionMismatch, SourceError
from dar_search.ports import ImageIndex

Thumbnail = Callable[[str], bytes | None]


def _no_thumbnail(identity: str) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures in ascending order of their ids, which is how ties in a score are broken.

    Attributes:
        ids: as a store has them.
        names: as dialogues call them.
        embeddings: (n, d) float32, rows of unit length.
        thumbnail: id -> an encoded picture for the report, or None.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    embeddings: FloatArray
    thumbnail: Thumbnail = _no_thumbnail

    @property
    def key(self) -> str:
        """A digest of the contents."""
        digest = hashlib.sha256("\0".join(self.ids).encode("utf-8", "surrogateescape"))
        digest.update(self.embeddings.data)
        return digest.hexdigest()

    def rows_by_id(self) -> Mapping[str, int]:
        return {identity: row for row, identity in enumerate(self.ids)}

    def rows_by_name(self) -> Mapping[str, int]:
        return {name: row for row, name in enumerate(self.names)}


def make_gallery(
    names: Sequence[str],
    embeddings: FloatArray,
    ids: Sequence[str] | None = None,
    thumbnail: Thumbnail = _no_thumbnail,
) -> Gallery:
    """Check, normalise and sort; the ids are the names unless given.

    Raises SourceError for names given twice, rows that are not one a name, or zeros.
    """
    ids = names if ids is None else ids
    if embeddings.ndim != 2 or len(embeddings) != len(names) or not len(names):
        raise SourceError(f"The gallery has {len(names)} names for embeddings of shape {embeddings.shape}.")
    if len(set(names)) != len(names):
        raise SourceError("The gallery names a picture twice.", "Each name stands for one embedding.")
    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise SourceError("The gallery holds an embedding that is zero or not finite.")
    # Rows that are of unit length already stay as they are, bit for bit, so that they rank as in the index.
    rows = np.where(np.abs(lengths - 1) > 1e-4, rows / lengths, rows)
    order = sorted(range(len(ids)), key=lambda row: ids[row])
    sorted_ids, sorted_names = tuple(ids[row] for row in order), tuple(names[row] for row in order)
    return Gallery(sorted_ids, sorted_names, np.ascontiguousarray(rows[order]), thumbnail)


def gallery_from_files(path: Path, names: Path) -> Gallery:
    """A .npy array, or a safetensors file's one tensor, (n, d), with a JSON list of n names. Raises SourceError."""
    try:
        listed = json.loads(names.read_text("utf-8"))
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            tensors = load_file(path)
            if len(tensors) != 1:
                raise SourceError(f"{path} holds {len(tensors)} tensors, not one.")
            embeddings = next(iter(tensors.values()))
        else:
            embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} with {names} cannot be read: {error}.", "A .npy and a JSON list of names."
        ) from error
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise SourceError(f"{names} is no JSON list of names.")
    return make_gallery(listed, embeddings)


def gallery_from_index(index: ImageIndex) -> Gallery:
    """All pictures of an index. A picture's name is its path below its folder (or its JSONL file's), else its id."""
    ids: list[str] = []
    names: list[str] = []
    rows: list[FloatArray] = []
    for batch in _batches(index.ids(), 500):
        for identity, record in index.get(batch).items():
            ids.append(identity)
            names.append(_name(record))
            rows.append(record.embedding)
    if not rows:
        raise SourceError(f'The index "{index.name}" is empty.', "Ingest pictures into it first.")

    def thumbnail(identity: str) -> bytes | None:
        return next((record.thumbnail for record in index.get([identity]).values()), None)

    return make_gallery(names, np.stack(rows), ids, thumbnail)


def _name(record: ImageRecord) -> str:
    for folder in (record.origin.rstrip("/") + "/", record.origin.rpartition("/")[0] + "/"):
        if record.source.startswith(folder) and folder != "/":
            return unquote(record.source.removeprefix(folder))
    return record.id


def _batches(items: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def target_positions(
    gallery: Gallery, targets: Sequence[str], dimension: int, *, refuse_missing: bool
) -> list[int | None]:
    """Each target's row in the gallery; None where it is missing and may be. Raises SourceError, DimensionMismatch."""
    if gallery.embeddings.shape[1] != dimension:
        raise DimensionMismatch(
            f"The gallery's embeddings have {gallery.embeddings.shape[1]} dimensions, the encoder's {dimension}.",
            "Evaluate with the encoder that made the gallery's embeddings.",
        )
    positions = gallery.rows_by_name()
    found = [positions.get(target) for target in targets]
    missing = [target for target, position in zip(targets, found, strict=True) if position is None]
    if missing and (refuse_missing or len(missing) == len(targets)):
        raise SourceError(
            f'{len(missing)} of {len(targets)} targets are not in the gallery, "{missing[0][:80]}" among them.',
            'Name the right gallery, or set missing_targets = "skip" in [dialogues].',
        )
    return found
