"""Pictures that were generated before, in a folder: the DAR paper's released layout, or listed by prompt.

The release names a picture by what it was made for, `{dialogue}_{round}.jpg`: `at(dialogue, round)` gives the Imaginer
of that place, which answers any prompt with its picture. An Imaginer otherwise knows its prompt only: for that,
`prompts.jsonl` in the folder has a line {"prompt": "...", "file": "..."} for each picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dar_search.data import Imagination
from dar_search.errors import ModelFailed, PictureError, RequestError, WeightsMissing
from dar_search.ingestion.decoding.decode import DEFAULT_LIMITS, decode
from dar_search.models import weights
from dar_search.models.identity import imagination_id
from dar_search.ports import Encoder

MANIFEST = "prompts.jsonl"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def pregenerated_imaginer(source: str, encoder: Encoder, *, keep_picture: bool = True) -> PregeneratedImaginer:
    """The imaginer of a folder of pictures. Raises WeightsMissing where there is no such folder."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise WeightsMissing(f"There is no folder of pictures {source!r}.", "Give the path of an existing folder.")
    return PregeneratedImaginer(folder, encoder, keep_picture)


class PregeneratedImaginer:
    """See the module. Seeds choose nothing: the n-th imagination of a prompt is its n-th picture."""

    def __init__(self, folder: Path, encoder: Encoder, keep_picture: bool = True) -> None:
        self._folder = folder
        self._encoder = encoder
        self._keep_picture = keep_picture

    @property
    def name(self) -> str:
        return f"pregenerated:{self._folder.resolve().name}"

    def at(self, dialogue: int | str, round: int) -> PlacedImaginer:
        """The imaginer of one dialogue at one round. Raises ModelFailed where the folder has no such picture."""
        stem = f"{dialogue}_{round}"
        if Path(stem).name == stem:
            for ending in ENDINGS:
                if (self._folder / f"{stem}{ending}").is_file():
                    return PlacedImaginer(self, self._folder / f"{stem}{ending}")
        raise ModelFailed(f"{self.name} has no picture {stem}{ENDINGS[0]}.", "Generate it, or leave the dialogue out.")

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        """At most `count` of the pictures that prompts.jsonl lists for the prompt. Raises ModelFailed where none is."""
        if count < 1:
            raise RequestError(f"{count} imaginations were asked for.", "Ask for at least one.")
        files = self._listed.get(_folded(prompt), ())
        if not files:
            raise ModelFailed(f"{self.name} has no picture of this prompt.", f"Add it, with a line in {MANIFEST}.")
        return tuple(self.read(file, prompt, seed + number) for number, file in enumerate(files[:count]))

    def read(self, file: Path, prompt: str, seed: int) -> Imagination:
        """One picture, decoded and encoded. Raises ModelFailed for a bad one."""
        try:
            if file.stat().st_size > DEFAULT_LIMITS.max_bytes:
                raise ModelFailed(f"The generated picture {file.name} is too large.")
            data = file.read_bytes()
            picture = decode(data, self._encoder.preparation)
        except (OSError, PictureError) as error:
            raise ModelFailed(f"The generated picture {file.name} cannot be read: {error}") from error
        embedding = self._encoder.encode_prepared(picture.pixels[None])[0]
        return Imagination(
            imagination_id(weights.digest(file), self._encoder.provenance.identity),
            embedding,
            prompt,
            seed,
            picture.thumbnail if self._keep_picture else None,
        )

    @cached_property
    def _listed(self) -> Mapping[str, list[Path]]:
        """Folded prompt -> its files, in the manifest's order."""
        listed: dict[str, list[Path]] = {}
        path = self._folder / MANIFEST
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise WeightsMissing(
                f"{self._folder} has no readable {MANIFEST}, which says what each picture was made from.",
                'Write one: {"prompt": "...", "file": "..."} a line. `dar evaluate` needs none.',
            ) from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                prompt, file = _row(line, f"{MANIFEST}:{number}")
                listed.setdefault(_folded(prompt), []).append(self._folder / file)
        return listed


@dataclass(frozen=True, slots=True)
class PlacedImaginer:
    """The Imaginer of one picture: whatever the prompt, this is what was imagined from it."""

    pictures: PregeneratedImaginer
    file: Path

    @property
    def name(self) -> str:
        return self.pictures.name

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        """One imagination, however many are asked for: there is one picture."""
        return (self.pictures.read(self.file, prompt, seed),)


def _row(line: str, place: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        prompt, file = row["prompt"], row["file"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise WeightsMissing(f'{place} is no {{"prompt": ..., "file": ...}}.', "Correct the line.") from error
    # A list of files from elsewhere may not name what lies outside its folder.
    if not (isinstance(prompt, str) and isinstance(file, str) and file and Path(file).name == file):
        raise WeightsMissing(f"{place} names no file in its own folder.", "Correct the line.")
    return prompt, file


def _folded(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()
