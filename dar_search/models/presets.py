"""Presets: models that go together, with licence, size and memory; and what `dar models list|fetch|check` does.

The data is in presets.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dar_search.data import Dialogue, Turn
from dar_search.errors import DarError, ModelFailed, UnknownModel
from dar_search.models import catalogue, hub
from dar_search.models.reformulators.spelling import nearest
from dar_search.ports import Encoder

Role = Literal["encoder", "reformulator", "imaginer"]
ROLES: tuple[Role, ...] = ("encoder", "reformulator", "imaginer")
_FILE = Path(__file__).with_name("presets.json")
_DIALOGUE = Dialogue("a car in a street", (Turn("what colour is the car?", "red"),))
_PROMPT = "a red car in a street"


@dataclass(frozen=True, slots=True)
class Part:
    """One model of a preset.

    Attributes:
        name: as the settings take it.
        licence: its name, or where it is; the model's own page counts.
        download_mb, memory_mb: rounded, in MB of 10^6 bytes.
        hub: the repository of the weights, where the name does not say it.
        many_languages: whether its makers say that it knows many, and not English alone or with another.
        run: what of it this project has run: "these weights", or its classes with "random weights".
    """

    role: Role
    name: str
    licence: str
    download_mb: int
    memory_mb: int
    hub: str = ""
    many_languages: bool = False
    run: str = ""


@dataclass(frozen=True, slots=True)
class Preset:
    """Models that go together.

    Attributes:
        purpose: what it is for, one line.
        settings: what to set, by the settings' names.
        differs: where it is not what its name says; empty where there is nothing to say.
    """

    name: str
    purpose: str
    parts: tuple[Part, ...]
    settings: Mapping[str, Any]
    differs: str = ""

    @property
    def encoder(self) -> Part:
        return next(part for part in self.parts if part.role == "encoder")

    @property
    def download_mb(self) -> int:
        return sum(part.download_mb for part in self.parts)

    @property
    def memory_mb(self) -> int:
        return sum(part.memory_mb for part in self.parts)


@dataclass(frozen=True, slots=True)
class Check:
    """What came of loading and running one part.

    Attributes:
        load_seconds: until the first answer, with loading; run_seconds: the second answer.
        said: what it answered, or what went wrong, one line; hint: what to do about it.
    """

    role: Role
    name: str
    ok: bool
    load_seconds: float
    run_seconds: float
    said: str
    hint: str = ""


@cache
def presets() -> tuple[Preset, ...]:
    """All presets, in the order in which to show them."""
    rows = json.loads(_FILE.read_text(encoding="utf-8"))["presets"]
    return tuple(Preset(**{**row, "parts": tuple(Part(**part) for part in row["parts"])}) for row in rows)


def preset(name: str) -> Preset:
    """A preset by name. Raises UnknownModel."""
    known = {one.name: one for one in presets()}
    if name not in known:
        raise UnknownModel(f"There is no preset {name!r}.", nearest(name, known, "Known presets"))
    return known[name]


def is_here(encoder: str) -> bool:
    """Whether an encoder's weights are on this machine, so that loading it fetches nothing. Asks nobody."""
    kind, _, source = encoder.partition(":")
    source = source.removeprefix("hf-hub:")
    if encoder == "demo" or Path(source).expanduser().exists():
        return True
    if kind != "open_clip" or encoder.count(":") > 1:
        return hub.cached_file(source, ("config.json", "modules.json", "open_clip_config.json")) is not None
    from dar_search.models.encoders import open_clip_encoder

    repository = next((part.hub for one in presets() for part in one.parts if part.name == encoder), "")
    if repository:  # known without loading the library, which takes seconds
        return hub.cached_file(repository, open_clip_encoder.HUB_WEIGHTS) is not None
    repository, names = open_clip_encoder.place_on_hub(source)
    return bool(repository) and hub.cached_file(repository, names) is not None


