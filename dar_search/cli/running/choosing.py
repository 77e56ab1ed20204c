"""The encoder of a command: the index's own, or for a new index the machine's, fetched once with a person's consent."""

from __future__ import annotations

import sys

import typer

from dar_search.cli.shown.output import note, side_console
from dar_search.data import Provenance
from dar_search.errors import WeightsMissing
from dar_search.models import choosing, hub, presets
from dar_search.models.presets import Part
from dar_search.settings import AUTO, Settings

_REACHED_WITHIN = 2.0


def with_encoder(settings: Settings, stored: Provenance | None, *, yes: bool = False) -> Settings:
    """The settings with an encoder whose weights are here.

    Args:
        stored: of the index that is there.
        yes: fetch without asking.

    Raises SettingsError for an index of an unknown encoder, WeightsMissing where they cannot or may not be fetched.
    """
    named = settings.encoder != AUTO
    if named and settings.preset is None:
        return settings
    if named:
        why = f"The preset {settings.preset} has"
    elif stored is not None:
        settings = choosing.with_encoder_of(settings, stored)
        why = "The index was made with"
    else:
        settings = choosing.with_encoder(settings, choosing.machine_preset(settings.device).encoder.name)
        why = "No encoder is named; what suits this machine is"
    if not presets.is_here(settings.encoder):
        _fetch(_part_of(settings.encoder), why, for_new=stored is None, yes=yes)
    return settings


def _part_of(name: str) -> Part:
    known = [part for one in presets.presets() for part in one.parts]
    return next((part for part in known if part.name == name), Part("encoder", name, "", 0, 0))


def _fetch(part: Part, why: str, *, for_new: bool, yes: bool) -> None:
    facts = f" ({part.download_mb:,} MB, {part.licence})" if part.licence else ""
    said = f"{why} {part.name}{facts}, which is not on this machine"
    trial = (
        ""
        if not for_new
        else " To try the mechanics with the demo's encoder, which knows no photographs: --encoder demo."
    )
    if not hub.reachable(_REACHED_WITHIN):
        raise WeightsMissing(
            f"{said}, and {hub.address()} cannot be reached.",
            f'Where it can: dar models fetch --encoder "{part.name}"; then copy that machine\'s {hub.cache_folder()} '
            f"here.{trial}",
        )
    if not yes and not _agreed(f"{said}. Fetch it once from {hub.address()}?"):
        how = "add --yes" if for_new else f'dar models fetch --encoder "{part.name}"'
        raise WeightsMissing(f"{said}.", f"Fetch it once from {hub.address()}: {how}.{trial}")
    note(f"Fetching {part.name} from {hub.address()} ...")
    presets.fetch("encoder", part.name)


def _agreed(question: str) -> bool:
    """Whether a person says yes. Where nobody can be asked: no."""
    if not (sys.stdin.isatty() and side_console().is_terminal):
        return False
    return typer.confirm(question, default=True, err=True)
