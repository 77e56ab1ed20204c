"""SigLIP 2 NaFlex: pictures of their own shape, against the plain library."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from dar_search.errors import ModelFailed
from dar_search.ingestion.decoding.decode import DecodeLimits, decode
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job
from dar_search.ingestion.sources.source import SourceItem
from dar_search.models.encoders.transformers_encoder import transformers_encoder
from dar_search.preparation import Preparation, own_shape
from tests import checkpoints

TEXTS = ["a red car", "", "Two Dogs, near a SMALL table. " * 20, "ein Hund läuft über die Straße"]
# Square, wide, tall, a line, a dot, larger and smaller than what the model takes.
SIZES = [(64, 64), (300, 40), (33, 401), (500, 1), (1, 1), (640, 480), (17, 19)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.naflex_folder(tmp_path_factory.mktemp("naflex") / "tiny")


def _pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in SIZES]


def test_texts_and_pictures_are_encoded_as_plain_transformers_does(folder: Path) -> None:
    model = transformers.Siglip2Model.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert type(processor).__name__ == "Siglip2ImageProcessorPil"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(
        [text.lower() for text in TEXTS], padding="max_length", truncation=True, max_length=16, return_tensors="pt",
        padding_side="right",
    )  # fmt: skip
    with torch.no_grad():
        pictures = model.get_image_features(**processor(_pictures(), return_tensors="pt")).pooler_output
        texts = model.get_text_features(input_ids=tokens.input_ids).pooler_output
    encoder = transformers_encoder(str(folder), device="cpu")
    unit = torch.nn.functional.normalize
    np.testing.assert_allclose(encoder.encode_images(_pictures()), unit(pictures, dim=-1).numpy(), atol=1e-4)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(texts, dim=-1).numpy(), atol=1e-4)
    assert encoder.preparation.describe() == "patches 16 of 0-3072 pixels bilinear"
    assert encoder.provenance.dimension == checkpoints.DIMENSION


def test_a_picture_keeps_its_ratio_and_a_canvas_of_zeros_is_encoded_all_the_same(folder: Path) -> None:
    shape = transformers_encoder(str(folder), device="cpu").preparation
    assert own_shape(shape.prepare(Image.new("RGB", (300, 100))), shape.step).shape == (32, 96, 3)
    assert own_shape(shape.prepare(Image.new("RGB", (1, 5000))), shape.step).shape == (192, 16, 3)
    zeros = np.zeros((1, shape.height, shape.width, 3), np.uint8)
    black = transformers_encoder(str(folder), device="cpu").encode_prepared(zeros)
    assert black.shape == (1, checkpoints.DIMENSION)


def test_a_decoder_process_prepares_it_as_this_one_does(folder: Path, tmp_path: Path) -> None:
    encoder = transformers_encoder(str(folder), device="cpu")
    picture = _pictures()[1]
    path = tmp_path / "picture.png"
    picture.save(path)
    (decoded,) = Decoders(encoder.preparation).decode([Job(SourceItem("1", "picture.png", bytes(path)))])
    assert isinstance(decoded, Decoded)
    np.testing.assert_array_equal(decoded.pixels, encoder.preparation.prepare(picture))


def test_a_jpeg_of_too_many_pixels_is_read_at_the_fraction_that_the_encoder_looks_at() -> None:
    file = io.BytesIO()
    Image.new("RGB", (2400, 1800), "red").save(file, "JPEG")
    shape = Preparation.own_ratio("blocks", "bicubic", step=32, most=512 * 512)
    decoded = decode(file.getvalue(), shape, DecodeLimits(max_pixels=2_000_000))
    assert own_shape(decoded.pixels, shape.step).shape == (416, 576, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch_size": 8}, "patches of 8 pixels, but its weights take 16"),
        ({"do_resize": False}, "do_resize"),
        ({"image_processor_type": "OtherImageProcessor"}, "OtherImageProcessor"),
    ],
)
def test_what_cannot_be_done_as_it_says_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    file = copy / "preprocessor_config.json"
    file = file if file.exists() else copy / "processor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ModelFailed, match=said):
        _ = transformers_encoder(str(copy)).provenance
