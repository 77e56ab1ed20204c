"""The picture imaginer's training, a few steps of it: what it exports loads as any text-to-image pipeline."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dar_search.demo.splits import scene
from dar_search.demo.world import PLACES, TYPES, VALUES, Fact, truth
from dar_search.models.encoders.quiet import quiet_libraries

painter = pytest.importorskip("training.painter", exc_type=ImportError)
from training import guided_attention, painter_decoder, painter_latents, painter_text, tokenizer  # noqa: E402
from training.pictures import render_all  # noqa: E402

PICTURES = 24


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painter")
    with pytest.MonkeyPatch.context() as patch:
        for module in (painter, painter_text):
            patch.setattr(module, "BATCH", 4)
        patch.setattr(tokenizer.build, "__defaults__", (60,))
        painter_text.train(folder, 2)
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


def test_the_decoder_inverts_the_latents_in_half_precision_too(work):
    """Also where neighbours are alike: there a decoder that cannot count has nothing to go by."""
    pixels = render_all(work, "train", PICTURES)
    space, vae = painter_latents.components(work, PICTURES), painter_decoder.of_work(work).half().float()
    latents = space.encode(np.array(pixels))
    latents = torch.cat([latents, latents[:4, :, 2:3, 2:3].expand(-1, -1, 8, 8)])
    with torch.no_grad():
        decoded = vae.decode(latents / vae.config.scaling_factor).sample
    error = (decoded - space.decode(latents)).abs()
    assert error.mean() < 0.03
    assert error[-4:].mean() < 0.05
    assert space.decode(latents)[-4:].std((2, 3)).mean() > 0.05


def test_slot_labels_say_what_stands_where():
    shown = scene(4, "train")
    rows = painter_text.slot_labels(truth(shown))
    places, elsewhere = np.split(rows[:-2].reshape(-1, 4), [len(PLACES)])
    for thing in shown.things:
        assert places[PLACES.index(thing.place), 0] == TYPES.index(thing.type)
    assert (places[:, 0] == len(TYPES)).sum() == len(PLACES) - len(shown.things)
    assert (elsewhere[:, 0] == len(TYPES)).all()
    assert (painter_text.slot_labels({})[-2:] == [8, 5]).all()


def test_things_told_without_a_place_have_slots_of_their_own():
    red = VALUES["colour"].index("red")
    rows = painter_text.slot_labels({Fact("type", "fish"): "fish", Fact("colour", "fish"): "red"})
    places, elsewhere = np.split(rows[:-2].reshape(-1, 4), [len(PLACES)])
    assert (places[:, 0] == len(TYPES)).all()
    assert elsewhere[0, :2].tolist() == [TYPES.index("fish"), red]
    assert (elsewhere[1:, 0] == len(TYPES)).all()


def test_captions_to_paint_from_tell_only_what_is_true_and_are_read_to_their_end(work):
    reader, rng = tokenizer.of_work(work, painter_text.LENGTH), random.Random(1)
    for number in range(200):
        shown = scene(number, "train")
        text, known = painter_text.painted_caption(reader, shown, rng)
        assert text
        assert known.items() <= truth(shown).items()
        assert {fact.thing for fact in known if fact.thing} == {thing.type for thing in shown.things}
    longest = max(range(200), key=lambda number: len(scene(number, "train").things))
    texts = [painter_text.painted_caption(reader, scene(longest, "train"), rng)[0] for _ in range(100)]
    read = painter_text.tokens_of(reader, texts)
    assert (read[:, -painter_text.SLOTS :] == reader.pad_token_id).all()


def test_each_part_of_the_latent_picture_has_the_slot_of_its_place():
    fine, coarse = guided_attention.slots_of_positions(64), guided_attention.slots_of_positions(16)
    assert (fine.sum(1) == 1).all()
    assert fine.sum(0).tolist() == [12, 8, 12, 12, 8, 12]
    assert fine[0, 0] == fine[63, 5] == fine[3, 1] == 1
    assert coarse.sum(1).view(4, 4)[0].tolist() == [1, 2, 2, 1]


def test_guided_attention_gives_what_the_ordinary_one_gives_and_says_what_it_missed():
    from diffusers.models.attention_processor import AttnProcessor

    torch.manual_seed(0)
    model, guided = painter.unet(), painter.unet()
    guided.load_state_dict(model.state_dict())
    guided_attention.guide(guided)
    assert guided.state_dict().keys() == model.state_dict().keys()
    for one in (model, guided):
        for name, processor in one.attn_processors.items():
            assert isinstance(processor, AttnProcessor) == (one is model or "attn1" in name)
    noisy, times = torch.randn(3, painter_latents.CHANNELS, 8, 8), torch.tensor([1, 500, 999])
    told = torch.randn(3, painter_text.LENGTH, painter_text.WIDTH)
    with torch.no_grad():
        plain, same = (one(noisy, times, encoder_hidden_states=told).sample for one in (model, guided))
    torch.testing.assert_close(plain, same, atol=1e-4, rtol=1e-4)
    unled = guided_attention.missed(guided)
    optimizer = torch.optim.Adam(guided.parameters(), 3e-3)
    for _ in range(20):
        guided(noisy, times, encoder_hidden_states=told)
        optimizer.zero_grad()
        guided_attention.missed(guided).backward()
        optimizer.step()
    assert guided_attention.missed(guided) < 0.7 * unled
