"""Options that several commands share, each group as one frozen dataclass.

A command takes a group as one parameter; `grouped` shows the group's fields to Typer as options of their own. The
common and the model options may stand before the command too (`dar --json search ...`): there they are defaults.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer

from dar_search.errors import SettingsError
from dar_search.settings import CONFIG_VARIABLE, Settings, load_settings

COMMON = "Options of every command"
MODELS = "Models"
REWRITING = "Rewriting and imagination"
RANKING = "Ranking"


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """Where the indices are, and how to talk to the person or program that runs the command."""

    store: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where the indices are: sqlite:PATH, or http(s)://host:port of an OpenSearch. "
            "Default: a file in your data folder.",
            rich_help_panel=COMMON,
            show_default=False,
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A TOML file of settings, instead of the one in your configuration folder.",
            rich_help_panel=COMMON,
            show_default=False,
        ),
    ] = None
    json: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="Print one JSON object on standard output, for programs.", rich_help_panel=COMMON
        ),
    ] = False
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            metavar="",
            help="Say more on standard error; -vv says everything.",
            rich_help_panel=COMMON,
            show_default=False,
        ),
    ] = 0
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", metavar="", help="Show where an error comes from (a traceback).", rich_help_panel=COMMON
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """The model that turns pictures and texts into vectors, and where models run."""

    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="demo (comes with dar), open_clip:ARCH/PRETRAINED such as open_clip:ViT-B-32/laion2b_s34b_b79k, "
            "or open_clip:FOLDER.",
            rich_help_panel=MODELS,
            show_default=False,
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="auto, cpu, cuda, cuda:1 or mps.",
            rich_help_panel=MODELS,
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class RewritingOptions:
    """How a dialogue becomes one query."""

    reformulator: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="What writes text out of the dialogue: rules (no model).",
            rich_help_panel=REWRITING,
            show_default=False,
        ),
    ] = None
    imaginer: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="What imagines the picture: none, demo, or prior:FOLDER.",
            rich_help_panel=REWRITING,
            show_default=False,
        ),
    ] = None
    imagine: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            min=0,
            max=64,
            help="How many pictures to imagine from each prompt (0: none).",
            rich_help_panel=REWRITING,
            show_default=False,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="The first imagination's seed.", rich_help_panel=REWRITING, show_default=False
        ),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help='Weights of text and imagination by round: released, text-only, "0.5/0.5" or "0:0.8/0.2,2:0.5/0.5".',
            rich_help_panel=REWRITING,
            show_default=False,
        ),
    ] = None
    text_only: Annotated[
        bool, typer.Option("--text-only", metavar="", help="Imagine nothing.", rich_help_panel=REWRITING)
    ] = False


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """How pictures are found and ranked."""

    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help='Only pictures whose metadata fits: city=Paris, city!=Paris, "year>=2000", licence (has the field). '
            "May be repeated; all must hold, but several = on one field mean any of them.",
            rich_help_panel=RANKING,
            show_default=False,
        ),
    ] = None
    keyword_weight: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT",
            min=0,
            max=1,
            help="What finding words in the captions counts, from 0 (not searched) to 1.",
            rich_help_panel=RANKING,
            show_default=False,
        ),
    ] = None
    fusion: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="How the two rankings are joined: min_max or rrf.",
            rich_help_panel=RANKING,
            show_default=False,
        ),
    ] = None
    depth: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="How many candidates each ranking brings (at least offset + size; the same for all pages).",
            rich_help_panel=RANKING,
            show_default=False,
        ),
    ] = None
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            metavar="",
            help="Compare with every picture, not through an approximate graph.",
            rich_help_panel=RANKING,
        ),
    ] = False


_GIVEN_BEFORE: ContextVar[dict[type, Any]] = ContextVar("_GIVEN_BEFORE")
Command = TypeVar("Command", bound=Callable[..., Any])


def grouped(command: Command) -> Command:
    """`command` with each parameter that is a group of options replaced by the group's fields, for Typer."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        group_hints = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=group_hints[field.name]
            )
            for field in dataclasses.fields(groups[name])
        ]

    @functools.wraps(command)
    def call(**values: Any) -> Any:
        for name, group in groups.items():
            own = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            values[name] = _merged(own)
        return command(**values)

    del call.__wrapped__  # else Typer reads the ungrouped signature
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    call.__doc__ = unwrapped(command.__doc__ or "")
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return cast(Command, call)


def unwrapped(text: str) -> str:
    """Help text whose paragraphs are one line each, to be wrapped by the terminal; indented lines stay as they are."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(" ") else " ".join(paragraph.split("\n")) for paragraph in paragraphs
    )


def remember(*groups: Any) -> None:
    """Keep what stood before the command."""
    _GIVEN_BEFORE.set({type(group): group for group in groups})


def before_the_command(group: type) -> Any:
    """What stood before the command, else the group's defaults."""
    return _GIVEN_BEFORE.get({}).get(group, group())


def _merged(own: Any) -> Any:
    earlier = before_the_command(type(own))
    changed = {
        field.name: getattr(earlier, field.name)
        for field in dataclasses.fields(own)
        if getattr(own, field.name) == field.default
    }
    return dataclasses.replace(own, **changed)


def settings_from(*groups: CommonOptions | EncoderOptions | RewritingOptions | RankingOptions) -> Settings:
    """Settings with what the options say on top. Raises SettingsError."""
    overrides: dict[str, Any] = {}
    for group in groups:
        match group:
            case CommonOptions():
                _choose_config(group.config)
                overrides["store"] = group.store
            case EncoderOptions():
                overrides |= {"encoder": group.encoder, "device": group.device}
            case RewritingOptions():
                silent = group.text_only or group.imagine == 0
                overrides |= {
                    "reformulator": group.reformulator,
                    "imaginer": "none" if silent else group.imaginer,
                    "imagine_count": group.imagine or None,
                    "imagine_seed": group.seed,
                    "schedule": group.schedule,
                }
            case RankingOptions():
                weight = group.keyword_weight
                overrides |= {
                    "fusion": group.fusion,
                    "depth": group.depth,
                    "knn_weight": None if weight is None else round(1 - weight, 12),
                    "keyword": None if weight is None else weight > 0,
                }
    return load_settings(**overrides)


def _choose_config(path: Path | None) -> None:
    # Settings read the environment alone, and so do the processes that a command starts.
    if path is None:
        return
    if not path.is_file():
        raise SettingsError(f"--config names {path}, which is no file.", "Correct the path.")
    os.environ[CONFIG_VARIABLE] = str(path.resolve())
