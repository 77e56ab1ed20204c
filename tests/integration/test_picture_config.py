"""A folder's own picture preparation, against the image processors of transformers, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from dar_search.data import FloatArray
from dar_search.errors import ModelFailed, WeightsMissing
from dar_search.models.encoders import picture_config

KINDS = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor", "blip": "BlipImageProcessor"}


def _pixels(where: Path, kind: str, picture: Image.Image) -> FloatArray:
    """(3, height, width), as `TowersEncoder` makes them."""
    shape, mean, std = picture_config.preparation(picture_config.read(where, model="m"), kind, model="m")
    prepared = shape.prepare(picture).astype(np.float64) / 255
    return ((prepared - mean) / std).transpose(2, 0, 1).astype(np.float32)


def _picture(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5},
        {"do_normalize": False},
        {"do_rescale": False, "do_normalize": False},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"do_convert_rgb": False},
        {"resample": 2},
        {"resample": 0},
    ],
    ids=str,
)
def test_pixels_are_those_of_the_librarys_own_processor(tmp_path: Path, kind: str, said: dict[str, Any]) -> None:
    size: dict[str, Any] = {"size": {"height": 32, "width": 32}}
    if kind == "clip":
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = getattr(transformers, KINDS[kind])(**{**size, **said})
    processor.save_pretrained(tmp_path)
    picture = _picture((32, 32))  # of the size already: libraries resize by other arithmetic, a grey level apart
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
    np.testing.assert_allclose(_pixels(tmp_path, kind, picture), expected, rtol=1e-4, atol=1e-4)
    stretched = _picture((61, 40))
    expected = np.asarray(processor(stretched, return_tensors="np")["pixel_values"][0])
    grey = 255 * np.abs(_pixels(tmp_path, kind, stretched) - expected).mean() / max(expected.max() - expected.min(), 1)
    assert grey < 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_folder_leaves_out_is_as_the_librarys_own_processor_has_it(tmp_path: Path, kind: str) -> None:
    processor = getattr(transformers, KINDS[kind])()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": KINDS[kind]}))
    side = 384 if kind == "blip" else 224
    picture = _picture((side, side))
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
    np.testing.assert_allclose(_pixels(tmp_path, kind, picture), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "said", "named"),
    [
        ("clip", {"crop_pct": 0.875}, "crop_pct = 0.875"),
        ("clip", {"do_flip_channel_order": True}, "do_flip_channel_order"),
        ("clip", {"do_resize": False}, "do_resize = False"),
        ("clip", {"do_center_crop": False}, "does not crop"),
        ("clip", {"size": {"shortest_edge": 36}}, "resizes to"),
        ("clip", {"size": {"shortest_edge": 32, "longest_edge": 64}}, "resizes to"),
        ("clip", {"crop_size": {"height": 32, "width": 16}}, "crops to"),
        ("clip", {"resample": 4}, "resample = 4"),
        ("clip", {"image_std": [0.5, 0.0, 0.5]}, "deviation of zero"),
        ("siglip", {"do_center_crop": True, "crop_size": 16}, "crops to"),
        ("siglip", {"max_num_patches": 256}, "max_num_patches"),
        ("siglip", {"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessor"),
        ("blip", {"size_divisor": 24}, "size_divisor = 24"),
        ("blip", {"do_pad": True, "pad_size": {"height": 64, "width": 64}}, "do_pad"),
        ("clip", {"image_processor_type": "ConvNextImageProcessor"}, "ConvNextImageProcessor"),
        ("clip", {"something_new": 3}, "something_new"),
    ],
    ids=str,
)
def test_what_is_not_done_is_refused_by_name(kind: str, said: dict[str, Any], named: str) -> None:
    size: dict[str, Any] = {"size": {"height": 32, "width": 32}}
    if kind == "clip":
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    with pytest.raises(ModelFailed) as caught:
        picture_config.preparation({**size, **said}, kind, model="m")
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "said",
    [{"do_pad": True}, {"size_divisor": 32}, {"do_pad": True, "size_divisor": 16}, {"crop_pct": None},
     {"do_flip_channel_order": False}, {"do_pad": False, "pad_size": {"height": 9, "width": 9}}],
    ids=str,
)  # fmt: skip
def test_what_has_nothing_left_to_do_is_no_reason_to_refuse(said: dict[str, Any]) -> None:
    # Folders of BLIP pad, with a divisor, pictures that are of one size by then.
    plain = picture_config.preparation({"size": {"height": 32, "width": 32}}, "blip", model="m")
    assert picture_config.preparation({"size": {"height": 32, "width": 32}, **said}, "blip", model="m") == plain


def test_a_folder_without_picture_preparation_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"preprocessor_config\.json"):
        picture_config.read(tmp_path, model="m")
    (tmp_path / "processor_config.json").write_text("{}")
    with pytest.raises(ModelFailed, match="has no image_processor") as caught:
        picture_config.read(tmp_path, model="m")
    assert "preprocessor_config.json" in caught.value.hint