def fetch(role: Role, name: str) -> None:
    """Bring a model's files here, from the hub where it is one of the hub's. Raises ModelError, UnknownModel."""
    kind, _, source = name.partition(":")
    if role == "encoder":
        # Reading the provenance needs the weights' digest, and so the weights.
        _ = catalogue.encoder(name).provenance
    elif role == "reformulator" and kind == "chat":
        from dar_search.models import weights
        from dar_search.models.reformulators import chat_reformulator

        weights.folder(source, patterns=chat_reformulator.PATTERNS, ignore=chat_reformulator.IGNORED)
    elif role == "imaginer" and kind == "diffusers":
        from dar_search.models.imaginers import diffusers_folder

        diffusers_folder.resolve(source, model=name)
    elif role == "imaginer" and kind == "prior":
        from dar_search.models import weights
        from dar_search.models.imaginers import prior_imaginer

        weights.folder(source, patterns=prior_imaginer.PATTERNS)


def check(
    names: Mapping[Role, str],
    *,
    device: str = "auto",
    dtype: str = "auto",
    steps: int | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    reformulator_options: Mapping[str, Any] | None = None,
    imaginer_options: Mapping[str, Any] | None = None,
) -> Iterator[Check]:
    """Load and run each part that is named, and say how long it took. An imaginer needs an encoder beside it.

    Nothing is raised: what goes wrong with a part is in its Check.
    """
    encoder: Encoder | None = None
    for role in ROLES:
        if role not in names:
            continue
        name = names[role]
        make: Callable[[], Callable[[], str]]
        if role == "encoder":
            # Made here and not in the part's own check, for the imaginer works in its space.
            made = _made(partial(catalogue.encoder, name, device=device, dtype=dtype, options=encoder_options))
            encoder = None if isinstance(made, DarError) else made
            make = partial(_encoding, made)
        elif role == "reformulator":
            make = partial(_reformulating, name, device, dtype, reformulator_options)
        else:
            make = partial(_imagining, name, encoder, device, dtype, imaginer_options, steps)
        yield _checked(role, name, make)


def _checked(role: Role, name: str, make: Callable[[], Callable[[], str]]) -> Check:
    started = time.perf_counter()
    try:
        run = make()
        run()
        loaded = time.perf_counter()
        said = run()
    except DarError as error:
        return Check(role, name, False, time.perf_counter() - started, 0.0, error.message, error.hint)
    return Check(role, name, True, loaded - started, time.perf_counter() - loaded, said)


def _made(make: Callable[[], Encoder]) -> Encoder | DarError:
    try:
        return make()
    except DarError as error:
        return error


def _encoding(encoder: Encoder | DarError) -> Callable[[], str]:
    if isinstance(encoder, DarError):
        raise encoder
    shape = encoder.preparation
    picture = np.zeros((1, shape.height, shape.width, 3), np.uint8)

    def run() -> str:
        encoder.encode_texts([_PROMPT])
        encoder.encode_prepared(picture)
        return f"{encoder.provenance.dimension} dimensions, {shape.describe()}, {encoder.provenance.revision}"

    return run


def _reformulating(name: str, device: str, dtype: str, options: Mapping[str, Any] | None) -> Callable[[], str]:
    reformulator = catalogue.reformulator(name, device=device, dtype=dtype, options=options)

    def run() -> str:
        answer = reformulator.reformulate(_DIALOGUE)
        if answer.note:
            # It answered, but not with the model that is being checked.
            raise ModelFailed(answer.note)
        return answer.text

    return run


def _imagining(
    name: str,
    encoder: Encoder | None,
    device: str,
    dtype: str,
    options: Mapping[str, Any] | None,
    steps: int | None,
) -> Callable[[], str]:
    if encoder is None:
        raise ModelFailed("An imaginer is checked with its encoder, which is not there.", "Check the encoder first.")
    imaginer = catalogue.imaginer(name, encoder, device=device, dtype=dtype, options=options)
    if imaginer is None:
        return lambda: "none: text only"

    def run() -> str:
        made = imaginer.imagine(_PROMPT, count=1, seed=0, steps=steps)
        if not made:
            raise ModelFailed(f"{name} imagined nothing.")
        return f"{len(made)} imagination, {'with a picture' if made[0].picture else 'without a picture'}"

    return run


def names_of(settings: Mapping[str, Any]) -> dict[Role, str]:
    """The parts that some settings (a preset's, or the user's own) name."""
    return {role: str(settings[role]) for role in ROLES if role in settings}


def licences(parts: Sequence[Part]) -> str:
    """The licences of several parts, each once, as one line."""
    return ", ".join(dict.fromkeys(part.licence for part in parts))
