"""A model is known by its content: under any name the same, and another as soon as what shapes its vectors differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dar_search.bootstrap import open_store
from dar_search.data import ImageRecord, Provenance
from dar_search.errors import EncoderMismatch
from dar_search.models import catalogue
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.encoders.transformers_encoder import transformers_encoder
from dar_search.models.imaginers.imagination_cache import CachedImaginer, MemoryImaginationCache
from dar_search.models.imaginers.picture_imaginer import picture_imaginer
from dar_search.models.imaginers.prior_imaginer import prior_imaginer
from dar_search.models.reformulators.chat_reformulator import ChatReformulator
from dar_search.ports import Encoder, KeyedImaginer
from dar_search.settings import Settings
from tests import checkpoints, generative_checkpoints
from tests.checkpoints import rewritten

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning:torch.jit._script"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:diffusers.schedulers"
    ),
]
KINDS = ("clip", "siglip", "siglip2", "blip", "open_clip")
SPECIAL = ("[PAD]", "<|startoftext|>", "<|endoftext|>")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("identity")
    makers: dict[str, Callable[[Path], Path]] = {
        "clip": checkpoints.clip_folder,
        "siglip": checkpoints.siglip_folder,
        "siglip2": checkpoints.siglip2_folder,
        "blip": checkpoints.blip_folder,
        "open_clip": checkpoints.open_clip_folder,
        "prior": checkpoints.prior_folder,
        "sd": lambda folder: generative_checkpoints.picture_model_folder(folder, "sd"),
        "chat": lambda folder: generative_checkpoints.chat_folder(folder, "qwen2"),
    }
    return {kind: make(root / kind) for kind, make in makers.items()}


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    return lambda kind, name="renamed": shutil.copytree(folders[kind], tmp_path / "elsewhere" / name)


def encoder_of(folder: Path) -> Encoder:
    make = open_clip_encoder if (folder / "open_clip_config.json").exists() else transformers_encoder
    return make(str(folder), device="cpu")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def other_tokenizer(file: Path) -> None:
    """The same tokens with two numbers exchanged: the vectors of texts are others, those of pictures are not."""
    if file.suffix == ".model":
        file.write_bytes(file.read_bytes() + b"\x1a\x00")  # an empty trainer_spec more: another file all the same
        return
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    first, second = [name for name in vocabulary if name not in SPECIAL][-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_opens_with_its_model_in_a_folder_of_another_name_and_finds_the_same(
    kind: str, folders: dict[str, Path], copied: Callable[..., Path], tmp_path: Path
) -> None:
    here, there = encoder_of(folders[kind]), encoder_of(copied(kind))
    assert here.provenance.encoder != there.provenance.encoder
    assert here.provenance.identity == there.provenance.identity
    with closing(open_store(f"sqlite:{tmp_path / 'store.sqlite'}", Settings())) as store:
        made = store.create("photos", here.provenance)
        made.write([ImageRecord(id="a", embedding=here.encode_texts(["a red car"])[0], source="a", digest="d")])
        opened = store.open("photos", there.provenance)
        assert opened.provenance == here.provenance
        np.testing.assert_allclose(opened.get(["a"])["a"].embedding, there.encode_texts(["a red car"])[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["clip", "open_clip"])
def test_another_model_in_a_folder_of_the_same_name_is_refused(
    kind: str, folders: dict[str, Path], copied: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copied(kind, kind)
    for file in folder.glob("*.safetensors"):
        rewritten(file, lambda tensors: tensors.update({name: one + 1 for name, one in tensors.items()}))
    here, there = encoder_of(folders[kind]), encoder_of(folder)
    assert here.provenance.encoder == there.provenance.encoder
    with closing(open_store(f"sqlite:{tmp_path / 'store.sqlite'}", Settings())) as store:
        store.create("photos", here.provenance)
        with pytest.raises(EncoderMismatch, match="other weights or settings of"):
            store.open("photos", there.provenance)


@pytest.mark.parametrize(
    ("kind", "file"),
    [("clip", "tokenizer.json"), ("siglip2", "tokenizer.json"), ("blip", "tokenizer.json"), ("siglip", "spiece.model")],
)
def test_another_tokenizer_with_equal_weights_is_another_revision_and_is_refused(
    kind: str, file: str, folders: dict[str, Path], copied: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copied(kind)
    other_tokenizer(folder / file)
    here, there = encoder_of(folders[kind]), encoder_of(folder)
    assert here.provenance.revision.partition(".")[0] == there.provenance.revision.partition(".")[0]
    with closing(open_store(f"sqlite:{tmp_path / 'store.sqlite'}", Settings())) as store:
        store.create("photos", here.provenance)
        with pytest.raises(EncoderMismatch, match="another tokenizer of") as caught:
            store.open("photos", there.provenance)
        assert "Put back the tokenizer files" in caught.value.hint


@pytest.mark.parametrize("change", [{"image_mean": [0.1, 0.1, 0.1]}, {"do_rescale": False}, {"resample": 2}], ids=str)
def test_another_picture_preparation_with_equal_weights_is_refused(
    change: dict[str, Any], folders: dict[str, Path], copied: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copied("clip")
    edit(folder / "preprocessor_config.json", **change)
    with closing(open_store(f"sqlite:{tmp_path / 'store.sqlite'}", Settings())) as store:
        store.create("photos", encoder_of(folders["clip"]).provenance)
        with pytest.raises(EncoderMismatch):
            store.open("photos", encoder_of(folder).provenance)


def test_what_a_tokenizers_configuration_says_of_its_saving_makes_no_other_revision(
    folders: dict[str, Path], copied: Callable[..., Path]
) -> None:
    folder = copied("clip")
    edit(folder / "tokenizer_config.json", name_or_path="/elsewhere", processor_class="CLIPProcessor")
    assert encoder_of(folder).provenance.identity == encoder_of(folders["clip"]).provenance.identity
    edit(folder / "tokenizer_config.json", model_max_length=8)
    assert encoder_of(folder).provenance.identity != encoder_of(folders["clip"]).provenance.identity


def test_an_index_of_the_demo_that_an_earlier_version_made_stays_open(tmp_path: Path) -> None:
    demo = catalogue.encoder("demo").provenance
    weights, _, texts = demo.revision.partition(".")
    assert len(texts) == 16
    earlier = Provenance("demo", weights, demo.dimension, demo.preparation)
    with closing(open_store(f"sqlite:{tmp_path / 'store.sqlite'}", Settings())) as store:
        store.create("dar-demo", earlier)
        assert store.open("dar-demo", demo).provenance == earlier


def test_the_bundled_encoder_is_the_same_by_its_name_and_by_its_folder() -> None:
    by_folder = catalogue.encoder(f"open_clip:{catalogue.BUNDLE / 'encoder'}").provenance
    assert by_folder.identity == catalogue.encoder("demo").provenance.identity


def test_an_encoder_of_another_package_whose_revision_is_no_digest_is_known_by_its_name_too() -> None:
    mine = Provenance("mine", "1", 4, "crop 8x8 bicubic")
    assert mine.identity != Provenance("yours", "1", 4, "crop 8x8 bicubic").identity


@pytest.mark.parametrize("kind", ["prior", "sd"])
def test_what_was_imagined_is_found_by_models_in_folders_of_other_names(
    kind: str, folders: dict[str, Path], copied: Callable[..., Path], tmp_path: Path
) -> None:
    def imaginer(folder: Path, space: Path) -> KeyedImaginer:
        if kind == "prior":
            return prior_imaginer(str(folder), encoder_of(space), device="cpu", options={"steps": 2})
        return picture_imaginer(str(folder), encoder_of(space), device="cpu", options={"steps": 1})

    moved = shutil.copytree(folders["open_clip"], tmp_path / "space")
    folder = copied(kind)
    cache = MemoryImaginationCache()
    (first,) = CachedImaginer(imaginer(folders[kind], folders["open_clip"]), cache).imagine("a", count=1, seed=0)
    assert imaginer(folder, moved).key("a", 0) == first.id
    (again,) = CachedImaginer(imaginer(folder, moved), cache).imagine("a", count=1, seed=0)
    assert again is first
    other_tokenizer(folder / "tokenizer" / "tokenizer.json")
    assert imaginer(folder, moved).key("a", 0) != first.id


def test_what_a_chat_model_wrote_is_kept_under_its_content(
    folders: dict[str, Path], copied: Callable[..., Path]
) -> None:
    folder = copied("chat")
    here = ChatReformulator(str(folders["chat"]), device="cpu").key
    assert ChatReformulator(str(folder), device="cpu").key == here
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert ChatReformulator(str(folder), device="cpu").key != here


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "blip"])
def test_capital_letters_change_no_text_of_models_trained_without(kind: str, folders: dict[str, Path]) -> None:
    encoder = encoder_of(folders[kind])
    lower, upper = encoder.encode_texts(["a red car, near the sofa", "A Red CAR, near the SOFA"])
    np.testing.assert_allclose(lower, upper, atol=1e-6)
    other = encoder.encode_texts(["the dog sits on a table"])[0]
    assert np.abs(lower - other).max() > 1e-4


def test_a_clip_reads_texts_as_open_clips_own_tokenizer_does(folders: dict[str, Path]) -> None:
    from open_clip.tokenizer import basic_clean

    encoder = encoder_of(folders["clip"])
    for text in ("a dog’s toy", "bread &amp; butter", "cafÃ© &amp;lt;3", "“red” car…"):
        plain = basic_clean(text)
        assert plain != text
        np.testing.assert_allclose(encoder.encode_texts([text]), encoder.encode_texts([plain]), atol=1e-6)


def test_texts_of_siglip_2_are_lowered_and_padded_on_the_right_as_in_training(folders: dict[str, Path]) -> None:
    # tokenizer_config.json says left here, as the class has it where a folder says nothing.
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["siglip2"])
    assert tokenizer.padding_side == "left"
    tokenizer.padding_side = "right"
    texts = ["A Red car", "a much LONGER text than sixteen tokens"]
    tokens = tokenizer(
        [text.lower() for text in texts], padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )
    assert tokens.input_ids[0, -1] == tokenizer.pad_token_id
    assert tokens.input_ids[1, -1] == tokenizer.eos_token_id
    model = transformers.SiglipModel.from_pretrained(folders["siglip2"]).eval()
    with torch.no_grad():
        expected = torch.nn.functional.normalize(
            model.get_text_features(input_ids=tokens.input_ids).pooler_output, dim=-1
        )
    np.testing.assert_allclose(encoder_of(folders["siglip2"]).encode_texts(texts), expected.numpy(), atol=1e-5)
