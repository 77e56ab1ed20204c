"""Imaginers with pictures: tiny SD, SDXL, SD 3 and LCM pipelines of diffusers, and pregenerated files."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dar_search.errors import ModelFailed, RequestError, SettingsError, UnsafeWeights, WeightsMissing
from dar_search.models import catalogue
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.imaginers import diffusers_folder
from dar_search.models.imaginers.picture_imaginer import PictureImaginer, picture_imaginer
from dar_search.models.imaginers.pregenerated_imaginer import pregenerated_imaginer
from dar_search.ports import Encoder
from tests import checkpoints, generative_checkpoints

pytestmark = [
    # diffusers 0.42: when it is imported, and its schedulers when they are made.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning:torch.jit._script"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:diffusers.schedulers"
    ),
]
KINDS = ("sd", "sdxl", "sd3", "lcm")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny layers are not worth sharing: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return open_clip_encoder(
        str(checkpoints.open_clip_folder(tmp_path_factory.mktemp("encoder") / "tiny")), device="cpu"
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pictures")
    made = {
        kind: generative_checkpoints.picture_model_folder(root / kind, kind)  # type: ignore[arg-type]
        for kind in KINDS
    }
    made["checked"] = generative_checkpoints.picture_model_folder(root / "checked", "sd", checker=True)
    return made


def _imaginer(folder: Path, encoder: Encoder, **options: Any) -> PictureImaginer:
    return picture_imaginer(str(folder), encoder, device="cpu", options={"steps": 2, **options})


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_that_of_the_plain_pipeline_encoded(folders: dict[str, Path], encoder: Encoder, kind: str) -> None:
    from diffusers import AutoPipelineForText2Image

    absent = {"text_encoder_3": None, "tokenizer_3": None} if kind == "sd3" else {}
    with quiet_libraries():
        pipeline = AutoPipelineForText2Image.from_pretrained(folders[kind], **absent)
    pipeline.set_progress_bar_config(disable=True)
    negative = {} if kind == "lcm" else {"negative_prompt": "blue"}
    with quiet_libraries():
        plain = pipeline(
            "a red car",
            num_inference_steps=2,
            guidance_scale=3.0,
            generator=[torch.Generator().manual_seed(5)],
            **negative,
        ).images
    ours = _imaginer(folders[kind], encoder, guidance=3.0, **negative).imagine("a red car", count=1, seed=5)
    np.testing.assert_allclose(ours[0].embedding, encoder.encode_images(plain)[0], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_depends_on_its_seed_and_not_on_how_many_are_drawn(
    folders: dict[str, Path], encoder: Encoder, kind: str
) -> None:
    imaginer = _imaginer(folders[kind], encoder, batch=2)
    many = imaginer.imagine("a red car", count=3, seed=5)
    alone = imaginer.imagine("a red car", count=1, seed=6)[0]
    assert [one.seed for one in many] == [5, 6, 7]
    assert many[1].id == alone.id == imaginer.key("a red car", 6)
    # Batches change the last bits of the latents, and rounding to grey levels makes more of them.
    assert many[1].embedding @ alone.embedding > 0.999
    assert np.abs(many[0].embedding - many[1].embedding).max() > 1e-3
    assert np.linalg.norm(alone.embedding) == pytest.approx(1, abs=1e-6)
    assert alone.picture is not None
    assert Image.open(io.BytesIO(alone.picture)).format == "WEBP"


def test_size_steps_and_the_picture_kept_are_as_asked(folders: dict[str, Path], encoder: Encoder) -> None:
    wide = _imaginer(folders["sd"], encoder, width=64, height=32).imagine("x", count=1, seed=0)[0]
    assert wide.picture is not None
    assert Image.open(io.BytesIO(wide.picture)).size == (64, 32)
    assert _imaginer(folders["sd"], encoder, keep_picture=False).imagine("x", count=1, seed=0)[0].picture is None
    one, three = (_imaginer(folders["sd"], encoder).imagine("x", count=1, seed=0, steps=steps)[0] for steps in (1, 3))
    assert one.id != three.id
    assert np.abs(one.embedding - three.embedding).max() > 1e-3


@pytest.mark.parametrize(
    "change",
    [{"guidance": 2.0}, {"negative_prompt": "blue"}, {"width": 64}, {"keep_picture": False}, {"steps": 3}],
    ids=lambda change: next(iter(change)),
)
def test_the_id_differs_with_whatever_the_imagination_depends_on(
    folders: dict[str, Path], encoder: Encoder, change: dict[str, Any]
) -> None:
    before = _imaginer(folders["sd"], encoder).key("p", 0)
    assert _imaginer(folders["sd"], encoder, **change).key("p", 0) != before
    assert _imaginer(folders["sd"], encoder, batch=1).key("p", 0) == before


def test_the_id_differs_between_models_and_encoders(folders: dict[str, Path], encoder: Encoder, tmp_path: Path) -> None:
    other = open_clip_encoder(str(checkpoints.open_clip_folder(tmp_path / "tiny", seed=1)), device="cpu")
    keys = {_imaginer(folders[kind], encoder).key("p", 0) for kind in KINDS}
    assert len(keys | {_imaginer(folders["sd"], other).key("p", 0)}) == len(KINDS) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_several_prompts_drawn_together_are_what_each_would_be_alone(
    folders: dict[str, Path], encoder: Encoder, kind: str
) -> None:
    negative = {} if kind == "lcm" else {"negative_prompt": "blue"}
    imaginer = _imaginer(folders[kind], encoder, batch=4, **negative)
    requests = [("a red car", 2, 5), ("a green tree", 1, 9)]
    for (prompt, count, seed), together in zip(requests, imaginer.imagine_all(requests), strict=True):
        alone = imaginer.imagine(prompt, count=count, seed=seed)
        assert [one.id for one in together] == [one.id for one in alone]
        for one, other in zip(together, alone, strict=True):
            assert one.embedding @ other.embedding > 0.999


def test_a_negative_prompt_changes_the_picture_and_is_refused_where_the_model_takes_none(
    folders: dict[str, Path], encoder: Encoder
) -> None:
    plain, other = (
        _imaginer(folders["sd"], encoder, guidance=5.0, negative_prompt=text).imagine("x", count=1, seed=0)[0]
        for text in ("", "blue")
    )
    assert np.abs(plain.embedding - other.embedding).max() > 1e-4
    with pytest.raises(SettingsError, match="takes no negative prompt"):
        _imaginer(folders["lcm"], encoder, negative_prompt="blue").imagine("x", count=1, seed=0)


@pytest.mark.parametrize("kind", ["sd", "sd3"])
@pytest.mark.parametrize("how", ["channels_last", "compile", "bfloat16"])
def test_what_makes_it_faster_keeps_the_picture(
    folders: dict[str, Path], encoder: Encoder, kind: str, how: str
) -> None:
    plain = _imaginer(folders[kind], encoder).imagine("a red car", count=1, seed=5)[0]
    options: dict[str, Any] = {"steps": 2}
    if how == "compile":
        options |= {"compile": True, "compile_backend": "eager"}
    elif how == "channels_last":
        options |= {"channels_last": True}
    fast = picture_imaginer(
        str(folders[kind]), encoder, device="cpu", dtype="bfloat16" if how == "bfloat16" else "auto", options=options
    )
    (made,) = fast.imagine("a red car", count=1, seed=5)
    assert made.id == plain.id
    assert made.embedding @ plain.embedding > (0.95 if how == "bfloat16" else 0.999)


def test_a_compiler_that_torch_does_not_have_is_a_settings_error(folders: dict[str, Path], encoder: Encoder) -> None:
    with pytest.raises(SettingsError, match="no compiler backend"):
        _imaginer(folders["sd"], encoder, compile=True, compile_backend="gcc2").imagine("x", count=1, seed=0)


def test_warming_up_draws_once(folders: dict[str, Path], encoder: Encoder) -> None:
    imaginer = _imaginer(folders["sd"], encoder)
    imaginer.warm_up()
    assert "_pipeline" in vars(imaginer)


def test_a_safety_checker_is_used_unless_it_is_turned_off(
    folders: dict[str, Path], encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    seen: list[int] = []

    def stops_the_first(self: Any, clip_input: Any, images: Any) -> tuple[Any, list[bool]]:
        seen.append(len(images))
        return images, [number == 0 for number in range(len(images))]

    monkeypatch.setattr(StableDiffusionSafetyChecker, "forward", stops_the_first)
    kept = _imaginer(folders["checked"], encoder, batch=3).imagine("x", count=3, seed=0)
    assert seen == [3]
    assert [one.seed for one in kept] == [1, 2]
    with pytest.raises(ModelFailed, match="safety checker stopped every picture"):
        _imaginer(folders["checked"], encoder).imagine("x", count=1, seed=0)
    seen.clear()
    assert len(_imaginer(folders["checked"], encoder, safety_checker=False).imagine("x", count=3, seed=0)) == 3
    assert seen == []


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_parts_are_refused_at_once_and_never_opened(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path, part: str
) -> None:
    copy = shutil.copytree(folders["sd"], tmp_path / "copy")
    for file in (copy / part).glob("*.safetensors"):
        file.unlink()
        (copy / part / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(UnsafeWeights, match=part):
        _imaginer(copy, encoder)


def test_a_missing_part_or_index_is_named_at_once(folders: dict[str, Path], encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"model_index\.json"):
        _imaginer(tmp_path, encoder)
    copy = shutil.copytree(folders["sd"], tmp_path / "copy")
    shutil.rmtree(copy / "vae")
    with pytest.raises(WeightsMissing, match="vae"):
        _imaginer(copy, encoder)


def test_code_that_comes_with_a_model_is_not_run(folders: dict[str, Path], encoder: Encoder, tmp_path: Path) -> None:
    copy = shutil.copytree(folders["sd"], tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    index["scheduler"] = ["evil", "Evil"]
    (copy / "model_index.json").write_text(json.dumps(index))
    for place in (copy / "scheduler" / "evil.py", copy / "evil.py", copy / "pipeline.py"):
        place.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ModelFailed):
        _imaginer(copy, encoder).imagine("x", count=1, seed=0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "options", [{"width": 100}, {"height": 8192}, {"batch": 0}, {"guidance": -1}, {"colour": 1}, {"steps": "few"}]
)
def test_options_that_cannot_be_are_refused(
    folders: dict[str, Path], encoder: Encoder, options: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        catalogue.imaginer(f"diffusers:{folders['sd']}", encoder, options=options)


def test_a_count_of_nothing_is_refused(folders: dict[str, Path], encoder: Encoder) -> None:
    with pytest.raises(RequestError):
        _imaginer(folders["sd"], encoder).imagine("x", count=0, seed=0)


def test_a_long_prompt_is_cut_and_nothing_is_printed(
    folders: dict[str, Path], encoder: Encoder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(_imaginer(folders["sd"], encoder).imagine("word " * 2000, count=1, seed=0)) == 1
    assert capfd.readouterr() == ("", "")


def test_half_precision_files_are_used_where_there_are_no_others(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["sd"], tmp_path / "copy")
    for file in copy.glob("*/*.safetensors"):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    assert diffusers_folder.variant(copy, half=False) == "fp16"
    assert diffusers_folder.variant(folders["sd"], half=True) is None
    whole = _imaginer(folders["sd"], encoder).imagine("x", count=1, seed=0)[0]
    np.testing.assert_array_equal(_imaginer(copy, encoder).imagine("x", count=1, seed=0)[0].embedding, whole.embedding)


def test_what_is_fetched_is_half_precision_where_there_is_and_never_pickled() -> None:
    files = [
        "model_index.json", "README.md", "sd_turbo.safetensors", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "safety_checker/config.json",
        "safety_checker/pytorch_model.bin", "onnx/unet/model.onnx",
    ]  # fmt: skip
    assert diffusers_folder.needed(files, without=("safety_checker",)) == [
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    with pytest.raises(UnsafeWeights, match="safety_checker"):
        diffusers_folder.needed(files)


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("0_0.jpg", "0_1.jpg", "17_10.png"):
        Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / name)
    rows = [{"prompt": "A red  car", "file": "0_0.jpg"}, {"prompt": "a red car", "file": "0_1.jpg"}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return tmp_path


def test_a_pregenerated_picture_is_found_by_dialogue_and_round(generated: Path, encoder: Encoder) -> None:
    pictures = pregenerated_imaginer(str(generated), encoder)
    for dialogue, round_, name in ((0, 1, "0_1.jpg"), ("17", 10, "17_10.png")):
        (made,) = pictures.at(dialogue, round_).imagine("whatever", count=4, seed=3)
        expected = encoder.encode_images([Image.open(generated / name)])[0]
        np.testing.assert_allclose(made.embedding, expected, atol=1e-5)
        assert (made.prompt, made.seed) == ("whatever", 3)
        assert made.picture is not None
    with pytest.raises(ModelFailed, match=r"no picture 0_7\.jpg"):
        pictures.at(0, 7)
    with pytest.raises(ModelFailed):
        pictures.at("../0", 1)


def test_a_pregenerated_picture_is_found_by_its_prompt(generated: Path, encoder: Encoder) -> None:
    imaginer = catalogue.imaginer(f"pregenerated:{generated}", encoder)
    assert imaginer is not None
    made = imaginer.imagine("a RED car", count=5, seed=0)
    assert len({one.id for one in made}) == 2
    assert len(imaginer.imagine("a red car", count=1, seed=0)) == 1
    with pytest.raises(ModelFailed, match="no picture of this prompt"):
        imaginer.imagine("a blue car", count=1, seed=0)


@pytest.mark.parametrize(
    "row", ['{"prompt": "a", "file": "../../x.jpg"}', '{"prompt": "a"}', "[", '"a"', '{"prompt": 1, "file": "a"}']
)
def test_a_bad_line_of_the_list_is_named(generated: Path, encoder: Encoder, row: str) -> None:
    (generated / "prompts.jsonl").write_text(row, encoding="utf-8")
    with pytest.raises(WeightsMissing, match=r"prompts\.jsonl:1"):
        pregenerated_imaginer(str(generated), encoder).imagine("a", count=1, seed=0)


def test_a_broken_picture_is_a_model_error_and_a_missing_folder_too(generated: Path, encoder: Encoder) -> None:
    (generated / "0_0.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    with pytest.raises(ModelFailed, match=r"0_0\.jpg cannot be read"):
        pregenerated_imaginer(str(generated), encoder).at(0, 0).imagine("x", count=1, seed=0)
    with pytest.raises(WeightsMissing):
        pregenerated_imaginer(str(generated / "absent"), encoder)
