"""open_clip encoders over a tiny checkpoint of the real classes."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from dar_search.data import FloatArray
from dar_search.errors import InputError, ModelFailed, SettingsError, UnknownModel, UnsafeWeights, WeightsMissing
from dar_search.models import catalogue
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.encoders.towers import TowersEncoder, TowersOptions
from tests import checkpoints


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.open_clip_folder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TowersEncoder:
    return open_clip_encoder(str(folder), device="cpu")


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def _unit(rows: torch.Tensor) -> FloatArray:
    return torch.nn.functional.normalize(rows.float(), dim=-1).numpy()


def test_texts_and_pictures_are_encoded_as_plain_open_clip_does(folder: Path, encoder: TowersEncoder) -> None:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = ["a red car", "", "Two DOGS &amp; a  cat on a sofa, " * 30]
    pictures = [_picture(31, 77), _picture(200, 33), _picture(32, 32), _picture(1, 1)]
    with torch.no_grad():
        expected_texts = _unit(model.encode_text(tokenizer(texts)))
        expected_pictures = _unit(model.encode_image(torch.stack([transform(picture) for picture in pictures])))
    np.testing.assert_allclose(encoder.encode_texts(texts), expected_texts, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pictures), expected_pictures, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    mode=st.sampled_from(["shortest", "longest", "squash"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    size=st.sampled_from([8, 31, 32]),
)
def test_the_preparation_is_bit_for_bit_open_clips_transform(
    width: int, height: int, mode: str, interpolation: str, size: int
) -> None:
    from dar_search.models.encoders.open_clip_encoder import _geometry

    # open_clip fails on a picture that "longest" would shrink to nothing; the preparation keeps a pixel of it.
    assume(mode != "longest" or min(width, height) * size >= max(width, height))
    given_cfg = {"resize_mode": mode, "interpolation": interpolation, "fill_color": 7}
    preparation, mean, std = _geometry({"vision_cfg": {"image_size": size}}, given_cfg)
    config = PreprocessCfg(size=size, mean=(0.0,) * 3, std=(1.0,) * 3, **given_cfg)
    picture = _picture(width, height, seed=width * 1000 + height)
    expected = image_transform_v2(config, is_train=False)(picture)
    np.testing.assert_array_equal(preparation.prepare(picture), (expected * 255).round().permute(1, 2, 0).numpy())
    assert mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    assert std == pytest.approx(open_clip.OPENAI_DATASET_STD)


def test_encode_images_equals_encode_prepared_of_what_the_preparation_makes(encoder: TowersEncoder) -> None:
    pictures = [_picture(40 + number, 90 - number, number) for number in range(5)]
    prepared = np.stack([encoder.preparation.prepare(picture) for picture in pictures])
    np.testing.assert_allclose(encoder.encode_images(pictures), encoder.encode_prepared(prepared), atol=1e-6)


def test_batches_change_nothing(folder: Path, encoder: TowersEncoder) -> None:
    texts = [f"text number {number}" for number in range(7)]
    small = open_clip_encoder(str(folder), device="cpu", options=TowersOptions(batch=2))
    np.testing.assert_allclose(small.encode_texts(texts), encoder.encode_texts(texts), atol=1e-6)


def test_rows_are_float32_of_unit_length_and_none_for_nothing(encoder: TowersEncoder) -> None:
    rows = encoder.encode_texts(["one", "two"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert encoder.encode_texts([]).shape == (0, checkpoints.DIMENSION)
    assert encoder.encode_images([]).shape == (0, checkpoints.DIMENSION)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_mode_are_encoded(encoder: TowersEncoder, mode: str) -> None:
    picture = Image.new(mode, (50, 40)) if mode == "I;16" else _picture(50, 40).convert(mode)
    assert encoder.encode_images([picture]).shape == (1, checkpoints.DIMENSION)


def test_a_text_of_a_million_letters_without_a_space_is_cut_before_it_costs_time(encoder: TowersEncoder) -> None:
    long = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), 1_000_000))
    np.testing.assert_array_equal(encoder.encode_texts([long]), encoder.encode_texts([long[:10_000]]))


def test_the_tokenizer_does_not_grow_with_what_it_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dar_search.models.encoders.open_clip_encoder._CACHED_WORDS", 100)
    encoder = open_clip_encoder(str(folder), device="cpu")
    before = encoder.encode_texts(["a red car <end_of_text>"])
    for number in range(50):
        encoder.encode_texts([" ".join(f"w{letter}{number}" for letter in "abcdefgh")])
    tokenizer = encoder._towers.tokenizer  # type: ignore[attr-defined]
    assert len(tokenizer.cache) <= 120
    np.testing.assert_array_equal(encoder.encode_texts(["a red car <end_of_text>"]), before)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_full_precision(folder: Path, encoder: TowersEncoder, dtype: str) -> None:
    half = open_clip_encoder(str(folder), device="cpu", dtype=dtype)
    pictures = [_picture(50, 40, 1), _picture(40, 60, 2)]
    assert np.all(np.sum(half.encode_images(pictures) * encoder.encode_images(pictures), axis=1) > 0.995)
    assert np.all(np.sum(half.encode_texts(["a", "b c"]) * encoder.encode_texts(["a", "b c"]), axis=1) > 0.995)
    assert half.encode_texts(["a"]).dtype == np.float32
    assert half.provenance == encoder.provenance


@pytest.mark.parametrize(
    "options", [TowersOptions(channels_last=True), TowersOptions(compile=True, compile_backend="eager")], ids=str
)
def test_what_makes_it_faster_changes_nothing(folder: Path, encoder: TowersEncoder, options: TowersOptions) -> None:
    fast = open_clip_encoder(str(folder), device="cpu", options=options)
    for number in (1, 3):
        pictures = [_picture(50, 40, seed) for seed in range(number)]
        np.testing.assert_allclose(fast.encode_images(pictures), encoder.encode_images(pictures), atol=1e-5)
    np.testing.assert_allclose(fast.encode_texts(["a", "b c"]), encoder.encode_texts(["a", "b c"]), atol=1e-5)


def test_options_come_by_name_and_may_say_where_the_model_runs(folder: Path, encoder: TowersEncoder) -> None:
    chosen = catalogue.encoder(f"open_clip:{folder}", options={"dtype": "bfloat16", "device": "cpu", "batch": "3"})
    assert chosen.provenance == encoder.provenance
    assert np.abs(chosen.encode_texts(["a"]) - encoder.encode_texts(["a"])).max() > 0
    for wrong in ({"batch": 0}, {"batsh": 3}, {"compile": "perhaps"}):
        with pytest.raises(SettingsError):
            catalogue.encoder(f"open_clip:{folder}", options=wrong)


def test_threads_get_what_one_caller_gets_and_the_weights_load_once(
    folder: Path, encoder: TowersEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    create = open_clip.create_model

    def counted(*args: Any, **named: Any) -> Any:
        loads.append(args[0])
        return create(*args, **named)

    monkeypatch.setattr(open_clip, "create_model", counted)
    shared = open_clip_encoder(str(folder), device="cpu")
    texts = [f"text {number}" for number in range(8)]
    results: dict[str, FloatArray] = {}

    def encode(text: str) -> None:
        results[text] = shared.encode_texts([text])[0]

    threads = [threading.Thread(target=encode, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.stack([results[text] for text in texts]), encoder.encode_texts(texts), atol=1e-6)
    assert len(loads) == 1


def test_provenance_names_the_model_without_this_machines_path_and_its_revision_is_stable(
    folder: Path, encoder: TowersEncoder, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "tiny")
    assert open_clip_encoder(str(copy)).provenance == encoder.provenance
    assert encoder.provenance.encoder == "open_clip:tiny"
    assert encoder.provenance.dimension == checkpoints.DIMENSION
    assert encoder.provenance.preparation == "crop 32x32 bicubic"
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5]}
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    assert open_clip_encoder(str(copy)).provenance.revision != encoder.provenance.revision


def test_a_picture_prepared_for_another_encoder_is_refused(encoder: TowersEncoder) -> None:
    for wrong in (
        np.zeros((1, 16, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((32, 32, 3), np.uint8),
    ):
        with pytest.raises(InputError, match="Prepared pictures"):
            encoder.encode_prepared(wrong)  # type: ignore[arg-type]


class Exploit:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (str(self.path),))


def _touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "model.pth", "x.pt"])
def test_pickled_weights_are_refused_and_never_opened(folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "open_clip_model.safetensors").unlink()
    (copy / name).write_bytes(pickle.dumps(Exploit(tmp_path / "ran")))
    with pytest.raises(UnsafeWeights):
        open_clip_encoder(str(copy), device="cpu").encode_texts(["x"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "safe", ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"]
)
def test_a_pickled_file_beside_the_safe_one_is_never_loaded(folder: Path, tmp_path: Path, safe: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "open_clip_model.safetensors").rename(copy / safe)
    (copy / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Exploit(tmp_path / "ran")))
    if safe == "model.safetensors":
        with pytest.raises(UnsafeWeights, match="would prefer"):
            open_clip_encoder(str(copy), device="cpu").encode_texts(["x"])
    else:
        assert open_clip_encoder(str(copy), device="cpu").encode_texts(["x"]).shape == (1, checkpoints.DIMENSION)
    assert not (tmp_path / "ran").exists()


def test_truncated_weights_are_one_error_and_not_a_library_traceback(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelFailed, match="Loading open_clip:copy failed"):
        open_clip_encoder(str(copy), device="cpu").encode_texts(["x"])


def test_weights_of_another_shape_than_the_configuration_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 16
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFailed, match="size mismatch"):
        open_clip_encoder(str(copy), device="cpu").encode_texts(["x"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open_clip:ViT-B-23/openai", "Did you mean"),
        ("open_clip:", "Known encoders"),
        ("demmo", "Did you mean demo?"),
        ("open_clip:nothing", "ARCHITECTURE/PRETRAINED"),
        ("torch:x", "Known encoders"),
    ],
)
def test_an_unknown_encoder_is_an_error_with_the_names_there_are(name: str, said: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        catalogue.encoder(name)
    assert said in str(caught.value)


def test_an_unknown_tag_names_the_tags_there_are() -> None:
    with pytest.raises(UnknownModel, match="Did you mean laion2b_e16"):
        _ = catalogue.encoder("open_clip:ViT-B-32/laion2b").provenance


def test_a_tag_that_is_published_as_a_pickle_only_is_refused() -> None:
    from dar_search.models.encoders.open_clip_encoder import _fetched

    with pytest.raises(UnsafeWeights, match="pickled file only"):
        _fetched({"url": "https://example.org/ViT-B-32.pt", "hf_hub": ""}, "open_clip:ViT-B-32/mine")


def test_a_folder_that_is_not_there_or_has_no_configuration_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"open_clip_config\.json"):
        catalogue.encoder(f"open_clip:{tmp_path}")
    with pytest.raises(UnknownModel, match="neither a folder"):
        catalogue.encoder(f"open_clip:{tmp_path / 'absent'}")


@pytest.mark.parametrize(("device", "dtype"), [("cuda:99", "auto"), ("nonsense", "auto"), ("cpu", "int3")])
def test_a_device_or_number_format_that_is_not_there_is_a_settings_error(folder: Path, device: str, dtype: str) -> None:
    with pytest.raises(SettingsError):
        open_clip_encoder(str(folder), device=device, dtype=dtype).encode_texts(["x"])


def test_loading_prints_nothing_and_leaves_the_root_logger_alone(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        open_clip_encoder(str(folder), device="cpu").encode_texts(["x"])
        assert root.handlers == []
    finally:
        root.handlers = kept
    assert capfd.readouterr() == ("", "")
