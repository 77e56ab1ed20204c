"""Text-to-image classes of diffusers beside the usual ones: by the class that a folder's model_index.json names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dar_search.errors import ModelFailed
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.imaginers.picture_imaginer import PictureImaginer, picture_imaginer
from dar_search.ports import Encoder
from tests import checkpoints, generative_checkpoints

pytestmark = [
    # diffusers 0.42: when it is imported, and its schedulers when they are made.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning:torch.jit._script"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:diffusers.schedulers"
    ),
]
# `AutoPipelineForText2Image` lacks the first; the others have parts that none of the older kinds has.
KINDS = {"sana-sprint": "SanaSprintPipeline", "z-image": "ZImagePipeline", "flux2-klein": "Flux2KleinPipeline"}
SIZE = {"width": 32, "height": 32}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return open_clip_encoder(
        str(checkpoints.open_clip_folder(tmp_path_factory.mktemp("encoder") / "tiny")), device="cpu"
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("newer")
    return {
        kind: generative_checkpoints.picture_model_folder(root / kind, kind)  # type: ignore[arg-type]
        for kind in KINDS
    }


def _imaginer(folder: Path, encoder: Encoder, **options: Any) -> PictureImaginer:
    return picture_imaginer(str(folder), encoder, device="cpu", options={**SIZE, "steps": 2, **options})


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_that_of_the_plain_class(folders: dict[str, Path], encoder: Encoder, kind: str) -> None:
    import diffusers

    with quiet_libraries():
        pipeline = getattr(diffusers, KINDS[kind]).from_pretrained(folders[kind])
        pipeline.set_progress_bar_config(disable=True)
        plain = pipeline(
            prompt="a red car",
            num_inference_steps=2,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(5),
            **SIZE,
        ).images
    ours = _imaginer(folders[kind], encoder, guidance=3.0).imagine("a red car", count=1, seed=5)
    np.testing.assert_allclose(ours[0].embedding, encoder.encode_images(plain)[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["z-image", "flux2-klein"])
def test_several_prompts_drawn_together_are_what_each_would_be_alone(
    folders: dict[str, Path], encoder: Encoder, kind: str
) -> None:
    imaginer = _imaginer(folders[kind], encoder)
    requests = [("a red car", 2, 5), ("a green tree", 1, 9)]
    for (prompt, count, seed), together in zip(requests, imaginer.imagine_all(requests), strict=True):
        for one, other in zip(together, imaginer.imagine(prompt, count=count, seed=seed), strict=True):
            assert one.embedding @ other.embedding > 0.999
    first, second, _ = (one for made in imaginer.imagine_all(requests) for one in made)
    assert np.abs(first.embedding - second.embedding).max() > 1e-3


def test_sana_sprint_draws_in_another_number_of_steps_than_its_own_two(
    folders: dict[str, Path], encoder: Encoder
) -> None:
    assert len(_imaginer(folders["sana-sprint"], encoder).imagine("x", count=1, seed=0, steps=1)) == 1


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("NoSuchPipeline", "does not have"),
        ("AutoencoderKL", "does not have"),
        ("StableDiffusionUpscalePipeline", "does not draw pictures from text alone"),
        ("WanPipeline", "does not draw pictures from text alone"),
        ("DDPMPipeline", "does not draw pictures from text alone"),
    ],
)
def test_a_class_that_does_not_draw_from_text_is_named(
    folders: dict[str, Path], encoder: Encoder, tmp_path: Path, named: str, said: str
) -> None:
    copy = shutil.copytree(folders["sana-sprint"], tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "_class_name": named}))
    (copy / "pipeline.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass NoSuchPipeline: pass\n")
    with pytest.raises(ModelFailed, match=f"{named}.*{said}"):
        _imaginer(copy, encoder).imagine("x", count=1, seed=0)
    assert not (tmp_path / "ran").exists()
