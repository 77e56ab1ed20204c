"""The bundled models load through the ordinary adapters, offline, and know the demo's world."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dar_search.demo.conversations import gallery_conversations
from dar_search.demo.language import reference_reformulation
from dar_search.demo.rendering import render
from dar_search.demo.splits import gallery
from dar_search.demo.world import truth
from dar_search.models import catalogue
from training import facts

PICTURES, DIALOGUES = 90, 12
LARGEST = 40_000_000  # bytes, all parts together


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Several threads of such small models wait for each other, on a busy machine for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder():
    return catalogue.encoder("demo", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def pictures(encoder):
    """The embeddings of a gallery with near-duplicates (validation: the test split is for measuring)."""
    shown = list(gallery(PICTURES, split="validation"))
    return shown, encoder.encode_images([render(one.scene, one.render_seed) for one in shown])


def found_first(queries, embeddings):
    return float(np.mean((queries @ embeddings.T).argmax(1) == np.arange(len(queries))))


def test_the_bundle_is_small_and_holds_safetensors_only():
    files = [file for file in catalogue.BUNDLE.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= LARGEST
    assert {file.suffix for file in files} == {".safetensors", ".json", ".jinja", ".md", ".png"}


def test_a_full_description_finds_its_picture_among_near_duplicates(encoder, pictures):
    shown, embeddings = pictures
    queries = encoder.encode_texts([reference_reformulation(truth(one.scene)) for one in shown])
    assert found_first(queries, embeddings) > 0.4


def test_what_is_imagined_from_a_full_description_finds_its_picture(encoder, pictures):
    shown, embeddings = pictures
    imaginer = catalogue.imaginer("demo", encoder, device="cpu", dtype="float32")
    prompts = [reference_reformulation(truth(one.scene)) for one in shown]
    imagined = np.stack([imaginer.imagine(prompt, count=1, seed=1)[0].embedding for prompt in prompts])
    assert found_first(imagined, embeddings) > 0.6


@pytest.fixture(scope="module")
def painter(encoder):
    return catalogue.imaginer("demo-pictures", encoder, device="cpu", dtype="float32")


def test_what_is_painted_from_a_full_description_finds_its_picture(encoder, pictures, painter):
    shown, embeddings = pictures
    some = range(0, len(shown), 3)
    prompts = [reference_reformulation(truth(shown[number].scene)) for number in some]
    painted = np.stack([painter.imagine(prompt, count=1, seed=1)[0].embedding for prompt in prompts])
    assert float(np.mean((painted @ embeddings.T).argmax(1) == list(some))) > 0.4


def test_the_painter_paints_small_pictures_each_its_own(encoder, painter):
    first, second = painter.imagine("a small red kite in the upper left at night", count=2, seed=3)
    sizes = [Image.open(io.BytesIO(one.picture)).size for one in (first, second)]
    assert sizes == [(64, 64), (64, 64)]
    assert first.picture != second.picture
    assert painter.name == "demo-pictures"


def test_options_go_before_the_painters_usual_ones(encoder):
    painter = catalogue.imaginer("demo-pictures", encoder, device="cpu", options={"guidance": 1.0})
    assert (painter.options.guidance, painter.options.steps) == (1.0, catalogue.BUNDLED_SAMPLING["steps"])


@pytest.mark.parametrize("number", [0, 5, 10])
def test_the_small_chat_model_writes_what_was_told_as_well_as_its_card_says(number):
    writer = catalogue.reformulator("demo", device="cpu", dtype="float32")
    pairs = []
    for _, talk in gallery_conversations(DIALOGUES, 6_000, split="validation"):
        written = writer.reformulate(talk.dialogue.at_round(number))
        assert not written.note, "the rules answered in its place"
        pairs.append((written.text, talk.known[number]))
    score = facts.score(pairs)
    assert min(score.precision, score.recall) > 0.9


def test_open_clip_itself_loads_the_encoder_as_a_local_folder(encoder):
    import open_clip

    name = f"local-dir:{catalogue.BUNDLE / 'encoder'}"
    model, _, prepared = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)(["a red kite at night"])
    theirs = model.eval().encode_text(tokens, normalize=True).detach().numpy()
    np.testing.assert_allclose(theirs, encoder.encode_texts(["a red kite at night"]), atol=1e-5)
    assert prepared is not None
