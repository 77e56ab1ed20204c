"""Options that several commands share, in groups (see `grouping`), and the settings that they make."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dar_search.cli.options.grouping import grouped
from dar_search.errors import SettingsError
from dar_search.settings import CONFIG_VARIABLE, Settings, load_settings
from dar_search.settings.masking import has_login

__all__ = [
    "CommonOptions",
    "EncoderOptions",
    "RankingOptions",
    "RewritingOptions",
    "grouped",
    "repeated",
    "settings_from",
    "without_login",
]

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
            help="Where the indices are: sqlite:PATH, http(s)://host:port of an OpenSearch (no password in it), or "
            "profile:NAME. Default: a file in your data folder.",
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
            help="demo (comes with dar, for its own drawings), open_clip:ARCH/PRETRAINED such as "
            "open_clip:ViT-B-32/laion2b_s34b_b79k, transformers:ORG/NAME (CLIP, SigLIP, BLIP), or either with a "
            "FOLDER. Default: what the index was made with; for a new one, what suits this machine.",
            rich_help_panel=MODELS,
            show_default=False,
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Encoder, reformulator and imaginer together: see dar models list. Other options go before it.",
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
            help="What writes text out of the dialogue: rules (no model), demo (a small one), endpoint:MODEL (its "
            "address, key and what else it is asked are settings: reformulator_options), chat:ORG/NAME or chat:FOLDER.",
            rich_help_panel=REWRITING,
            show_default=False,
        ),
    ] = None
    imaginer: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="What imagines the picture: none, demo (a small prior), demo-pictures (a small text-to-image "
            "model), diffusers:ORG/NAME (text to image), prior:ORG/NAME, either with a FOLDER too, or "
            "pregenerated:FOLDER.",
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
            help='Only pictures whose metadata fits: city=Paris, city!=Paris, "year>=2000", "taken<2024-03", '
            "licence (has the field). "
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


def settings_from(*groups: CommonOptions | EncoderOptions | RewritingOptions | RankingOptions) -> Settings:
    """Settings with what the options say on top. Raises SettingsError."""
    overrides: dict[str, Any] = {}
    for group in groups:
        match group:
            case CommonOptions():
                _choose_config(group.config)
                overrides["store"] = without_login("--store", group.store)
            case EncoderOptions():
                overrides |= {"encoder": group.encoder, "preset": group.preset, "device": group.device}
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
    if overrides.get("preset") is not None:
        return load_settings(**_with_typed_preset(overrides))
    settings = load_settings(**overrides)
    if settings.preset is None:
        return settings
    from dar_search.models.choosing import with_preset

    return with_preset(settings)


def _with_typed_preset(overrides: dict[str, Any]) -> dict[str, Any]:
    """A preset that is typed goes before the environment and the file, as other options do."""
    from dar_search.models.choosing import of_preset

    typed = {name: value for name, value in overrides.items() if value is not None}
    return {**of_preset(str(typed["preset"]), typed), **typed}


def without_login(option: str, address: str | None) -> str | None:
    """An address that was typed. Raises SettingsError for one with a password in it: the list of processes shows it."""
    if address is not None and has_login(address):
        raise SettingsError(
            f"{option} has a user or password in it: all users of this machine can read it in the list of processes.",
            "Set it in the environment or the settings' file (OPENSEARCH_URL; OPENSEARCH_USERNAME and "
            "OPENSEARCH_PASSWORD; DAR_INGEST__LEDGER, DAR_INGEST__BROKER), or in a profile: profile:NAME.",
        )
    return address


def repeated(*groups: CommonOptions | EncoderOptions) -> str:
    """The options that the next command needs too, to reach the same index."""
    given: dict[str, str | None] = {}
    for group in groups:
        names = ("store", "config") if isinstance(group, CommonOptions) else ("preset",)
        given |= {name: value and str(value) for name in names if (value := getattr(group, name)) is not None}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items() if value)


def _choose_config(path: Path | None) -> None:
    # Settings read the environment alone, and so do the processes that a command starts.
    if path is None:
        return
    if not path.is_file():
        raise SettingsError(f"--config names {path}, which is no file.", "Correct the path.")
    os.environ[CONFIG_VARIABLE] = str(path.resolve())
