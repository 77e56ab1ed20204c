"""Model names -> adapters. The names are those of the settings; nothing heavy is imported to make an adapter."""

from __future__ import annotations

from pathlib import Path

from dar_search.errors import UnknownModel
from dar_search.models.spelling import nearest
from dar_search.ports import Encoder, Imaginer, Reformulator

BUNDLE = Path(__file__).parent.parent / "demo" / "bundle"
ENCODERS = (
    "demo",
    "open_clip:ARCHITECTURE/PRETRAINED",
    "open_clip:FOLDER",
    "open_clip:hf-hub:ORG/NAME",
    "transformers:FOLDER",
    "transformers:ORG/NAME",
)
REFORMULATORS = ("rules",)
IMAGINERS = ("none", "demo", "prior:FOLDER", "prior:ORG/NAME")


def encoder(name: str, *, device: str = "auto", dtype: str = "auto") -> Encoder:
    """An encoder by name; its weights load at its first encoding.

    device, dtype: as in the settings. Raises UnknownModel, and WeightsMissing for a folder that is not there.
    """
    from dar_search.models.open_clip_encoder import open_clip_encoder

    kind, _, source = name.partition(":")
    if name == "demo":
        return open_clip_encoder(str(BUNDLE / "encoder"), name="demo", device=device, dtype=dtype)
    if kind == "open_clip" and source:
        return open_clip_encoder(source, device=device, dtype=dtype)
    if kind == "transformers" and source:
        from dar_search.models.transformers_encoder import transformers_encoder

        return transformers_encoder(source, device=device, dtype=dtype)
    raise _unknown("encoder", name, ENCODERS)


def reformulator(name: str, *, device: str = "auto", dtype: str = "auto") -> Reformulator:
    """A reformulator by name. Raises UnknownModel."""
    if name == "rules":
        from dar_search.models.rules import RulesReformulator

        return RulesReformulator()
    raise _unknown("reformulator", name, REFORMULATORS)


def imaginer(name: str, encoder: Encoder, *, device: str = "auto", dtype: str = "auto") -> Imaginer | None:
    """An imaginer by name, in the encoder's space; None for "none".

    Raises UnknownModel, WeightsMissing, and DimensionMismatch where it imagines in another space.
    """
    from dar_search.models.prior_imaginer import prior_imaginer

    kind, _, source = name.partition(":")
    if name == "none":
        return None
    if name == "demo":
        return prior_imaginer(str(BUNDLE / "prior"), encoder, name="demo", device=device, dtype=dtype)
    if kind == "prior" and source:
        return prior_imaginer(source, encoder, device=device, dtype=dtype)
    raise _unknown("imaginer", name, IMAGINERS)


def _unknown(port: str, name: str, known: tuple[str, ...]) -> UnknownModel:
    return UnknownModel(f"There is no {port} {name!r}.", nearest(name, known, f"Known {port}s"))
