"""How a folder of transformers says that pictures are prepared: all of it is done as it says, or refused by name.

The defaults of what a folder leaves out are those of the library's own image processors (transformers 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed
from dar_search.models import weights
from dar_search.preparation import Preparation, Resample

Channels = tuple[float, float, float]

FILE, WITHIN = "preprocessor_config.json", "processor_config.json"
_RESAMPLES: Mapping[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_COMMON = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "resample": 3}
# Image processor, without its ending -> its defaults. Others do more than is done here.
_PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "CLIP": {
        **_COMMON, **_OPENAI, "size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224,
        "default_to_square": False,
    },
    "Siglip": {**_COMMON, **_HALF, "size": {"height": 224, "width": 224}, "default_to_square": False},
    "Blip": {**_COMMON, **_OPENAI, "size": {"height": 384, "width": 384}},
    "ViT": {**_COMMON, **_HALF, "size": {"height": 224, "width": 224}, "resample": 2},
}  # fmt: skip
_ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
USUAL: Mapping[str, str] = {"clip": "CLIP", "siglip": "Siglip", "blip": "Blip"}
# What names or places a processor, and what can change nothing where pictures are RGB by then.
_INCIDENTAL = frozenset(
    {"image_processor_type", "feature_extractor_type", "processor_class", "_processor_class", "do_convert_rgb",
     "default_to_square", "data_format", "input_data_format", "return_tensors", "device", "disable_grouping",
     "_valid_processor_keys", "_name_or_path", "transformers_version"}
)  # fmt: skip
_DONE = frozenset({*_COMMON, *_OPENAI, "size", "do_center_crop", "crop_size"})


def read(where: Path, *, model: str) -> Mapping[str, Any]:
    """What an image processor saved: in a file of its own, or inside its processor's. Raises WeightsMissing."""
    if not (where / FILE).is_file() and (where / WITHIN).is_file():
        found = weights.read_config(where / WITHIN).get("image_processor")
        if isinstance(found, dict):
            return found
        raise ModelFailed(
            f"{model}'s picture preparation cannot be read: {WITHIN} has no image_processor.",
            f"Fetch {FILE} from where the weights are from.",
        )
    return weights.read_config(where / FILE)


def preparation(config: Mapping[str, Any], kind: str, *, model: str) -> tuple[Preparation, Channels, Channels]:
    """What `read` gives, and the model's type -> the geometry, and mean and deviation of channels in the range 0-1.

    Raises ModelFailed for what cannot be done as it says.
    """
    given = {key: value for key, value in config.items() if value is not None}
    values = {**_PROCESSORS[_processor(given, kind, model)], **given}
    try:
        shape = _geometry(values, model)
        for key, value in given.items():
            if key not in _DONE and key not in _INCIDENTAL and not _changes_nothing(key, value, given, shape):
                raise _refused(model, f"{key} = {value!r}")
        mean, std = _normalisation(values, model)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFailed(
            f"{model}'s picture preparation cannot be read: {error!r}.",
            f"Fetch {FILE} again from where the weights are from.",
        ) from error
    return shape, mean, std


def _changes_nothing(key: str, value: Any, given: Mapping[str, Any], shape: Preparation) -> bool:
    """Whether a setting is off, or has nothing left to do: BLIP's folders pad pictures that are of one size by then."""
    if key == "do_pad" and value is True:
        return given.get("pad_size") in (None, {"height": shape.height, "width": shape.width})
    if key == "pad_size":
        return not given.get("do_pad") or bool(value == {"height": shape.height, "width": shape.width})
    if key == "size_divisor":
        return shape.height % int(value) == 0 and shape.width % int(value) == 0
    return value is False


def _processor(given: Mapping[str, Any], kind: str, model: str) -> str:
    named = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "")
    if not named:
        return USUAL[kind]
    ending = next((ending for ending in _ENDINGS if named.endswith(ending)), "")
    family = named.removesuffix(ending) if ending else named
    if family not in _PROCESSORS:
        raise _refused(model, f"the image processor {named}")
    return family


def _geometry(values: Mapping[str, Any], model: str) -> Preparation:
    size, crop = values["size"], values.get("crop_size")
    cropped = bool(values.get("do_center_crop"))
    if not values["do_resize"]:
        raise _refused(model, "do_resize = False (pictures of any size)")
    if int(values["resample"]) not in _RESAMPLES:
        raise _refused(model, f"resample = {values['resample']}")
    resample = _RESAMPLES[int(values["resample"])]
    if isinstance(size, int):
        square = values.get("default_to_square", True)
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    if set(size) == {"height", "width"}:
        shape = Preparation(int(size["height"]), int(size["width"]), "squash", resample)
        if cropped and crop not in (None, size):
            raise _resized(model, size, crop)
        return shape
    if set(size) != {"shortest_edge"}:
        raise _resized(model, size, crop)
    edge = int(size["shortest_edge"])
    if not cropped or crop != {"height": edge, "width": edge}:
        raise _resized(model, size, crop if cropped else None)
    return Preparation(edge, edge, "crop-floor", resample)


def _normalisation(values: Mapping[str, Any], model: str) -> tuple[Channels, Channels]:
    """The library takes (pixel * factor - mean) / std of pixels 0-255; the same with pixels / 255."""
    if values["do_normalize"]:
        mean, std = _channels(values["image_mean"], model), _channels(values["image_std"], model)
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    scale = 255 * float(values["rescale_factor"]) if values["do_rescale"] else 255.0
    if abs(scale - 1) > 1e-6:
        mean, std = _divided(mean, scale), _divided(std, scale)
    if not all(value > 0 for value in std):
        raise ValueError("a deviation of zero")
    return mean, std


def _divided(values: Channels, by: float) -> Channels:
    red, green, blue = values
    return red / by, green / by, blue / by


def _channels(value: float | Sequence[float], model: str) -> Channels:
    if isinstance(value, int | float):
        return (float(value),) * 3
    if len(value) != 3:
        raise ModelFailed(f"{model}'s picture preparation is not for pictures of three channels: {list(value)}.")
    red, green, blue = value
    return float(red), float(green), float(blue)


def _resized(model: str, size: object, crop: object) -> ModelFailed:
    cropped = f"and crops to {crop}" if crop else "and does not crop"
    return ModelFailed(f"{model} resizes to {size} {cropped}, which is not supported.", _CHOOSE)


def _refused(model: str, what: str) -> ModelFailed:
    return ModelFailed(f"{model}'s picture preparation ({FILE}) has {what}, which is not supported.", _CHOOSE)


_CHOOSE = "Choose a model whose pictures are resized to its size, or cropped to it after the shortest side was."
