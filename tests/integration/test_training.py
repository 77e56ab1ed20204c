"""Training of the demo bundle, a few steps of it: it resumes exactly, and what it exports is what it trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dar_search.demo.splits import scene
from dar_search.demo.world import TYPES, Fact, truth

image_tower = pytest.importorskip("training.image_tower", exc_type=ImportError)
from training import attributes, checkpoints, control, device, imaginer_text, prior, text_tower, tokenizer  # noqa: E402
from training.cells import cell_labels  # noqa: E402
from training.pictures import render_all  # noqa: E402

PICTURES = 40


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_tower, "VALIDATION", 10)
        patch.setattr(image_tower, "BATCH", 8)
        patch.setattr(text_tower, "BATCH", 8)
        patch.setattr(imaginer_text, "BATCH", 8)
        patch.setattr(prior, "BATCH", 8)
        patch.setattr(control, "BATCH", 8)
        patch.setattr(tokenizer, "TEXTS", 60)
        patch.setattr(tokenizer.build, "__defaults__", (60,))
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder in which every stage ran for a few steps, the image tower and the text tower with a break."""
    folder = tmp_path_factory.mktemp("training")
    image_tower.train(folder, 4, PICTURES, save_every=2)
    text_tower.train(folder, 4, pictures=PICTURES)
    imaginer_text.train(folder, 2)
    prior.train(folder, 2)
    return folder


def tensors(path):
    return load_file(path)


def test_training_that_was_stopped_ends_as_training_that_was_not(tmp_path, work, monkeypatch):
    stopped = checkpoints.save

    def stop_at_two(path, modules, optimizer, step):
        stopped(path, modules, optimizer, step)
        if step == 2:
            raise KeyboardInterrupt

    for name in ("pictures-train.npy", "pictures-train.json", "pictures-validation.npy", "pictures-validation.json"):
        (tmp_path / name).write_bytes((work / name).read_bytes())
    monkeypatch.setattr(checkpoints, "save", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        image_tower.train(tmp_path, 4, PICTURES, save_every=2)
    monkeypatch.setattr(checkpoints, "save", stopped)
    image_tower.train(tmp_path, 4, PICTURES, save_every=2)
    whole, resumed = tensors(work / "image_tower.safetensors"), tensors(tmp_path / "image_tower.safetensors")
    assert whole.keys() == resumed.keys()
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=1e-4, atol=1e-5)


def test_pictures_are_rendered_once_and_another_number_is_refused(work):
    before = (work / "pictures-train.npy").stat().st_mtime_ns
    assert render_all(work, "train", PICTURES).shape == (PICTURES, 64, 64, 3)
    assert (work / "pictures-train.npy").stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="another number"):
        render_all(work, "train", PICTURES + 1)


def test_the_exported_encoder_loads_and_sees_what_training_saw(work):
    from dar_search.models.encoders.open_clip_encoder import open_clip_encoder

    encoder = open_clip_encoder(str(work / "encoder"), device="cpu", dtype="float32")
    assert encoder.provenance.dimension == text_tower.DIMENSION
    assert encoder.preparation.describe() == "crop 64x64 bicubic"
    found = encoder.encode_prepared(np.array(render_all(work, "train", PICTURES)))
    wanted = np.load(work / "embeddings-alt_text.npy")
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert (found * wanted).sum(1).min() > 0.99  # half precision, on a tower that has hardly learned
    texts = encoder.encode_texts(["a red kite in the upper left", "at night"])
    assert texts.shape == (2, text_tower.DIMENSION)
    assert float(texts[0] @ texts[1]) < 0.999


def test_the_control_reads_otherwise_and_sees_the_same(work):
    from dar_search.models.encoders.open_clip_encoder import open_clip_encoder

    control.train(work, 2)
    encoder, dense = (
        open_clip_encoder(str(work / name), device="cpu", dtype="float32") for name in ("encoder", "encoder-dense")
    )
    pixels = np.array(render_all(work, "train", PICTURES))[:4]
    np.testing.assert_array_equal(dense.encode_prepared(pixels), encoder.encode_prepared(pixels))
    told = ["a red kite at night"]
    assert not np.allclose(dense.encode_texts(told), encoder.encode_texts(told), atol=1e-4)


def test_the_exported_prior_loads_and_imagines(work):
    from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
    from dar_search.models.imaginers.prior_imaginer import prior_imaginer

    encoder = open_clip_encoder(str(work / "encoder"), device="cpu", dtype="float32")
    imaginer = prior_imaginer(str(work / "prior"), encoder, device="cpu", dtype="float32")
    assert imaginer.options.steps == prior.RECOMMENDED["steps"]
    one, two = imaginer.imagine("a red kite at night", count=2, seed=1)
    assert one.embedding.shape == (text_tower.DIMENSION,)
    assert not np.array_equal(one.embedding, two.embedding)


