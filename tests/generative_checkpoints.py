"""Tiny chat and text-to-image checkpoints with random weights, of the real classes (see checkpoints.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tests.checkpoints import clip_tokenizer

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def chat_folder(folder: Path, kind: Literal["qwen2", "qwen3", "llama"], *, template: str | None = TEMPLATE) -> Path:
    """A causal language model with a byte-level tokenizer and a chat template."""
    import torch
    import transformers

    torch.manual_seed(0)
    tokenizer, vocabulary = _byte_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    if kind == "qwen2":
        model: Any = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes))
        # As Qwen's own checkpoints have it, so that a loader must cope with sampling settings.
        model.generation_config.update(do_sample=True, temperature=0.7, top_p=0.8, top_k=20)
    elif kind == "qwen3":
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes, head_dim=8))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    model.save_pretrained(folder)
    return folder


def _byte_tokenizer() -> tuple[Any, int]:
    """A tokenizer of single bytes, and how many tokens it has."""
    import tokenizers
    import transformers

    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: number for number, name in enumerate([*special, *letters])}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|end|>", pad_token="<|end|>", additional_special_tokens=special[1:]
    )
    return tokenizer, len(vocabulary)


def picture_model_folder(
    folder: Path,
    kind: Literal["sd", "sdxl", "sd3", "lcm", "sana-sprint", "z-image", "flux2-klein"],
    *,
    checker: bool = False,
) -> Path:
    """A text-to-image pipeline of diffusers that draws 32 x 32 pixels, saved by its own `save_pretrained`."""
    import torch

    torch.manual_seed(0)
    makers = {
        "sd": _sd,
        "sdxl": _sdxl,
        "sd3": _sd3,
        "lcm": _lcm,
        "sana-sprint": _sana_sprint,
        "z-image": _z_image,
        "flux2-klein": _flux2_klein,
    }
    pipeline = makers[kind](folder, checker)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _tokenizer(folder: Path, name: str) -> tuple[Any, int]:
    import transformers

    size = clip_tokenizer(folder / name, length=77)
    return transformers.CLIPTokenizer.from_pretrained(folder / name), size


def _clip_text(vocabulary: int, *, projection: bool) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=32, projection_dim=16, num_hidden_layers=2,
        num_attention_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config).eval()


def _vae(channels: int) -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(16, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels, norm_num_groups=4, sample_size=32, shift_factor=0.06 if channels == 16 else None,
        use_quant_conv=channels == 4, use_post_quant_conv=channels == 4,
    )  # fmt: skip


def _sd(folder: Path, checker: bool) -> Any:
    import diffusers
    import transformers

    tokenizer, size = _tokenizer(folder, "tokenizer")
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    safety, extractor = None, None
    if checker:
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        vision = {
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 16,
        }  # fmt: skip
        safety = StableDiffusionSafetyChecker(transformers.CLIPConfig(vision_config=vision, projection_dim=16))
        extractor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return diffusers.StableDiffusionPipeline(
        vae=_vae(4), text_encoder=_clip_text(size, projection=False), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", steps_offset=1), safety_checker=safety,
        feature_extractor=extractor, requires_safety_checker=checker,
    )  # fmt: skip


def _lcm(folder: Path, checker: bool) -> Any:
    import diffusers

    tokenizer, size = _tokenizer(folder, "tokenizer")
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), time_cond_proj_dim=32,
    )  # fmt: skip
    return diffusers.LatentConsistencyModelPipeline(
        vae=_vae(4), text_encoder=_clip_text(size, projection=False), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.LCMScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _sdxl(folder: Path, checker: bool) -> Any:
    import diffusers

    tokenizer, size = _tokenizer(folder, "tokenizer")
    second, _ = _tokenizer(folder, "tokenizer_2")
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=32, norm_num_groups=4,
        attention_head_dim=(2, 4), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
        transformer_layers_per_block=(1, 1), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(4), text_encoder=_clip_text(size, projection=False), text_encoder_2=_clip_text(size, projection=True),
        tokenizer=tokenizer, tokenizer_2=second, unet=unet,
        scheduler=diffusers.EulerAncestralDiscreteScheduler(timestep_spacing="trailing", steps_offset=1),
        add_watermarker=False,
    )  # fmt: skip


def _sd3(folder: Path, checker: bool) -> Any:
    import diffusers

    tokenizer, size = _tokenizer(folder, "tokenizer")
    second, _ = _tokenizer(folder, "tokenizer_2")
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=32, out_channels=16,
    )  # fmt: skip
    # Without the third (T5) text encoder, as SD 3 is often run.
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=_vae(16),
        text_encoder=_clip_text(size, projection=True), tokenizer=tokenizer,
        text_encoder_2=_clip_text(size, projection=True), tokenizer_2=second, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


def _sana_sprint(folder: Path, checker: bool) -> Any:
    """SANA-Sprint draws at one of its own sizes (of 1024 x 1024) and fits that to what was asked for."""
    import diffusers
    import transformers

    tokenizer, size = _byte_tokenizer()
    text = transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=size, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=4, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    ).eval()  # fmt: skip
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=4, num_layers=1,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        guidance_embeds=True, qk_norm="rms_norm_across_heads",
    )  # fmt: skip
    levels = 6  # 32 pixels a latent, as the real one
    vae = diffusers.AutoencoderDC(
        latent_channels=4, attention_head_dim=4, encoder_block_out_channels=(4,) * levels,
        decoder_block_out_channels=(4,) * levels, encoder_layers_per_block=(1,) * levels,
        decoder_layers_per_block=(1,) * levels, encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels, downsample_block_type="conv", upsample_block_type="interpolate",
    )  # fmt: skip
    return diffusers.SanaSprintPipeline(
        tokenizer=tokenizer, text_encoder=text, vae=vae, transformer=transformer, scheduler=diffusers.SCMScheduler()
    )


def _z_image(folder: Path, checker: bool) -> Any:
    """Z-Image, whose text encoder is a Qwen3 that is spoken to through its chat template."""
    import diffusers
    import torch
    import transformers

    tokenizer, size = _byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    text = transformers.Qwen3Model(
        transformers.Qwen3Config(
            vocab_size=size, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, bos_token_id=None, eos_token_id=0, pad_token_id=0,
        )
    ).eval()  # fmt: skip
    transformer = diffusers.ZImageTransformer2DModel(
        dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )  # fmt: skip
    with torch.no_grad():  # the class leaves these as memory had them
        transformer.x_pad_token.fill_(1)
        transformer.cap_pad_token.fill_(1)
    return diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=_vae(16), text_encoder=text, tokenizer=tokenizer,
        transformer=transformer,
    )  # fmt: skip


def _flux2_klein(folder: Path, checker: bool) -> Any:
    """FLUX.2 klein, whose text encoder's layers 9, 18 and 27 are what the transformer reads."""
    import diffusers
    import transformers

    tokenizer, size = _byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    text = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=size, hidden_size=8, intermediate_size=8, num_hidden_layers=28, num_attention_heads=1,
            num_key_value_heads=1, head_dim=8, bos_token_id=None, eos_token_id=0, pad_token_id=0,
            tie_word_embeddings=True,
        )
    ).eval()  # fmt: skip
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * 8, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4, norm_num_groups=4,
        sample_size=32,
    )  # fmt: skip
    return diffusers.Flux2KleinPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=vae, text_encoder=text, tokenizer=tokenizer,
        transformer=transformer, is_distilled=True,
    )  # fmt: skip
