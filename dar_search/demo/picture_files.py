"""The demo's gallery as picture files, with a JSONL file that lists them, as a collection of one's own would be."""

# ruff: noqa: S311  (telling, not cryptography)
from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from dar_search.demo.language import alt_text
from dar_search.demo.rendering import render
from dar_search.demo.splits import GalleryPicture, Split, gallery
from dar_search.errors import SourceError
from dar_search.settings import owner_only

PICTURES = "pictures"
MANIFEST = "gallery.jsonl"
_STAMP = "drawn-by.txt"
_QUALITY = 92
_CHUNK = 32
_OURS = re.compile(r"\d{5,}\.(jpg|part)")
# What a picture or its caption follows from; a gallery drawn by other code is drawn again.
_SOURCES = ("world", "splits", "rendering", "shapes", "backdrops", "language", "phrasings", "picture_files")


@dataclass(frozen=True, slots=True)
class GalleryFiles:
    """A drawn gallery. drawn: how many pictures this run drew; the others were there."""

    folder: Path
    manifest: Path
    size: int
    drawn: int

    @property
    def pictures(self) -> Path:
        return self.folder / PICTURES


def picture_name(number: int) -> str:
    """The file's path inside the gallery's folder."""
    return f"{PICTURES}/{number:05d}.jpg"


def draw_gallery(
    folder: Path, size: int, *, split: Split = "test", progress: Callable[[int], None] = lambda done: None
) -> GalleryFiles:
    """Draw the gallery's first `size` pictures into `folder`; those that are there already are kept.

    progress: called with the number of pictures done so far. Raises SourceError where the folder cannot be written.
    """
    try:
        _prepare(folder)
        pictures = list(gallery(size, split=split))
        drawn = _draw_all(folder, pictures, progress)
        _replace(folder / MANIFEST, "".join(_rows(pictures, split)).encode())
    except OSError as error:
        raise SourceError(
            f"The gallery cannot be drawn into {folder}: {error.strerror}.", "Name another folder with --data."
        ) from error
    return GalleryFiles(folder, folder / MANIFEST, size, drawn)


def _prepare(folder: Path) -> None:
    """Make the folder ready: only pictures that this code drew may be in it."""
    pictures, stamp, current = folder / PICTURES, folder / _STAMP, _code_digest()
    owner_only.make_folder(pictures)
    if stamp.exists() and stamp.read_text() == current:
        return
    strangers = [path for path in pictures.iterdir() if not (stamp.exists() and _OURS.fullmatch(path.name))]
    if strangers:
        raise SourceError(f"{pictures} holds files that the demo did not draw.", "Name an empty folder with --data.")
    for path in pictures.iterdir():
        path.unlink()
    _replace(stamp, current.encode())


def _draw_all(folder: Path, pictures: list[GalleryPicture], progress: Callable[[int], None]) -> int:
    there = {entry.name for entry in os.scandir(folder / PICTURES)}
    wanted = [picture for picture in pictures if Path(picture_name(picture.number)).name not in there]
    done = len(pictures) - len(wanted)
    progress(done)
    with ExitStack() as stack:
        # Spawned, as everywhere in the project: a fork would copy whatever threads and libraries are loaded.
        workers = min(os.cpu_count() or 1, 8, 1 + len(wanted) // (2 * _CHUNK))
        draw = partial(_draw_some, folder)
        batches = list(_batches(wanted))
        if workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
            results: Iterator[int] = pool.map(draw, batches)
        else:
            results = map(draw, batches)
        for count in results:
            done += count
            progress(done)
    return len(wanted)


def _batches(pictures: list[GalleryPicture]) -> Iterator[list[GalleryPicture]]:
    remaining = iter(pictures)
    while batch := list(islice(remaining, _CHUNK)):
        yield batch


def _draw_some(folder: Path, pictures: list[GalleryPicture]) -> int:
    for picture in pictures:
        path = folder / picture_name(picture.number)
        unfinished = path.with_suffix(".part")
        with owner_only.open_new(unfinished, "wb") as file:
            render(picture.scene, picture.render_seed).save(file, "JPEG", quality=_QUALITY)
        unfinished.replace(path)
    return len(pictures)


def _rows(pictures: list[GalleryPicture], split: Split) -> Iterator[str]:
    for picture in pictures:
        scene = picture.scene
        row = {
            "path": picture_name(picture.number),
            "caption": alt_text(scene, random.Random(f"alt:{picture.render_seed}"), split),
            "setting": scene.setting,
            "sky": scene.sky,
            "things": [thing.type for thing in scene.things],
        }
        yield json.dumps(row) + "\n"


def _code_digest() -> str:
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((folder / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    owner_only.write(unfinished, content)
    unfinished.replace(path)
