"""Encoders by sentence-transformers over tiny models of the real classes, against the library's own documented use."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image

from dar_search.errors import ModelFailed, UnsafeWeights, WeightsMissing
from dar_search.models import catalogue
from dar_search.models.encoders.sentence_encoder import sentence_encoder
from tests import checkpoints, sentence_checkpoints

MAKERS: dict[str, Callable[[Path], Path]] = {
    "clip": sentence_checkpoints.clip_folder,
    "qwen": sentence_checkpoints.qwen_folder,
}
DIMENSIONS = {"clip": 24, "qwen": 32}
TEXTS = ["a red car", "x", "Two dogs, near a small table. " * 20, "ein Hund läuft über die Straße", ""]
# Square, wide, tall, near a line, a dot, larger and smaller than what the models take.
SIZES = [(64, 64), (300, 40), (33, 401), (90, 1), (1, 1), (640, 480), (17, 19)]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sentence_transformers")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sentences")
    return {kind: make(root / kind) for kind, make in MAKERS.items()}


def _pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in SIZES]


@pytest.mark.parametrize("kind", MAKERS)
def test_texts_and_pictures_are_encoded_as_the_library_does(folders: dict[str, Path], kind: str) -> None:
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(folders[kind]), device="cpu")
    # Pictures resized by Pillow, as here; the library's other way, by torchvision, differs by single grey levels.
    resizing = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    assert type(resizing).__name__.endswith("Pil")
    plain[0].processor.image_processor = resizing
    encoder = sentence_encoder(str(folders[kind]), device="cpu", dtype="float32")
    texts = plain.encode_query(TEXTS, normalize_embeddings=True)
    pictures = plain.encode_document(_pictures(), normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-4)
    np.testing.assert_allclose(encoder.encode_images(_pictures()), pictures, atol=1e-4)
    # The prompt matters, so the above shows that it was given.
    assert np.abs(plain.encode(TEXTS, prompt="", normalize_embeddings=True) - texts).max() > 1e-3
    assert encoder.provenance.dimension == DIMENSIONS[kind] == texts.shape[1]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_card_is_read_without_loading_and_differs_with_what_shapes_a_vector(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    before = sentence_encoder(str(folders[kind]), device="cpu")
    assert before.provenance.dimension == DIMENSIONS[kind]
    assert "_towers" not in before.__dict__
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    file = copy / "config_sentence_transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "__version__": {}}))
    assert sentence_encoder(str(copy)).provenance.revision == before.provenance.revision
    file.write_text(json.dumps({**json.loads(file.read_text()), "prompts": {"query": "other: "}}))
    assert sentence_encoder(str(copy)).provenance.revision != before.provenance.revision


def test_a_text_that_is_an_address_or_a_path_is_a_text(folders: dict[str, Path], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    _pictures()[0].save(picture)
    encoder = sentence_encoder(str(folders["clip"]), device="cpu")
    # An address of nobody: fetching it would fail.
    address, path, plain = encoder.encode_texts(["http://127.0.0.1:9/picture.png", str(picture), "a red car"])
    shown = encoder.encode_images([_pictures()[0]])[0]
    assert np.abs(path - shown).max() > 1e-3
    assert np.abs(address - plain).max() > 1e-3


@pytest.mark.parametrize("kind", MAKERS)
def test_zeros_such_as_services_try_an_encoder_with_are_encoded(folders: dict[str, Path], kind: str) -> None:
    encoder = catalogue.encoder(f"sentence-transformers:{folders[kind]}", device="cpu")
    shape = encoder.preparation
    rows = encoder.encode_prepared(np.zeros((2, shape.height, shape.width, 3), np.uint8))
    assert rows.shape == (2, DIMENSIONS[kind])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_code_that_comes_with_a_model_is_refused_at_once(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    rows = json.loads((copy / "modules.json").read_text())
    rows[0]["type"] = "custom_st.Transformer"
    (copy / "modules.json").write_text(json.dumps(rows))
    (copy / "custom_st.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Transformer: pass\n")
    with pytest.raises(ModelFailed, match="code of its own"):
        sentence_encoder(str(copy))
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_of_any_module_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for number, place in enumerate(("", "1_Dense")):
        copy = shutil.copytree(folders["clip"], tmp_path / f"copy{number}")
        (copy / place / "model.safetensors").unlink()
        (copy / place / "pytorch_model.bin").write_bytes(pickle.dumps({}))
        with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
            _ = sentence_encoder(str(copy)).provenance


def test_weights_that_are_not_there_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    checkpoints.rewritten(copy / "model.safetensors", lambda tensors: tensors.pop("visual_projection.weight"))
    with pytest.raises(WeightsMissing, match="visual_projection"):
        sentence_encoder(str(copy), device="cpu").encode_texts(["x"])


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"modules\.json"):
        sentence_encoder(str(checkpoints.clip_folder(tmp_path / "clip")))


def test_loading_prints_nothing(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    sentence_encoder(str(folders["qwen"]), device="cpu").encode_texts(["x"])
    assert capfd.readouterr() == ("", "")