def test_texts_encoded_without_their_padding_are_as_open_clip_encodes_them():
    reader = tokenizer.build(text_tower.CONTEXT)
    model = text_tower.model_of(text_tower.configuration(len(reader))).eval()
    tokens = text_tower.tokens_of(reader, ["a kite", "a small red striped kite in the upper left at sea", ""])
    with torch.inference_mode():
        torch.testing.assert_close(text_tower.encoded_texts(model, tokens), model.encode_text(tokens))


def test_a_prior_computed_without_its_padding_predicts_as_diffusers_has_it():
    reader = tokenizer.build(imaginer_text.LENGTH)
    encoder, transformer = imaginer_text.text_encoder(reader).eval(), prior.transformer().eval()
    torch.nn.init.normal_(transformer.positional_embedding)
    torch.nn.init.normal_(transformer.prd_embedding)
    texts = ["a kite", "a small red striped kite in the upper left at sea"]
    noisy, times = torch.randn(2, imaginer_text.WIDTH), torch.tensor([999, 400])
    with torch.inference_mode():
        short = imaginer_text.read(reader, texts)
        told = encoder(input_ids=short[0])
        mine = prior.predicted(transformer, noisy, times, told.text_embeds, told.last_hidden_state, short[1])
        whole = reader(texts, padding="max_length", max_length=imaginer_text.LENGTH, return_tensors="pt")
        told = encoder(input_ids=whole.input_ids)
        theirs = transformer(
            noisy, times, told.text_embeds, told.last_hidden_state, whole.attention_mask.bool()
        ).predicted_image_embedding
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_folded_projection_gives_what_tower_and_projection_gave():
    visual = image_tower.tower().eval()
    pixels = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        seen = visual(pixels)
    projection = text_tower.Projection(torch.randn(50, image_tower.FEATURES))
    small = image_tower.tower(text_tower.DIMENSION).eval()
    small.load_state_dict(text_tower.folded(visual, projection))
    with torch.inference_mode():
        torch.testing.assert_close(small(pixels), projection(seen), rtol=1e-4, atol=1e-5)


def test_a_gpu_that_is_not_there_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU"):
        device.use("cuda")
    assert device.on_cpu()


def test_any_text_has_tokens_and_the_end_is_the_highest():
    reader = tokenizer.build(20)
    for text in ("a red kite", "世界 zoë <|pad|>", "\x00\x7f ~"):
        numbers = reader(text).input_ids
        assert numbers[0] == reader.bos_token_id
        assert numbers[-1] == reader.eos_token_id == max(numbers) == len(reader) - 1
        # "<|pad|>" written by a person is the padding token, as CLIP's own special tokens are
        assert (reader.pad_token_id in numbers) == ("<|pad|>" in text)
    assert reader(["a red kite"], padding="max_length", max_length=20).input_ids[0][-1] == reader.pad_token_id == 0


def test_labels_say_what_is_known_and_heads_read_them():
    shown = scene(4, "train")
    row = attributes.labels(truth(shown), untold=True)
    assert row.shape == (attributes.WIDTH,)
    partial = {Fact("type", shown.things[0].type): shown.things[0].type, Fact("sky"): shown.sky}
    little = attributes.split_labels(torch.from_numpy(attributes.labels(partial, untold=True)[None]))
    assert little["type"][0].sum() == 1
    at = TYPES.index(shown.things[0].type)
    assert little["colour"][0, at] == attributes.classes("colour", untold=True) - 1
    assert (little["colour"][0] == -1).sum() == len(TYPES) - 1
    heads = attributes.Heads(16, untold=True)
    logits = heads(torch.randn(5, 16))
    rows = torch.from_numpy(np.stack([row] * 5))
    assert attributes.loss(logits, rows) > 0
    perfect = {
        part: torch.nn.functional.one_hot(target.clamp(0), heads.sizes[part]).float()
        for part, target in attributes.split_labels(rows).items()
    }
    assert set(attributes.accuracies(perfect, rows).values()) == {1.0}


def test_cell_labels_name_each_thing_at_its_place():
    shown = scene(4, "train")
    rows = cell_labels(shown)
    assert rows.shape == (6, 4)
    assert (rows[:, 0] < len(TYPES)).sum() == len(shown.things)
    assert ((rows[:, 1:] == -1).all(1) == (rows[:, 0] == len(TYPES))).all()
