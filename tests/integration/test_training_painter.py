"""The picture imaginer's training, a few steps of it: what it exports loads as any text-to-image pipeline."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dar_search.demo.splits import scene
from dar_search.demo.world import PLACES, TYPES, truth
from dar_search.models.quiet import quiet_libraries

painter = pytest.importorskip("training.painter", exc_type=ImportError)
from training import painter_decoder, painter_latents, painter_text, tokenizer  # noqa: E402
from training.pictures import render_all  # noqa: E402

PICTURES = 24


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painter")
    with pytest.MonkeyPatch.context() as patch:
        for module in (painter, painter_decoder, painter_text):
            patch.setattr(module, "BATCH", 4)
        patch.setattr(tokenizer.build, "__defaults__", (60,))
        painter_text.train(folder, 2)
        painter_decoder.train(folder, 2, PICTURES)
        painter.train(folder, 1, PICTURES, export_every=100)
        painter.train(folder, 2, PICTURES, export_every=100)
    return folder


def test_the_exported_folder_loads_as_a_text_to_image_pipeline_and_paints(work):
    import diffusers

    with quiet_libraries():
        pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
            work / "painter", dtype=torch.float32, use_safetensors=True
        )
    pipeline.set_progress_bar_config(disable=True)

    def paint(prompt, seed):
        generator = torch.Generator().manual_seed(seed)
        return pipeline(prompt, num_inference_steps=2, guidance_scale=1.5, generator=generator).images[0]

    picture = paint("a red kite at night", 1)
    assert picture.size == (64, 64)
    assert np.array_equal(np.asarray(picture), np.asarray(paint("a red kite at night", 1)))
    assert not np.array_equal(np.asarray(picture), np.asarray(paint("a red kite at night", 2)))
    assert not [file for file in (work / "painter").rglob("*") if file.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_latents_keep_most_of_a_picture(work):
    pixels = render_all(work, "train", PICTURES)
    space = painter_latents.components(work, PICTURES)
    again = space.decode(space.encode(np.array(pixels)))
    error = (again - painter_latents.scaled(pixels)).square().mean()
    spread = painter_latents.scaled(pixels).var()
    assert error < 0.1 * spread
    assert space.encode(np.array(pixels)).var() == pytest.approx(1.0, abs=0.5)


def test_slot_labels_say_what_stands_where():
    shown = scene(4, "train")
    rows = painter_text.slot_labels(truth(shown))
    places = rows[:-2].reshape(len(PLACES), 4)
    for thing in shown.things:
        assert places[PLACES.index(thing.place), 0] == TYPES.index(thing.type)
    assert (places[:, 0] == len(TYPES)).sum() == len(PLACES) - len(shown.things)
    assert (painter_text.slot_labels({})[-2:] == [8, 5]).all()


def test_captions_to_paint_from_tell_only_what_is_true():
    shown, rng = scene(5, "train"), random.Random(1)
    for _ in range(50):
        text, known = painter_text.painted_caption(shown, rng)
        assert text
        assert known.items() <= truth(shown).items()
