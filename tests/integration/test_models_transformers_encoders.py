"""transformers encoders over tiny checkpoints of the real classes, against the plain library."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from dar_search.data import FloatArray
from dar_search.errors import ModelFailed, UnsafeWeights, WeightsMissing
from dar_search.models import catalogue
from dar_search.models.encoders.transformers_encoder import transformers_encoder
from tests import checkpoints

MAKERS: dict[str, Callable[[Path], Path]] = {
    "clip": checkpoints.clip_folder,
    "siglip": checkpoints.siglip_folder,
    "blip": checkpoints.blip_folder,
}
TEXTS = ["a red car", "", "Two dogs, near a small table. " * 20]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {kind: make(root / kind) for kind, make in MAKERS.items()}


def _pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = [(32, 32), (65, 32), (34, 34), (40, 64)]
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


def _unit(rows: torch.Tensor) -> FloatArray:
    return torch.nn.functional.normalize(rows.float(), dim=-1).numpy()


def _plain(kind: str, folder: Path) -> tuple[FloatArray, FloatArray]:
    """TEXTS and the pictures through the library's own processor and model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(_pictures(), return_tensors="pt")["pixel_values"]
    padding = "max_length" if kind == "siglip" else True
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        if kind == "blip":
            model = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
            scores = model(tokens.input_ids, pixels, use_itm_head=False, attention_mask=tokens.attention_mask)
            return scores.itm_score.numpy(), np.empty(0, np.float32)
        if kind == "siglip":
            siglip = transformers.SiglipModel.from_pretrained(folder).eval()
            return _unit(siglip.get_text_features(input_ids=tokens.input_ids).pooler_output), _unit(
                siglip.get_image_features(pixel_values=pixels).pooler_output
            )
        clip = transformers.CLIPModel.from_pretrained(folder).eval()
        return _unit(clip.get_text_features(**tokens).pooler_output), _unit(
            clip.get_image_features(pixel_values=pixels).pooler_output
        )


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_and_pictures_are_encoded_as_plain_transformers_does(folders: dict[str, Path], kind: str) -> None:
    texts, pictures = _plain(kind, folders[kind])
    encoder = transformers_encoder(str(folders[kind]), device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)
    # The library resizes with torchvision on tensors, the preparation with Pillow: they differ by single grey levels.
    np.testing.assert_allclose(encoder.encode_images(_pictures()), pictures, atol=2e-2)
    np.testing.assert_allclose(encoder.encode_images(_pictures()[:1]), pictures[:1], atol=1e-5)


def test_blip_scores_are_those_of_its_own_contrastive_head(folders: dict[str, Path]) -> None:
    scores, _ = _plain("blip", folders["blip"])
    encoder = transformers_encoder(str(folders["blip"]), device="cpu")
    ours = encoder.encode_images(_pictures()) @ encoder.encode_texts(TEXTS).T
    np.testing.assert_allclose(ours, scores, atol=2e-2)
    np.testing.assert_allclose(ours[:1], scores[:1], atol=1e-5)


def test_blip_reads_the_separator_in_a_text_as_its_token(folders: dict[str, Path]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["blip"])
    assert tokenizer("red [SEP] car").input_ids.count(tokenizer.sep_token_id) == 2


@pytest.mark.parametrize("kind", MAKERS)
def test_rows_are_unit_float32_and_provenance_is_known_without_loading(folders: dict[str, Path], kind: str) -> None:
    encoder = transformers_encoder(str(folders[kind]), device="cpu")
    assert encoder.provenance.encoder == f"transformers:{kind}"
    assert encoder.provenance.dimension == checkpoints.DIMENSION
    assert encoder.preparation.describe() == f"{'crop-floor' if kind == 'clip' else 'squash'} 32x32 bicubic"
    assert "_towers" not in encoder.__dict__
    rows = encoder.encode_texts(["one", "two"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_the_catalogue_makes_them_by_name(folders: dict[str, Path]) -> None:
    encoder = catalogue.encoder(f"transformers:{folders['clip']}", device="cpu")
    assert encoder.encode_texts(["x"]).shape == (1, checkpoints.DIMENSION)


@pytest.mark.parametrize("kind", MAKERS)
def test_pickled_weights_are_refused(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
        transformers_encoder(str(copy), device="cpu").encode_texts(["x"])


def test_code_that_comes_with_a_model_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    encoder = transformers_encoder(str(copy), device="cpu")
    assert encoder.encode_texts(["x"]).shape == (1, checkpoints.DIMENSION)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"model_type": "bert"}, "no encoder that is supported"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 40}}, "resizes to"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "three channels"),
        ("preprocessor_config.json", {"size": {}}, "resizes to|cannot be read"),
    ],
)
def test_what_cannot_be_supported_is_said(
    folders: dict[str, Path], tmp_path: Path, file: str, change: dict[str, object], said: str
) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    (copy / file).write_text(json.dumps({**json.loads((copy / file).read_text()), **change}))
    with pytest.raises(ModelFailed, match=said):
        _ = transformers_encoder(str(copy)).provenance


def test_a_folder_that_is_no_model_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"config\.json"):
        transformers_encoder(str(tmp_path))
    with pytest.raises(WeightsMissing, match="no model folder"):
        transformers_encoder(str(tmp_path / "absent"))


def test_loading_prints_nothing(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    transformers_encoder(str(folders["clip"]), device="cpu").encode_texts(["x"])
    assert capfd.readouterr() == ("", "")
