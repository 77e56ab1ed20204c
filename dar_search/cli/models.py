"""`dar models`: which models go together, fetching their weights, and whether they run here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dar_search.cli.commands import CONTEXT
from dar_search.cli.options.shared import CommonOptions, EncoderOptions, grouped, settings_from
from dar_search.cli.shown.output import (
    DONE_WITH_FAILURES,
    answer_console,
    busy,
    columns_of,
    note,
    plain,
    plain_text,
    print_json,
)
from dar_search.errors import DarError
from dar_search.models import choosing, presets
from dar_search.models.presets import Preset, Role
from dar_search.models.process.warm import stop_all
from dar_search.settings import AUTO, Settings, load_settings

app = typer.Typer(
    help="Presets of models: list them, fetch their weights, check that they run.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=CONTEXT,
)
PresetName = Annotated[
    str | None,
    typer.Argument(metavar="[PRESET]", help="A preset; without one, the models of your settings.", show_default=False),
]


@app.command("list")
@grouped
def list_presets(
    common: CommonOptions,
    preset: Annotated[
        str | None,
        typer.Argument(metavar="[PRESET]", help="Show one, with the settings that choose it.", show_default=False),
    ] = None,
) -> None:
    """List the presets, or show one with its licences and the settings that choose it.

    Licences and sizes are what is known of the models; their own pages count.

    Examples:

      dar models list

      dar models list gpu
    """
    if preset is not None:
        _show(presets.preset(preset), as_json=common.json)
        return
    if common.json:
        print_json({"presets": [_described(one) for one in presets.presets()]})
        return
    table = _table("preset", "download", "memory", "encoder, reformulator, imaginer", "for")
    table.columns[3].min_width = max(len(part.name) for one in presets.presets() for part in one.parts)
    for one in presets.presets():
        names = Text("\n".join(plain(part.name) for part in one.parts))
        table.add_row(one.name, _size(one.download_mb), _size(one.memory_mb), names, one.purpose)
    answer_console().print(table)
    note("One of them, with its licences and settings: dar models list PRESET")


@app.command()
@grouped
def fetch(common: CommonOptions, encoder: EncoderOptions, named: PresetName = None) -> None:
    """Fetch the weights of a preset's models, or of your settings', from their hub.

    What is here already is kept. Only safetensors are fetched; a model that has pickled weights alone is refused. A
    gated model needs its licence accepted on its page, and HF_TOKEN. What cannot be fetched is said, and the rest
    goes on (exit status 3).

    Examples:

      dar models fetch cpu

      dar models fetch --encoder open_clip:ViT-B-32/laion2b_s34b_b79k
    """
    settings = _settings(named, common, encoder)
    fetched: list[dict[str, Any]] = []
    for role, name in _names(settings).items():
        row: dict[str, Any] = {"role": role, "name": name, "ok": True}
        try:
            presets.fetch(role, name)
        except DarError as error:
            row |= {"ok": False, "error": error.as_dict()}
        fetched.append(row)
        if not common.json:
            said = "here" if row["ok"] else f"{row['error']['message']} {row['error']['hint']}".strip()
            answer_console().print(plain_text(f"{role} {name}: {said}"), soft_wrap=True)
    stop_all(settings.data_folder)  # they may have what was there before
    if common.json:
        print_json({"fetched": fetched})
    _end(all(row["ok"] for row in fetched))


@app.command()
@grouped
def check(common: CommonOptions, encoder: EncoderOptions, named: PresetName = None) -> None:
    """Load and run each of a preset's models, or of your settings', and say how long it took.

    The first time is with loading, the second is one text and one picture, one reformulation, or one imagination. A
    part that cannot run is said, and the others are checked all the same (exit status 3).

    Examples:

      dar models check

      dar models check cpu
    """
    settings = _settings(named, common, encoder)
    names = _names(settings)
    table = _table("", "model", "loaded in", "run in", "")
    rows: list[presets.Check] = []
    checks = presets.check(
        names,
        device=settings.device,
        dtype=settings.dtype,
        steps=settings.imagine_steps,
        encoder_options=settings.encoder_options,
        reformulator_options=settings.reformulator_options,
        imaginer_options=settings.imaginer_options,
    )
    with busy("Loading and running the models ...", quiet=common.json):
        rows.extend(checks)
    if common.json:
        print_json({"checks": rows})
    for row in rows:
        mark = plain_text("ok", "green") if row.ok else plain_text("failed", "bold red")
        said = plain_text(f"{row.said} {row.hint}".strip())
        seconds = [f"{value:.2f} s" for value in (row.load_seconds, row.run_seconds)] if row.ok else ["", ""]
        table.add_row(mark, plain_text(f"{row.role} {row.name}"), *seconds, said)
    if not common.json:
        answer_console().print(table)
    _end(all(row.ok for row in rows))


@app.command()
@grouped
def stop(common: CommonOptions) -> None:
    """End the processes in which commands left their models for the next one (model_process.warm_minutes).

    Examples:

      dar models stop
    """
    count = stop_all(settings_from(common).data_folder)
    if common.json:
        print_json({"stopped": count})
    else:
        answer_console().print(f"{count} stopped." if count else "None was left.")


def _settings(named: str | None, common: CommonOptions, encoder: EncoderOptions) -> Settings:
    """The settings, with the preset's on top, and the options' on top of those."""
    settings = settings_from(common, encoder)
    if named is None:
        suits = choosing.machine_preset(settings.device).encoder.name
        return choosing.with_encoder(settings, suits) if settings.encoder == AUTO else settings
    chosen = dict(presets.preset(named).settings)
    given = {name: value for name in ("encoder", "device") if (value := getattr(encoder, name)) is not None}
    return load_settings(**{**chosen, "store": common.store, **given})


def _names(settings: Settings) -> dict[Role, str]:
    names = presets.names_of({role: getattr(settings, role) for role in presets.ROLES})
    return {role: name for role, name in names.items() if name != "none"}


def _show(preset: Preset, *, as_json: bool) -> None:
    if as_json:
        print_json(_described(preset))
        return
    console = answer_console()
    console.print(plain_text(preset.purpose, "bold"))
    table = _table("", "model", "licence", "download", "memory")
    for part in preset.parts:
        sizes = (_size(part.download_mb), _size(part.memory_mb))
        table.add_row(part.role, plain_text(part.name), plain_text(part.licence), *sizes)
    console.print(table)
    if preset.differs:
        console.print(columns_of([("differs", preset.differs)]), markup=False, soft_wrap=True)
    console.print(columns_of([("settings", "")]), markup=False)
    console.print(_as_toml(preset.settings), markup=False, soft_wrap=True)


def _described(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "purpose": preset.purpose,
        "differs": preset.differs,
        "download_mb": preset.download_mb,
        "memory_mb": preset.memory_mb,
        "parts": list(preset.parts),
        "settings": dict(preset.settings),
    }


def _as_toml(settings: Mapping[str, Any]) -> str:
    """Settings as lines of the configuration file. A JSON string, number or truth value is TOML's too."""
    plain_lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if not isinstance(value, dict)]
    tables = [
        f"{name} = {{ {', '.join(f'{key} = {json.dumps(one)}' for key, one in value.items())} }}"
        for name, value in settings.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*plain_lines, *tables])


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        number = heading in ("download", "memory", "loaded in", "run in")
        table.add_column(heading, justify="right" if number else "left", no_wrap=number)
    return table


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB" if megabytes else "-"


def _end(done: bool) -> None:
    if not done:
        raise typer.Exit(DONE_WITH_FAILURES)
