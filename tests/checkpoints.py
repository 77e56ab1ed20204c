"""Makes tiny checkpoints with random weights, of the real classes, with the libraries' own save functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

# open_clip: a ViT and a text transformer as small as its classes allow, over its own vocabulary.
OPEN_CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
DIMENSION = 32
PIECES = ("<|startoftext|>", "<|endoftext|>")


def open_clip_folder(
    folder: Path, *, seed: int = 0, preprocessing: dict[str, Any] | None = None, model: dict[str, Any] | None = None
) -> Path:
    """A folder that open_clip's local-dir loading takes."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = model or OPEN_CLIP
    torch.manual_seed(seed)
    built = open_clip.CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in built.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    content = {"model_cfg": config, "preprocess_cfg": preprocessing or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def clip_tokenizer(folder: Path, length: int = 16) -> int:
    """A CLIP tokenizer with single letters as its vocabulary; returns the vocabulary's size."""
    import transformers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    names = [*PIECES, *letters, *(letter + "</w>" for letter in letters)]
    tokenizer = transformers.CLIPTokenizer(
        vocab={name: number for number, name in enumerate(names)},
        merges=[],
        bos_token=PIECES[0],
        eos_token=PIECES[1],
        pad_token=PIECES[1],
        unk_token=PIECES[1],
        model_max_length=length,
    )
    tokenizer.save_pretrained(folder)
    return len(names)


def clip_text_encoder(folder: Path, vocabulary: int, *, width: int, length: int = 16) -> None:
    """A CLIPTextModelWithProjection that projects to `width`."""
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=length,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    transformers.CLIPTextModelWithProjection(config).save_pretrained(folder)


def prior_folder(
    folder: Path,
    *,
    kind: str = "kandinsky",
    dimension: int = DIMENSION,
    seed: int = 0,
    recommended: dict[str, Any] | None = None,
) -> Path:
    """A diffusion prior in diffusers' layout: "kandinsky" or "unclip" (UnCLIPScheduler) or "ddim"."""
    import diffusers
    import torch

    torch.manual_seed(seed)
    length = 16
    prior = diffusers.PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        embedding_dim=dimension,
        num_embeddings=length,
        additional_embeddings=4,
    )
    with torch.no_grad():
        prior.clip_mean.normal_(0, 0.1)
        prior.clip_std.fill_(0.5)
    prior.save_pretrained(folder / "prior")
    vocabulary = clip_tokenizer(folder / "tokenizer", length)
    clip_text_encoder(folder / "text_encoder", vocabulary, width=dimension, length=length)
    part = "prior_scheduler" if kind == "unclip" else "scheduler"
    if kind == "ddim":
        scheduler: Any = diffusers.DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
        )
    else:
        scheduler = diffusers.UnCLIPScheduler(
            prediction_type="sample", clip_sample_range=5.0, variance_type="fixed_small_log"
        )
    scheduler.save_pretrained(folder / part)
    index: dict[str, Any] = {
        "_class_name": "UnCLIPPipeline" if kind == "unclip" else "KandinskyPriorPipeline",
        "_diffusers_version": diffusers.__version__,
        "prior": ["diffusers", "PriorTransformer"],
        part: ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    if recommended:
        index["_dar_search"] = recommended
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _vision(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
        **more,
    }


def _text(vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        **more,
    }


def clip_folder(folder: Path) -> Path:
    """A transformers CLIP with its tokenizer and image processor."""
    import torch
    import transformers

    torch.manual_seed(0)
    vocabulary = clip_tokenizer(folder)
    text = _text(vocabulary, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=_vision(), projection_dim=DIMENSION)
    ).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder
    )
    return folder


def siglip_folder(folder: Path) -> Path:
    """A transformers SigLIP with a SentencePiece tokenizer trained on a few words."""
    import io

    import sentencepiece
    import torch
    import transformers

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    words = ["a", "the", "red", "blue", "green", "car", "dog", "cat", "sofa", "table", "sits", "on", "under", "near"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words[at:] + words[:at]) for at in range(len(words))]),
        model_writer=model, vocab_size=40, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    tokenizer = transformers.SiglipTokenizer(str(folder / "spiece.model"), model_max_length=16)
    tokenizer.save_pretrained(folder)
    transformers.SiglipModel(
        transformers.SiglipConfig(
            text_config=_text(len(tokenizer), hidden_size=DIMENSION, projection_size=DIMENSION),
            vision_config=_vision(hidden_size=DIMENSION),
        )
    ).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def blip_folder(folder: Path) -> Path:
    """A transformers BLIP for image-text retrieval with a BERT tokenizer of single letters and a few words."""
    import torch
    import transformers

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789?.,"
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
        "car",
        "red",
    ]
    tokenizer = transformers.BertTokenizer(
        vocab={name: number for number, name in enumerate(names)}, do_lower_case=True, model_max_length=16
    )
    tokenizer.save_pretrained(folder)
    config = transformers.BlipConfig(
        text_config=_text(
            len(names), encoder_hidden_size=16, bos_token_id=2, eos_token_id=3, sep_token_id=3, pad_token_id=0
        ),
        vision_config=_vision(),
        image_text_hidden_size=DIMENSION,
    )
    transformers.BlipForImageTextRetrieval(config).save_pretrained(folder)
    transformers.BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def gemma_tokenizer(folder: Path) -> int:
    """A Gemma tokenizer as SigLIP 2 has it, of single letters, whose texts end with <eos>; the vocabulary's size."""
    import string

    import transformers
    from tokenizers import Tokenizer, processors

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *string.printable[:94]]
    transformers.GemmaTokenizer(
        vocab={name: number for number, name in enumerate(pieces)}, merges=[], model_max_length=16, padding_side="left"
    ).save_pretrained(folder)
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    core.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B <eos>", special_tokens=[("<eos>", 1)]
    )
    core.save(str(folder / "tokenizer.json"))
    return len(pieces)


def siglip2_folder(folder: Path) -> Path:
    """A SigLIP 2 of fixed resolution, as on the hub: SiglipModel with a Gemma tokenizer that keeps capital letters."""
    import torch
    import transformers

    torch.manual_seed(0)
    vocabulary = gemma_tokenizer(folder)
    model = transformers.SiglipModel(
        transformers.SiglipConfig(
            text_config=_text(vocabulary, hidden_size=DIMENSION, projection_size=DIMENSION),
            vision_config=_vision(hidden_size=DIMENSION),
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    model.save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def naflex_folder(folder: Path) -> Path:
    """A SigLIP 2 NaFlex, of at most 12 patches of 16 pixels."""
    import torch
    import transformers

    torch.manual_seed(0)
    vocabulary = gemma_tokenizer(folder)
    vision = {name: value for name, value in _vision(hidden_size=DIMENSION).items() if name != "image_size"}
    model = transformers.Siglip2Model(
        transformers.Siglip2Config(
            text_config=_text(
                vocabulary, hidden_size=DIMENSION, projection_size=DIMENSION, bos_token_id=2, eos_token_id=1,
                pad_token_id=0,
            ),
            vision_config={**vision, "num_patches": 16},
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 4)
    model.save_pretrained(folder)
    transformers.Siglip2ImageProcessor(patch_size=16, max_num_patches=12).save_pretrained(folder)
    return folder


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a safetensors file's tensors in place."""
    from safetensors.torch import load_file, save_file

    tensors = dict(load_file(file))
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
