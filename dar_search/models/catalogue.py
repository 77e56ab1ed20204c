"""Model names -> adapters. The names are those of the settings; nothing heavy is imported to make an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dar_search.errors import UnknownModel
from dar_search.models.reformulators.spelling import nearest
from dar_search.ports import Encoder, Imaginer, Reformulator

BUNDLE = Path(__file__).parent.parent / "demo" / "bundle"
ENCODERS = (
    "demo",
    "open_clip:ARCHITECTURE/PRETRAINED",
    "open_clip:FOLDER",
    "open_clip:hf-hub:ORG/NAME",
    "transformers:FOLDER",
    "transformers:ORG/NAME",
    "sentence-transformers:FOLDER",
    "sentence-transformers:ORG/NAME",
)
REFORMULATORS = ("rules", "demo", "endpoint:MODEL", "chat:FOLDER", "chat:ORG/NAME")
IMAGINERS = (
    "none",
    "demo",
    "demo-pictures",
    "prior:FOLDER",
    "prior:ORG/NAME",
    "diffusers:FOLDER",
    "diffusers:ORG/NAME",
    "pregenerated:FOLDER",
)
# How the bundled text-to-image model draws where nothing else is said.
BUNDLED_SAMPLING: Mapping[str, Any] = {"steps": 6, "guidance": 4.0}
BUNDLED_IMAGINERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "demo": ("prior", "prior", {}),
    "demo-pictures": ("diffusers", "painter", BUNDLED_SAMPLING),
}
"""Name -> kind, folder in the bundle, options."""


def encoder(
    name: str, *, device: str = "auto", dtype: str = "auto", options: Mapping[str, Any] | None = None
) -> Encoder:
    """An encoder by name; its weights load at its first encoding.

    device, dtype: as in the settings.
    options: of TowersOptions. Here and below, `device` and `dtype` among the options go before the others' own.
    Raises UnknownModel, SettingsError, and WeightsMissing for a folder that is not there.
    """
    from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
    from dar_search.models.encoders.towers import TowersOptions
    from dar_search.models.options import read_options

    kind, _, source = name.partition(":")
    device, dtype, own = _placed(device, dtype, options)
    chosen = read_options(TowersOptions, own, model=name)
    if name == "demo":
        return open_clip_encoder(str(BUNDLE / "encoder"), name="demo", device=device, dtype=dtype, options=chosen)
    if kind == "open_clip" and source:
        return open_clip_encoder(source, device=device, dtype=dtype, options=chosen)
    if kind == "transformers" and source:
        from dar_search.models.encoders.transformers_encoder import transformers_encoder

        return transformers_encoder(source, device=device, dtype=dtype, options=chosen)
    if kind == "sentence-transformers" and source:
        from dar_search.models.encoders.sentence_encoder import sentence_encoder

        return sentence_encoder(source, device=device, dtype=dtype, options=chosen)
    raise _unknown("encoder", name, ENCODERS)


def reformulator(
    name: str, *, device: str = "auto", dtype: str = "auto", options: Mapping[str, Any] | None = None
) -> Reformulator:
    """A reformulator by name. One that asks a model falls back to the rules where it fails, and notes it.

    options: of EndpointOptions (at least url; the name has the model) or ChatOptions; the rules have none.
    Raises UnknownModel, SettingsError.
    """
    from dar_search.models.options import read_options
    from dar_search.models.reformulators.fallback import FallbackReformulator
    from dar_search.models.reformulators.rules import RulesReformulator

    kind, _, source = name.partition(":")
    device, dtype, own = _placed(device, dtype, options)
    if name == "rules":
        return RulesReformulator()
    if kind == "endpoint" and source:
        from dar_search.models.reformulators.endpoint_reformulator import EndpointOptions, EndpointReformulator

        asked = read_options(EndpointOptions, {**own, "model": source}, model=name)
        return FallbackReformulator(EndpointReformulator(asked), RulesReformulator())
    if is_chat_model(name):
        from dar_search.models.reformulators.chat_reformulator import ChatOptions, ChatReformulator

        where, label = (str(BUNDLE / "reformulator"), "demo") if name == "demo" else (source, "")
        chat = read_options(ChatOptions, own, model=name)
        return FallbackReformulator(
            ChatReformulator(where, name=label, device=device, dtype=dtype, options=chat), RulesReformulator()
        )
    raise _unknown("reformulator", name, REFORMULATORS)


def is_chat_model(reformulator: str) -> bool:
    """Whether the reformulator of that name is a language model that runs here."""
    kind, _, source = reformulator.partition(":")
    return reformulator == "demo" or (kind == "chat" and bool(source))


def imaginer(
    name: str,
    encoder: Encoder,
    *,
    device: str = "auto",
    dtype: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> Imaginer | None:
    """An imaginer by name, in the encoder's space; None for "none".

    options: of PriorOptions or PictureOptions; the others have none, and take no notice.
    Raises UnknownModel, WeightsMissing, SettingsError, and DimensionMismatch where it imagines in another space.
    """
    kind, _, source = name.partition(":")
    device, dtype, own = _placed(device, dtype, options)
    if name == "none":
        return None
    label = ""
    if name in BUNDLED_IMAGINERS:
        kind, folder, usual = BUNDLED_IMAGINERS[name]
        source, label, own = str(BUNDLE / folder), name, {**usual, **own}
    if kind == "prior" and source:
        from dar_search.models.imaginers.prior_imaginer import prior_imaginer

        return prior_imaginer(source, encoder, name=label, device=device, dtype=dtype, options=own)
    if kind == "diffusers" and source:
        from dar_search.models.imaginers.picture_imaginer import picture_imaginer

        return picture_imaginer(source, encoder, name=label, device=device, dtype=dtype, options=own)
    if kind == "pregenerated" and source:
        from dar_search.models.imaginers.pregenerated_imaginer import pregenerated_imaginer

        return pregenerated_imaginer(source, encoder)
    raise _unknown("imaginer", name, IMAGINERS)


def require_imaginer(name: str) -> None:
    """Raises UnknownModel for a name that `imaginer` does not know; makes nothing."""
    kind, _, source = name.partition(":")
    if name not in ("none", *BUNDLED_IMAGINERS) and not (kind in ("prior", "diffusers", "pregenerated") and source):
        raise _unknown("imaginer", name, IMAGINERS)


def _placed(device: str, dtype: str, options: Mapping[str, Any] | None) -> tuple[str, str, dict[str, Any]]:
    """Where a model runs and in which numbers, which its own options may say, and the rest of them."""
    own = dict(options or {})
    return str(own.pop("device", device)), str(own.pop("dtype", dtype)), own


def _unknown(port: str, name: str, known: tuple[str, ...]) -> UnknownModel:
    return UnknownModel(f"There is no {port} {name!r}.", nearest(name, known, f"Known {port}s"))
