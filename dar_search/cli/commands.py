"""Which commands there are, built-in and from other packages, each loaded only when it runs or is listed.

Other packages add theirs by the entry-point group `dar_search.commands`: an entry point's name is the command's
name, its object a `typer.Typer` or a function for one. `--help` loads them all, so their modules should import
nothing heavy at the top. One that cannot be loaded is a warning that names it; the other commands go on working.
"""

from __future__ import annotations

import difflib
import importlib.util
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from dar_search.cli.shown.output import warn
from dar_search.errors import FeatureMissing

GROUP = "dar_search.commands"
BUILT_IN = {
    "demo": "dar_search.cli.demo:demo",
    "ingest": "dar_search.cli.ingest:ingest",
    "jobs": "dar_search.cli.jobs:app",
    "search": "dar_search.cli.search:search",
    "chat": "dar_search.cli.chat:chat",
    "rewrite": "dar_search.cli.rewrite:rewrite",
    "index": "dar_search.cli.index:app",
    "models": "dar_search.cli.models:app",
    "evaluate": "dar_search.cli.evaluate:evaluate",
    "mcp": "dar_search.cli.mcp:mcp",
    "doctor": "dar_search.cli.doctor:doctor",
    "dev": "dar_search.cli.dev:app",
}


class LazyCommands(TyperGroup):
    """The built-in commands, then the plugins'. A built-in command cannot be replaced."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(available())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command to list, or to run. None, with a warning, where a plugin is broken."""
        try:
            return self._load(cmd_name)
        except FeatureMissing as error:
            warn(error.message)
            return None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that was asked for. Raises FeatureMissing where its plugin is broken, naming it."""
        name = args[0]
        if name.startswith("-"):
            return super().resolve_command(ctx, args)
        command = self._load(name)
        if command is None:
            near = difflib.get_close_matches(name, available(), 1)
            hint = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(available())}."
            ctx.fail(f'There is no command "{name}". {hint}')
        return name, command, args[1:]

    def _load(self, name: str) -> Any:
        entry = available().get(name)
        return None if entry is None else _command_from(entry)


def available() -> dict[str, EntryPoint]:
    """Command name -> where its code is, built-in commands first."""
    built_in = {
        name: EntryPoint(name, value, GROUP)
        for name, value in BUILT_IN.items()
        if importlib.util.find_spec(value.partition(":")[0])
    }
    return built_in | {name: entry for name, entry in sorted(plugins().items()) if name not in built_in}


def plugins() -> dict[str, EntryPoint]:
    """The commands of other packages, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def plugin_problems() -> dict[str, str | FeatureMissing]:
    """Each plugin's package, or why it cannot be loaded. For `dar doctor`."""
    report: dict[str, str | FeatureMissing] = {}
    for name, entry in plugins().items():
        try:
            _command_from(entry)
            report[name] = entry.dist.name if entry.dist else entry.module
        except FeatureMissing as error:
            report[name] = error
    return report


def _command_from(entry: EntryPoint) -> Any:
    if entry.dist is None and entry.name in BUILT_IN:
        return _made(entry)
    package = entry.dist.name if entry.dist else entry.module
    try:
        return _made(entry)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way, and must not take dar down
        raise FeatureMissing(
            f'The command "{entry.name}" of {package} cannot be loaded: {type(error).__name__}: {error}.',
            f"Install {package} again with what it needs, or remove it.",
        ) from error


def _made(entry: EntryPoint) -> Any:
    loaded = entry.load()
    if isinstance(loaded, typer.Typer):
        app = loaded
    elif callable(loaded):
        app = typer.Typer(add_completion=False, rich_markup_mode="rich", context_settings=CONTEXT)
        app.command()(loaded)
    else:
        raise TypeError(f"{entry.value} is neither a Typer nor a function")
    command = typer.main.get_command(app)
    command.name = entry.name
    return command


CONTEXT = {"help_option_names": ["-h", "--help"]}
