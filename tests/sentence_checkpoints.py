"""Tiny models of sentence-transformers with random weights, saved by its own `save_pretrained` (see checkpoints.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import checkpoints

# As vision-language models have it: a system message by default, pictures where they stand.
CHAT = (
    "{%- if messages[0].role != 'system' %}<|im_start|>system: represent<|im_end|>{% endif -%}"
    "{%- for message in messages %}<|im_start|>{{ message.role }}: "
    "{%- if message.content is string %}{{ message.content }}{% else %}{% for one in message.content %}"
    "{%- if one.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ one.text }}{% endif %}"
    "{%- endfor %}{% endif %}<|im_end|>{% endfor -%}"
    "{%- if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
PROMPTS = {"query": "find a picture: ", "document": "represent the picture"}


def clip_folder(folder: Path) -> Path:
    """A CLIP with a layer after it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Transformer

    torch.manual_seed(0)
    plain = checkpoints.clip_folder(folder / "plain")
    dense = Dense(in_features=checkpoints.DIMENSION, out_features=24)
    model = SentenceTransformer(modules=[Transformer(str(plain)), dense], prompts={"query": "a photo of "})
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


def qwen_folder(folder: Path) -> Path:
    """A Qwen3-VL with last-token pooling and prompts, as Qwen3-VL-Embedding is; pictures of up to 128 x 128 pixels."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    torch.manual_seed(0)
    special = ["<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = _byte_tokenizer(special)
    size = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
    processor = transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(patch_size=16, merge_size=2, size=size),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen3VLVideoProcessor(patch_size=16, merge_size=2),
        chat_template=CHAT,
    )
    processor.save_pretrained(folder / "plain")
    config = transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
            "pad_token_id": 0,
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 16,
            "out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        image_token_id=special.index("<|image_pad|>"), video_token_id=special.index("<|video_pad|>"),
        vision_start_token_id=special.index("<|vision_start|>"), vision_end_token_id=special.index("<|vision_end|>"),
    )  # fmt: skip
    transformers.Qwen3VLForConditionalGeneration(config).save_pretrained(folder / "plain")
    model = SentenceTransformer(
        modules=[Transformer(str(folder / "plain")), Pooling(32, pooling_mode="lasttoken"), Normalize()],
        prompts=PROMPTS,
    )
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


def _byte_tokenizer(special: list[str]) -> Any:
    import tokenizers
    import transformers

    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: number for number, name in enumerate([*special, *letters])}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=special[0], pad_token=special[0], extra_special_tokens=special[1:],
        padding_side="left", model_max_length=512,
    )  # fmt: skip
