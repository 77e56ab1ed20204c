"""Loads the parts of a diffusion model one by one, so that none is completed at random by its library.

diffusers loads a whole folder in one call, but says what was missing in a part's weights only in its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar_search.errors import ModelFailed
from dar_search.models import tokenizing
from dar_search.models.completeness import load_part
from dar_search.models.imaginers import diffusers_folder

if TYPE_CHECKING:
    import torch


def load_parts(folder: Path, dtype: torch.dtype, *, model: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """Every part of the folder that has weights, by name, for a pipeline's `from_pretrained` to take.

    Raises WeightsMissing, UnsafeWeights, ModelFailed.
    """
    import torch

    loaded: dict[str, Any] = {}
    for part, (library, kind) in diffusers_folder.parts(folder):
        found = None if part in without else _class_of(library, kind)
        if isinstance(found, type) and issubclass(found, torch.nn.Module):
            variant = diffusers_folder.variant(folder / part, half=dtype.itemsize == 2)
            loaded[part] = load_part(found, folder / part, dtype, model=model, variant=variant)
    return loaded


def require_checked(components: dict[str, Any], loaded: dict[str, Any], *, model: str) -> None:
    """Raises ModelFailed where a pipeline has weights that `load_parts` did not load, or a tokenizer of another model.

    components: the pipeline's, by name.
    """
    import torch

    for part, component in components.items():
        if isinstance(component, torch.nn.Module) and part not in loaded:
            raise ModelFailed(
                f"{model}'s part {part} is a {type(component).__name__}, whose weights cannot be checked.",
                "Only folders whose parts are classes of diffusers and transformers can be loaded.",
            )
        reader = loaded.get(part.replace("tokenizer", "text_encoder")) if part.startswith("tokenizer") else None
        if component is None or reader is None or not hasattr(component, "get_vocab"):
            continue
        name = f"{model}'s {part}"
        tokenizing.require_fit(component, reader.get_input_embeddings().num_embeddings, model=name)
        if type(reader).__name__ == "CLIPTextModelWithProjection":
            tokenizing.require_clip_end(component, reader.config.eos_token_id, model=name)


def _class_of(library: str, kind: str) -> Any:
    """A class of diffusers, of one of its pipelines, or of transformers; None: the pipeline knows, or refuses it."""
    import diffusers
    import transformers

    places = {"diffusers": diffusers, "transformers": transformers}
    place = places.get(library) or getattr(diffusers.pipelines, library, None)
    return getattr(place, kind, None)
