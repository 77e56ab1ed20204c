"""What an evaluation run is: a TOML file, checked before anything is computed. README.md has an example."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dar_search.errors import InputError, SettingsError
from dar_search.method.fusion import Schedule


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GalleryTable(_Table):
    """Where the pictures are searched.

    kind: "folder" of pictures (encoded here), "index" of the store, "embeddings" (.npy or safetensors, with a JSON
    list of names), "demo" (the demo world's).
    """

    kind: Literal["folder", "index", "embeddings", "demo"]
    path: Path | None = None
    names: Path | None = None
    index: str | None = None
    size: int = Field(default=5000, ge=10, le=10_000_000)


class DialoguesTable(_Table):
    """What was said. kind "dialogues": caption and turns; "reformulations": a text a round, used as it is; "demo"."""

    kind: Literal["dialogues", "reformulations", "demo"] = "dialogues"
    path: Path | None = None
    split: Literal["train", "validation", "test"] = "test"
    count: int | None = Field(default=None, ge=1)
    rounds: int = Field(default=10, ge=0, le=100)
    join_previous: str | None = None
    missing_targets: Literal["refuse", "skip"] = "refuse"


class ImaginationTable(_Table):
    """kind: "imaginer" (the models' one), "pictures" named {dialogue}_{round}.jpg, "embeddings", or "none"."""

    kind: Literal["imaginer", "pictures", "embeddings", "none"] = "imaginer"
    path: Path | None = None
    count: int = Field(default=1, ge=1, le=64)
    steps: int | None = Field(default=None, ge=1, le=1000)
    seeds: Annotated[list[int], Field(min_length=1, max_length=100)] = [0]


class ModelsTable(_Table):
    encoder: str = "demo"
    reformulator: str = "rules"
    imaginer: str = "demo"
    device: str = "auto"
    dtype: str = "auto"


class BackendTable(_Table):
    """kind: "arrays" (exact, in memory) or "store" (the store named, an SQLite file or a cluster)."""

    kind: Literal["arrays", "store"] = "arrays"
    store: str | None = None
    exact: bool = True
    depth: int = Field(default=1000, ge=1, le=10_000)


class Configuration(_Table):
    """A whole run. Relative paths are taken from the file's folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    gallery: GalleryTable
    dialogues: DialoguesTable
    models: ModelsTable = ModelsTable()
    imagination: ImaginationTable = ImaginationTable()
    backend: BackendTable = BackendTable()
    schedules: Annotated[list[str], Field(min_length=1, max_length=50)] = ["released"]
    raw_text: bool = True
    k: Annotated[list[int], Field(min_length=1)] = [1, 5, 10]
    bootstrap_samples: int = Field(default=2000, ge=100, le=100_000)
    trec_depth: int = Field(default=10, ge=0, le=1000)
    examples: int = Field(default=6, ge=0, le=50)

    @field_validator("schedules")
    @classmethod
    def _known(cls, schedules: list[str]) -> list[str]:
        for schedule in schedules:
            try:
                Schedule.parse(schedule)
            except InputError as error:
                raise ValueError(error.message) from error
        return [schedule for schedule in dict.fromkeys(schedules) if schedule != "text-only"]


def read_configuration(path: Path) -> Configuration:
    """A run's TOML file. Raises SettingsError: which key, what is allowed."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", "Name a run's TOML file.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}.", "README.md has an example.") from error
    return check_configuration(values, path.parent)


def check_configuration(values: dict[str, Any], folder: Path) -> Configuration:
    """A run's values; relative paths against `folder`. Raises SettingsError."""
    try:
        configuration = Configuration(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f'The run\'s "{key}": {first["msg"].rstrip(".")}.', "README.md has an example.") from None
    for table, key, needed in (
        (configuration.gallery, "path", configuration.gallery.kind in {"folder", "embeddings"}),
        (configuration.gallery, "names", configuration.gallery.kind == "embeddings"),
        (configuration.gallery, "index", configuration.gallery.kind == "index"),
        (configuration.dialogues, "path", configuration.dialogues.kind != "demo"),
        (configuration.imagination, "path", configuration.imagination.kind in {"pictures", "embeddings"}),
        (configuration.backend, "store", configuration.backend.kind == "store"),
    ):
        if needed and getattr(table, key) is None:
            name = type(table).__name__.removesuffix("Table").lower()
            raise SettingsError(f'The run\'s [{name}] of kind "{table.kind}" needs "{key}".')
    return _anchored(configuration, folder)


def _anchored(configuration: Configuration, folder: Path) -> Configuration:
    changes: dict[str, Any] = {}
    for name in ("gallery", "dialogues", "imagination"):
        table = getattr(configuration, name)
        paths = {key: folder / value for key, value in table if isinstance(value, Path)}
        changes[name] = table.model_copy(update=paths)
    return configuration.model_copy(update=changes)
