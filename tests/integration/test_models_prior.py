"""The prior imaginer over tiny checkpoints of the real classes, against diffusers' own pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers

from dar_search.errors import DimensionMismatch, ModelFailed, RequestError, SettingsError, UnsafeWeights, WeightsMissing
from dar_search.models import catalogue
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.imaginers.prior_imaginer import PriorImaginer, prior_imaginer
from dar_search.ports import Encoder
from tests import checkpoints


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
    root = tmp_path_factory.mktemp("priors")
    return {kind: checkpoints.prior_folder(root / kind, kind=kind) for kind in ("kandinsky", "unclip", "ddim")}


def _imaginer(folder: Path, encoder: Encoder, **options: Any) -> PriorImaginer:
    return prior_imaginer(str(folder), encoder, device="cpu", options=options)


@pytest.mark.parametrize("kind", ["kandinsky", "ddim"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_samples_are_those_of_diffusers_own_pipeline(
    folders: dict[str, Path], encoder: Encoder, kind: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders[kind]
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=16,
    )  # fmt: skip
    scheduler_class = diffusers.UnCLIPScheduler if kind == "kandinsky" else diffusers.DDIMScheduler
    pipeline = diffusers.KandinskyPriorPipeline(
        prior=diffusers.PriorTransformer.from_pretrained(folder / "prior"),
        image_encoder=transformers.CLIPVisionModelWithProjection(vision),
        text_encoder=transformers.CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder"),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=scheduler_class.from_pretrained(folder / "scheduler"),
        image_processor=transformers.CLIPImageProcessor(),
    )
    pipeline.set_progress_bar_config(disable=True)
    if kind == "ddim":
        # The pipeline passes UnCLIPScheduler's own argument to any scheduler.
        step = pipeline.scheduler.step
        monkeypatch.setattr(pipeline.scheduler, "step", lambda *args, prev_timestep=None, **named: step(*args, **named))
    expected = pipeline(
        "a red car",
        num_images_per_prompt=3,
        num_inference_steps=5,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 8, 9)],
    ).image_embeds
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()
    ours = _imaginer(folder, encoder, guidance=guidance).imagine("a red car", count=3, seed=7, steps=5)
    np.testing.assert_allclose(np.stack([one.embedding for one in ours]), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["kandinsky", "unclip", "ddim"])
@pytest.mark.parametrize("mode", ["sample", "mean"])
def test_an_imagination_depends_on_its_seed_and_not_on_how_many_are_asked_for(
    folders: dict[str, Path], encoder: Encoder, kind: str, mode: str
) -> None:
    imaginer = _imaginer(folders[kind], encoder, mode=mode, eta=1.0)
    many = imaginer.imagine("a red car", count=5, seed=10, steps=4)
    again = imaginer.imagine("a red car", count=5, seed=10, steps=4)
    alone = imaginer.imagine("a red car", count=1, seed=12, steps=4)[0]
    assert [one.seed for one in many] == [10, 11, 12, 13, 14]
    np.testing.assert_array_equal([one.embedding for one in many], [one.embedding for one in again])
    np.testing.assert_allclose(many[2].embedding, alone.embedding, atol=1e-5)
    assert many[2].id == alone.id == imaginer.key("a red car", 12, 4)
    assert len({one.id for one in many}) == 5
    for one in many:
        assert one.embedding.shape == (checkpoints.DIMENSION,)
        assert one.embedding.dtype == np.float32
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-6)
        assert one.picture is None
        assert one.prompt == "a red car"


@pytest.mark.parametrize("kind", ["kandinsky", "unclip", "ddim"])
@pytest.mark.parametrize("mode", ["sample", "mean"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_several_prompts_sampled_together_are_what_each_would_be_alone(
    folders: dict[str, Path], encoder: Encoder, kind: str, mode: str, guidance: float
) -> None:
    imaginer = _imaginer(folders[kind], encoder, mode=mode, guidance=guidance)
    requests = [("a red car", 2, 5), ("a green tree", 3, 9), ("a red car", 1, 5)]
    for (prompt, count, seed), together in zip(requests, imaginer.imagine_all(requests, steps=3), strict=True):
        alone = imaginer.imagine(prompt, count=count, seed=seed, steps=3)
        assert [(one.id, one.prompt, one.seed) for one in together] == [(one.id, one.prompt, one.seed) for one in alone]
        np.testing.assert_allclose([one.embedding for one in together], [one.embedding for one in alone], atol=1e-5)


@pytest.mark.parametrize("kind", ["kandinsky", "unclip", "ddim"])
def test_what_makes_it_faster_keeps_the_embedding(folders: dict[str, Path], encoder: Encoder, kind: str) -> None:
    (plain,) = _imaginer(folders[kind], encoder).imagine("a red car", count=1, seed=3, steps=3)
    compiled = _imaginer(folders[kind], encoder, compile=True, compile_backend="eager")
    half = prior_imaginer(str(folders[kind]), encoder, device="cpu", dtype="bfloat16")
    for imaginer, near in ((compiled, 0.9999), (half, 0.98)):
        (made,) = imaginer.imagine("a red car", count=1, seed=3, steps=3)
        assert made.id == plain.id
        assert made.embedding @ plain.embedding > near


def test_more_imaginations_than_one_batch_holds_come_out_the_same(
    folders: dict[str, Path], encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    imaginer = _imaginer(folders["ddim"], encoder)
    whole = imaginer.imagine("a cat", count=7, seed=0, steps=3)
    monkeypatch.setattr("dar_search.models.imaginers.prior_imaginer._ROWS", 3)
    parts = imaginer.imagine("a cat", count=7, seed=0, steps=3)
    np.testing.assert_allclose([one.embedding for one in whole], [one.embedding for one in parts], atol=1e-5)


@pytest.mark.parametrize(("kind", "predicts"), [("ddim", "sample"), ("ddim", "v_prediction"), ("kandinsky", "sample")])
def test_the_mean_is_the_priors_prediction_from_pure_noise(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path, kind: str, predicts: str
) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "copy")
    path = folder / "scheduler" / "scheduler_config.json"
    config = {**json.loads(path.read_text()), "prediction_type": predicts, "clip_sample": kind == "kandinsky"}
    config["clip_sample_range"] = 0.01
    path.write_text(json.dumps(config))
    prior = diffusers.PriorTransformer.from_pretrained(folder / "prior")
    text_encoder = transformers.CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    tokens = tokenizer(["a cat"], padding="max_length", return_tensors="pt")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        text = text_encoder(tokens.input_ids)
        noise = torch.stack([torch.randn(checkpoints.DIMENSION, generator=generator) for _ in range(4)])
        predicted = prior(
            noise,
            999,
            text.text_embeds.expand(4, -1),
            text.last_hidden_state.expand(4, -1, -1),
            tokens.attention_mask.bool().expand(4, -1),
        ).predicted_image_embedding
        if predicts == "v_prediction":
            # At the last timestep of the cosine schedule nothing of the picture is left: x0 is minus the velocity.
            predicted = -predicted
        if kind == "kandinsky":
            predicted = predicted.clamp(-0.01, 0.01)
        expected = torch.nn.functional.normalize(prior.post_process_latents(predicted.mean(0, keepdim=True)), dim=-1)
    ours = _imaginer(folder, encoder, mode="mean", guidance=1.0).imagine("a cat", count=1, seed=3)[0]
    np.testing.assert_allclose(ours.embedding, expected[0].numpy(), atol=1e-4)


def test_a_prior_that_predicts_noise_has_no_mean(folders: dict[str, Path], encoder: Encoder, tmp_path: Path) -> None:
    folder = shutil.copytree(folders["ddim"], tmp_path / "copy")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "epsilon"}))
    with pytest.raises(ModelFailed, match="no one-step mean"):
        _imaginer(folder, encoder, mode="mean").imagine("a cat", count=1, seed=3)


@pytest.mark.parametrize(
    "change",
    [{"prompt": "a blue car"}, {"seed": 2}, {"steps": 6}, {"guidance": 2.0}, {"eta": 0.5}, {"mode": "mean"}],
    ids=lambda change: next(iter(change)),
)
def test_the_id_differs_with_whatever_the_imagination_depends_on(
    folders: dict[str, Path], encoder: Encoder, change: dict[str, Any]
) -> None:
    options = {name: value for name, value in change.items() if name in ("guidance", "eta", "mode")}
    before = _imaginer(folders["ddim"], encoder).key("a red car", 1, 5)
    imaginer = _imaginer(folders["ddim"], encoder, **options)
    assert imaginer.key(change.get("prompt", "a red car"), change.get("seed", 1), change.get("steps", 5)) != before


def test_the_id_is_that_of_the_weights_and_not_of_their_place(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["ddim"], tmp_path / "elsewhere")
    other = checkpoints.prior_folder(tmp_path / "other", kind="ddim", seed=1)
    key = _imaginer(folders["ddim"], encoder).key("p", 0)
    assert _imaginer(copy, encoder).key("p", 0) == key
    assert _imaginer(other, encoder).key("p", 0) != key


def test_what_the_model_recommends_holds_unless_the_user_says_otherwise(encoder: Encoder, tmp_path: Path) -> None:
    recommended = {"steps": 4, "guidance": 1.5, "mode": "sample"}
    folder = checkpoints.prior_folder(tmp_path / "prior", kind="ddim", recommended=recommended)
    options = _imaginer(folder, encoder, guidance=2.0).options
    assert (options.steps, options.guidance, options.mode) == (4, 2.0, "sample")


def test_a_long_prompt_is_cut_to_the_context(folders: dict[str, Path], encoder: Encoder) -> None:
    imaginer = _imaginer(folders["ddim"], encoder)
    assert imaginer.imagine("word " * 2000, count=1, seed=0, steps=2)[0].embedding.shape == (checkpoints.DIMENSION,)


def test_a_prior_of_another_space_is_refused_when_it_is_chosen(encoder: Encoder, tmp_path: Path) -> None:
    folder = checkpoints.prior_folder(tmp_path / "prior", kind="ddim", dimension=16)
    with pytest.raises(DimensionMismatch, match="of dimension 16, the encoder open_clip:tiny of 32"):
        catalogue.imaginer(f"prior:{folder}", encoder)


@pytest.mark.parametrize("part", ["prior", "text_encoder"])
def test_pickled_parts_are_refused(folders: dict[str, Path], encoder: Encoder, tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(folders["ddim"], tmp_path / "copy")
    for weights in (copy / part).glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UnsafeWeights):
        _imaginer(copy, encoder).imagine("x", count=1, seed=0)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("scheduler", ["my_code", "Scheduler"]),
        ("scheduler", ["diffusers", "PriorTransformer"]),
        ("tokenizer", ["transformers", "AutoModel"]),
        ("tokenizer", None),
    ],
)
def test_a_folder_that_names_code_of_its_own_is_refused(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path, part: str, named: list[str] | None
) -> None:
    copy = shutil.copytree(folders["ddim"], tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    index[part] = named
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFailed, match=r"model_index\.json"):
        _imaginer(copy, encoder).imagine("x", count=1, seed=0, steps=2)


def test_a_folder_without_an_index_or_a_part_is_named(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(WeightsMissing, match=r"model_index\.json"):
        prior_imaginer(str(tmp_path), encoder)
    copy = shutil.copytree(folders["ddim"], tmp_path / "copy")
    shutil.rmtree(copy / "text_encoder")
    with pytest.raises(WeightsMissing, match="text_encoder"):
        _imaginer(copy, encoder).imagine("x", count=1, seed=0)


def test_counts_steps_and_options_that_cannot_be_are_refused(folders: dict[str, Path], encoder: Encoder) -> None:
    with pytest.raises(RequestError):
        _imaginer(folders["ddim"], encoder).imagine("x", count=0, seed=0)
    with pytest.raises(RequestError, match="at least 2 steps"):
        _imaginer(folders["kandinsky"], encoder).imagine("x", count=1, seed=0, steps=1)
    with pytest.raises(SettingsError, match="no option 'colour'"):
        _imaginer(folders["ddim"], encoder, colour="red")
    with pytest.raises(SettingsError):
        _imaginer(folders["ddim"], encoder, guidance=0.5)


def test_loading_and_imagining_print_nothing(
    folders: dict[str, Path], encoder: Encoder, capfd: pytest.CaptureFixture[str]
) -> None:
    _imaginer(folders["ddim"], encoder).imagine("x", count=1, seed=0, steps=2)
    assert capfd.readouterr() == ("", "")
