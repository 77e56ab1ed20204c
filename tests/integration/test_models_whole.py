"""No model is completed at random: what a checkpoint lacks, has too much, or has from another model is refused.

Each on a checkpoint of the real classes, by the libraries' own saving, that loads while nothing is wrong with it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dar_search.data import Dialogue
from dar_search.errors import ModelError, ModelFailed, WeightsMissing
from dar_search.models import catalogue
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.encoders.transformers_encoder import transformers_encoder
from dar_search.models.imaginers.picture_imaginer import picture_imaginer
from dar_search.models.imaginers.prior_imaginer import prior_imaginer
from dar_search.models.reformulators.chat_reformulator import ChatReformulator
from dar_search.ports import Encoder
from tests import checkpoints, generative_checkpoints
from tests.checkpoints import rewritten

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning:torch.jit._script"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning:diffusers.schedulers"
    ),
]
TRANSFORMERS = ("clip", "siglip", "siglip2", "blip")
ENCODERS = (*TRANSFORMERS, "open_clip")
CHATS = ("qwen2", "llama")
# A part that has weights -> its file.
PARTS = {
    **dict.fromkeys((*TRANSFORMERS, *CHATS), "model.safetensors"),
    "open_clip": "open_clip_model.safetensors",
    "prior": "prior/diffusion_pytorch_model.safetensors",
    "prior text": "text_encoder/model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text encoder": "text_encoder/model.safetensors",
    "checker": "safety_checker/model.safetensors",
    "transformer": "transformer/diffusion_pytorch_model.safetensors",
    "second text encoder": "text_encoder_2/model.safetensors",
}
FOLDERS = {
    "prior text": "prior",
    **dict.fromkeys(("unet", "vae", "text encoder", "checker"), "sd"),
    **dict.fromkeys(("transformer", "second text encoder"), "sd3"),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("whole")
    makers: dict[str, Callable[[Path], Path]] = {
        "clip": checkpoints.clip_folder,
        "siglip": checkpoints.siglip_folder,
        "siglip2": checkpoints.siglip2_folder,
        "blip": checkpoints.blip_folder,
        "open_clip": checkpoints.open_clip_folder,
        "prior": checkpoints.prior_folder,
        "qwen2": lambda folder: generative_checkpoints.chat_folder(folder, "qwen2"),
        "llama": lambda folder: generative_checkpoints.chat_folder(folder, "llama"),
        "sd": lambda folder: generative_checkpoints.picture_model_folder(folder, "sd", checker=True),
        "sd3": lambda folder: generative_checkpoints.picture_model_folder(folder, "sd3"),
    }
    return {kind: make(root / kind) for kind, make in makers.items()}


@pytest.fixture(scope="module")
def encoder(folders: dict[str, Path]) -> Encoder:
    return open_clip_encoder(str(folders["open_clip"]), device="cpu")


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: shutil.copytree(folders[FOLDERS.get(kind, kind)], tmp_path / kind.replace(" ", "-"))


def use(kind: str, folder: Path, encoder: Encoder) -> None:
    """Loads the model and runs it once. Raises ModelError."""
    if kind in TRANSFORMERS:
        transformers_encoder(str(folder), device="cpu").encode_texts(["a red car"])
    elif kind == "open_clip":
        open_clip_encoder(str(folder), device="cpu").encode_texts(["a red car"])
    elif kind in CHATS:
        ChatReformulator(str(folder), device="cpu").warm_up()
    elif kind.startswith("prior"):
        prior_imaginer(str(folder), encoder, device="cpu", options={"steps": 2}).imagine("a", count=1, seed=0)
    else:
        picture_imaginer(str(folder), encoder, device="cpu", options={"steps": 1}).warm_up()


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def weight(tensors: dict[str, Any]) -> str:
    return next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)


@pytest.mark.parametrize("kind", PARTS)
def test_a_weight_that_is_not_there_is_named_and_not_made_up(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder, gone = copied(kind), []

    def without_one(tensors: dict[str, Any]) -> None:
        gone.append(weight(tensors))
        del tensors[gone[0]]

    rewritten(folder / PARTS[kind], without_one)
    with pytest.raises(WeightsMissing, match="lacks 1 weights") as caught:
        use(kind, folder, encoder)
    assert gone[0].split(".", 1)[-1] in caught.value.message
    assert "whole checkpoint" in caught.value.hint


@pytest.mark.parametrize("kind", PARTS)
def test_a_weight_without_a_place_is_named_and_not_left_out(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied(kind)
    rewritten(folder / PARTS[kind], lambda tensors: tensors.update({"one.more.weight": torch.zeros(3)}))
    with pytest.raises(ModelFailed, match=r"one\.more\.weight") as caught:
        use(kind, folder, encoder)
    assert "has no place" in caught.value.message


@pytest.mark.parametrize("kind", PARTS)
def test_a_weight_of_another_shape_is_named(kind: str, copied: Callable[[str], Path], encoder: Encoder) -> None:
    folder, changed = copied(kind), []

    def reshaped(tensors: dict[str, Any]) -> None:
        changed.append(weight(tensors))
        tensors[changed[0]] = torch.zeros(3, 5)

    rewritten(folder / PARTS[kind], reshaped)
    with pytest.raises(ModelFailed, match="size mismatch") as caught:
        use(kind, folder, encoder)
    assert changed[0].split(".", 1)[-1] in caught.value.message


@pytest.mark.parametrize("kind", ["clip", "siglip", "blip", "open_clip", "llama", "prior", "prior text", "checker"])
def test_what_older_checkpoints_carry_and_classes_compute_today_is_no_fault(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    carried = {
        "clip": ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"],
        "siglip": ["text_model.embeddings.position_ids"],
        "blip": ["text_encoder.embeddings.position_ids"],
        "open_clip": ["text.transformer.embeddings.position_ids"],
        "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq"],
        "prior": ["causal_attention_mask"],
        "prior text": ["text_model.embeddings.position_ids"],
        "checker": ["vision_model.vision_model.embeddings.position_ids"],
    }[kind]
    folder = copied(kind)
    rewritten(folder / PARTS[kind], lambda tensors: tensors.update({name: torch.zeros(4) for name in carried}))
    use(kind, folder, encoder)


@pytest.mark.parametrize("tied", [True, False])
def test_an_output_layer_that_is_tied_may_be_absent_and_one_that_is_not_may_not(
    tied: bool, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied("llama")
    edit(folder / "config.json", tie_word_embeddings=tied)
    rewritten(folder / PARTS["llama"], lambda tensors: tensors.pop("lm_head.weight"))
    if tied:
        use("llama", folder, encoder)
        rewritten(folder / PARTS["llama"], lambda tensors: tensors.pop("model.embed_tokens.weight"))
    with pytest.raises(WeightsMissing, match=r"lm_head\.weight"):
        use("llama", folder, encoder)


def test_a_captioning_blip_is_no_retrieval_model_and_the_error_says_which_it_is(
    copied: Callable[[str], Path], encoder: Encoder
) -> None:
    import transformers

    folder = copied("blip")
    config = transformers.BlipConfig.from_pretrained(folder)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    with pytest.raises(WeightsMissing, match="configuration says BlipForConditionalGeneration"):
        use("blip", folder, encoder)


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_clip_with_one_tower_alone_is_refused(tower: str, copied: Callable[[str], Path], encoder: Encoder) -> None:
    folder = copied("clip")

    def alone(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if not name.startswith(tower)]:
            del tensors[name]

    rewritten(folder / PARTS["clip"], alone)
    with pytest.raises(WeightsMissing, match="random numbers"):
        use("clip", folder, encoder)


def test_position_embeddings_of_another_size_are_not_stretched(copied: Callable[[str], Path], encoder: Encoder) -> None:
    folder = copied("open_clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFailed, match=r"visual\.positional_embedding"):
        use("open_clip", folder, encoder)


@pytest.mark.parametrize("kind", ["clip", "qwen2"])
def test_of_weights_in_several_files_none_may_be_missing(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    import transformers

    folder = copied(kind)
    model = (transformers.CLIPModel if kind == "clip" else transformers.AutoModelForCausalLM).from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    use(kind, folder, encoder)
    shards[1].unlink()
    with pytest.raises(WeightsMissing, match=shards[1].name):
        use(kind, folder, encoder)
    shutil.copy(shards[0], shards[1])  # of the right name, with another's weights
    with pytest.raises(ModelError):
        use(kind, folder, encoder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(WeightsMissing, match="without the index"):
        use(kind, folder, encoder)


TOKENIZERS = {
    **dict.fromkeys(("clip", "siglip", "siglip2", "blip", "qwen2", "llama"), "."),
    "prior": "tokenizer",
    "sd": "tokenizer",
    "sd3": "tokenizer_2",
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("config_too", [False, True])
def test_a_folder_without_a_tokenizer_is_refused(
    kind: str, config_too: bool, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied(kind)
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model"):
        (folder / TOKENIZERS[kind] / name).unlink(missing_ok=True)
    if config_too:
        (folder / TOKENIZERS[kind] / "tokenizer_config.json").unlink()
    with pytest.raises(WeightsMissing, match="has no tokenizer in") as caught:
        use(kind, folder, encoder)
    assert "tokenizer files" in caught.value.hint


@pytest.mark.parametrize("kind", ["clip", "siglip2", "blip", "qwen2", "prior", "sd"])
def test_a_tokenizer_that_the_library_made_up_and_saved_is_refused(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    import transformers

    classes = {"siglip2": "GemmaTokenizer", "blip": "BertTokenizer", "qwen2": "Qwen2Tokenizer"}
    folder = copied(kind)
    place = folder / TOKENIZERS[kind]
    template = place / "chat_template.jinja"
    made_up = getattr(transformers, classes.get(kind, "CLIPTokenizer"))()
    made_up.chat_template = template.read_text() if template.exists() else None
    made_up.save_pretrained(place)
    with pytest.raises(ModelFailed, match="no words among them"):
        use(kind, folder, encoder)


@pytest.mark.parametrize("kind", ["clip", "siglip2", "blip", "qwen2", "prior", "sd", "sd3"])
@pytest.mark.parametrize("size", ["larger", "far smaller"])
def test_a_tokenizer_that_is_larger_than_the_embedding_or_far_smaller_is_another_models(
    kind: str, size: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied(kind)
    file = folder / TOKENIZERS[kind] / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    special = {one["content"] for one in content["added_tokens"]}
    if size == "larger":
        vocabulary["zebras"] = len(vocabulary) + 1000
    else:
        plain = [name for name in vocabulary if name not in special]
        for name in plain[len(plain) // 4 :]:
            del vocabulary[name]
        kept = {name: number for number, name in enumerate(vocabulary)}
        for one in content["added_tokens"]:
            one["id"] = kept[one["content"]]
        content["model"]["vocab"] = kept
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelFailed, match="another model's"):
        use(kind, folder, encoder)


@pytest.mark.parametrize("kind", ["clip", "prior"])
def test_a_tokenizer_whose_end_of_text_a_clip_would_not_find_is_refused(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied(kind)
    file = folder / ("config.json" if kind == "clip" else "text_encoder/config.json")
    config = json.loads(file.read_text())
    (config["text_config"] if kind == "clip" else config)["eos_token_id"] = 7
    file.write_text(json.dumps(config))
    with pytest.raises(ModelFailed, match="ends a text with token 1"):
        use(kind, folder, encoder)


def test_an_open_clip_model_whose_tokenizer_should_be_in_its_folder_is_refused_without(
    copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied("open_clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/else"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsMissing, match="has no tokenizer in"):
        use("open_clip", folder, encoder)


def test_an_open_clip_model_of_another_vocabulary_does_not_get_open_clips_own_tokenizer(
    tmp_path: Path, encoder: Encoder
) -> None:
    small = {**checkpoints.OPEN_CLIP, "text_cfg": {**checkpoints.OPEN_CLIP["text_cfg"], "vocab_size": 600}}
    folder = checkpoints.open_clip_folder(tmp_path / "small", model=small)
    with pytest.raises(ModelFailed, match="no tokenizer of its own") as caught:
        use("open_clip", folder, encoder)
    assert "hf_tokenizer_name" in caught.value.hint


def test_half_a_byte_pair_tokenizer_is_no_tokenizer(copied: Callable[[str], Path], encoder: Encoder) -> None:
    folder = copied("clip")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(WeightsMissing, match=r"only vocab\.json"):
        use("clip", folder, encoder)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    use("clip", folder, encoder)


@pytest.mark.parametrize(("kind", "part"), [("sd", "scheduler/scheduler_config.json"), ("sd", "unet/config.json"),
    ("sd", "feature_extractor/preprocessor_config.json"), ("prior", "scheduler/scheduler_config.json")])  # fmt: skip
def test_a_part_without_its_configuration_is_named(
    kind: str, part: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied(kind)
    (folder / part).unlink()
    with pytest.raises(WeightsMissing, match=part.split("/")[1]):
        use(kind, folder, encoder)


@pytest.mark.parametrize(
    ("kind", "named", "said"),
    [
        ("transformers", "sd", "diffusers:"),
        ("transformers", "open_clip", "open_clip:"),
        ("transformers", "qwen2", "qwen2 model"),
        ("open_clip", "clip", "transformers:"),
        ("chat", "clip", "no chat model"),
        ("chat", "sd", "diffusers:"),
        ("prior", "sd", "which has no prior"),
        ("prior", "clip", "transformers:"),
        ("diffusers", "prior", "prior:"),
        ("diffusers", "open_clip", "open_clip:"),
    ],
)
def test_a_model_of_another_kind_is_told_with_what_it_is(
    kind: str, named: str, said: str, folders: dict[str, Path], encoder: Encoder
) -> None:
    def run() -> None:
        if kind in ("transformers", "open_clip"):
            catalogue.encoder(f"{kind}:{folders[named]}", device="cpu").encode_texts(["x"])
        elif kind == "chat":
            ChatReformulator(str(folders[named]), device="cpu").reformulate(Dialogue("x"))
        elif (made := catalogue.imaginer(f"{kind}:{folders[named]}", encoder, device="cpu")) is not None:
            made.imagine("x", count=1, seed=0)

    with pytest.raises(ModelError) as caught:
        run()
    assert said in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("kind", ["clip", "qwen2"])
def test_an_adapter_is_refused_alone_and_beside_weights(
    kind: str, copied: Callable[[str], Path], encoder: Encoder
) -> None:
    folder = copied(kind)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/base"}))
    shutil.copy(folder / "model.safetensors", folder / "adapter_model.safetensors")
    with pytest.raises(ModelFailed, match="beside its weights"):
        use(kind, folder, encoder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match=r"adapter .* for someone/base alone"):
        use(kind, folder, encoder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsMissing, match=r"adapter .* for someone/base alone"):
        use(kind, folder, encoder)
