"""Which class of diffusers draws with a folder: by the class that its model_index.json names, and no other code."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed
from dar_search.models import weights
from dar_search.models.imaginers import diffusers_folder

# What a text-to-image class of diffusers is called with here.
_NEEDED = frozenset({"prompt", "num_inference_steps", "num_images_per_prompt", "generator", "output_type"})
# What only a class takes that changes, enlarges or follows a picture, or makes a film.
_OTHERS = frozenset({"image", "images", "input_images", "control_image", "mask_image", "video", "num_frames"})


def text_to_image(folder: Path, *, model: str) -> Any:
    """The class to load a folder with: what `AutoPipelineForText2Image` maps, else the class itself, if it draws.

    The automatic class knows the text-to-image sibling of many (of an inpainting model, say), but lacks newer ones:
    SANA-Sprint, HiDream, HunyuanImage, Kandinsky 5, LongCat-Image, ERNIE-Image (diffusers 0.42).
    Raises ModelFailed for a class that diffusers does not have, or that does not draw from text alone.
    """
    import diffusers
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING, _get_task_class

    named = str(weights.read_config(folder / diffusers_folder.INDEX).get("_class_name"))
    mapped = _get_task_class(AUTO_TEXT2IMAGE_PIPELINES_MAPPING, named, throw_error_if_not_exist=False)
    if mapped is not None:
        return mapped
    found = getattr(diffusers, named, None)
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ModelFailed(
            f"{model} is a {named}, which diffusers {diffusers.__version__} does not have.",
            "Is the model newer? Try: pip install --upgrade diffusers. Code that comes with a model is not run.",
        )
    taken = dict(inspect.signature(found.__call__).parameters)
    if _NEEDED - set(taken) or _OTHERS & set(taken):
        raise ModelFailed(
            f"{model} is a {named} of diffusers, which does not draw pictures from text alone.",
            "Choose a text-to-image model.",
        )
    return found
