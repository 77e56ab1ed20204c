"""Which models the settings mean: a preset's, and the encoder where none is named.

A named encoder is used as it is. Else it is the one that the index was made with; and for a new index that of the
machine's preset.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dar_search.data import Provenance
from dar_search.errors import SettingsError
from dar_search.models import presets
from dar_search.models.presets import Preset
from dar_search.settings import AUTO, Settings

_FOLDERS_FILE = "encoders.json"
_GPU_MEGABYTES = 40_000  # what the preset "gpu" is made for
_LOOK_SECONDS = 5


def with_preset(settings: Settings) -> Settings:
    """The settings with those of their preset where nothing else is said. Raises UnknownModel."""
    if settings.preset is None:
        return settings
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return _filled(settings, of_preset(settings.preset, given))


def of_preset(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset says, less what is given; and what it says of its own models is nothing for others that are given.
    Raises UnknownModel."""
    chosen = presets.preset(name).settings
    others = {role for role in presets.ROLES if role in given and given[role] != chosen.get(role)}
    belongs = dict.fromkeys(("imagine_steps", "imagine_count"), "imaginer")
    belongs |= {f"{role}_options": role for role in presets.ROLES}
    return {one: value for one, value in chosen.items() if one not in given and belongs.get(one) not in others}


def with_encoder(settings: Settings, name: str) -> Settings:
    """The settings with an encoder, and the imaginer that goes with it where none is named."""
    imaginer = {} if "imaginer" in settings.model_fields_set else {"imaginer": "demo" if name == "demo" else "none"}
    return _filled(settings, {"encoder": name, **imaginer})


def with_encoder_of(settings: Settings, stored: Provenance) -> Settings:
    """The settings with the encoder that an index was made with, unless they name one.

    Raises SettingsError for a folder that no command here has loaded.
    """
    if settings.encoder != AUTO:
        return settings
    return with_encoder(settings, _name_of(stored, settings.data_folder))


def remember_folder(settings: Settings, provenance: Provenance) -> None:
    """Keep where an encoder's folder is: an index knows its content, and not its place on this machine."""
    kind, _, source = settings.encoder.partition(":")
    folder = Path(source).expanduser()
    if not source or not folder.is_dir():
        return
    path = settings.data_folder / _FOLDERS_FILE
    named = f"{kind}:{folder.resolve()}"
    known = _known_folders(path)
    if known.get(provenance.identity) != named:
        _replace(path, json.dumps({**known, provenance.identity: named}, indent=2))


def machine_preset(device: str) -> Preset:
    """What suits this machine: "gpu" where the settings' device may be an NVIDIA GPU of 40 GB, else "cpu"."""
    suits = device == "auto" or device.startswith("cuda")
    return presets.preset("gpu" if suits and _gpu_megabytes() >= _GPU_MEGABYTES else "cpu")


def _name_of(stored: Provenance, data_folder: Path) -> str:
    kind, _, source = stored.encoder.partition(":")
    folder = _known_folders(data_folder / _FOLDERS_FILE).get(stored.identity, "")
    if Path(folder.partition(":")[2]).is_dir() and folder:
        return folder
    if source and "/" not in source:  # what provenance calls a folder (`open_clip_encoder`, `transformers_encoder`)
        raise SettingsError(
            f'The index was made with the encoder "{stored.encoder}", whose folder this machine does not know.',
            f"Name it: --encoder {kind}:PATH/{source}",
        )
    return stored.encoder


def _known_folders(path: Path) -> Mapping[str, str]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or damaged: then a person names the folder once more
        return {}
    return known if isinstance(known, dict) else {}


def _replace(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
    unfinished.replace(path)


def _filled(settings: Settings, values: Mapping[str, Any]) -> Settings:
    return settings.model_copy(update=dict(values))


def _gpu_megabytes() -> int:
    """The memory of the largest NVIDIA GPU, by its driver's own program: torch would take seconds to say it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_SECONDS, check=True).stdout
        return max((int(line) for line in answer.split()), default=0)
    except (OSError, subprocess.SubprocessError, ValueError):  # no GPU that it can speak of
        return 0
