"""The full-size architectures of the presets' models, from their published configurations, without weights.

`parts(name)` gives a model's parts as torch modules on torch's meta device, which takes no memory: for counting
parameters (tests/integration/test_models_sizes.py) and, given real memory, for benchmarks with random weights.
"""

from collections.abc import Callable
from typing import Any

Parts = dict[str, Any]


def parts(name: str, device: str = "meta") -> Parts:
    """The parts of one of `MODELS`, on a device."""
    import torch

    with torch.device(device):
        return MODELS[name]()


def parameters(made: Parts) -> int:
    return sum(parameter.numel() for module in made.values() for parameter in module.parameters())


def _open_clip(architecture: str) -> Callable[[], Parts]:
    def make() -> Parts:
        import open_clip

        return {"model": open_clip.CLIP(**open_clip.get_model_config(architecture))}

    return make


def _clip_text(size: str, *, projection: bool) -> Any:
    import transformers

    sizes = {
        # OpenAI's ViT-L/14, OpenCLIP's ViT-H/14 without its last layer, OpenCLIP's ViT-bigG/14.
        "l": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
        "h": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
        "g": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20},
    }[size]
    width = {"l": 768, "h": 512, "g": 1280}[size]
    activation = "quick_gelu" if size == "l" else "gelu"
    config = transformers.CLIPTextConfig(
        vocab_size=49408, max_position_embeddings=77, projection_dim=width, hidden_act=activation, **sizes
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def _vae(**more: Any) -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, **{"latent_channels": 4, **more},
    )  # fmt: skip


def _sd_unet(**more: Any) -> Any:
    import diffusers

    return diffusers.UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, **more
    )


def _lcm_dreamshaper() -> Parts:
    import transformers
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14,
    }  # fmt: skip
    return {
        "unet": _sd_unet(cross_attention_dim=768, attention_head_dim=8, time_cond_proj_dim=256),
        "vae": _vae(),
        "text_encoder": _clip_text("l", projection=False),
        "safety_checker": StableDiffusionSafetyChecker(
            transformers.CLIPConfig(vision_config=vision, projection_dim=768)
        ),
    }


def _sd_turbo() -> Parts:
    return {
        "unet": _sd_unet(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True),
        "vae": _vae(),
        "text_encoder": _clip_text("h", projection=False),
    }


def _sdxl_turbo() -> Parts:
    import diffusers

    unet = diffusers.UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    return {
        "unet": unet,
        "vae": _vae(scaling_factor=0.13025),
        "text_encoder": _clip_text("l", projection=False),
        "text_encoder_2": _clip_text("g", projection=True),
    }


def _sd3_medium() -> Parts:
    import diffusers
    import transformers

    transformer = diffusers.SD3Transformer2DModel(
        sample_size=128, patch_size=2, in_channels=16, num_layers=24, attention_head_dim=64, num_attention_heads=24,
        joint_attention_dim=4096, caption_projection_dim=1536, pooled_projection_dim=2048, out_channels=16,
        pos_embed_max_size=192,
    )  # fmt: skip
    t5 = transformers.T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return {
        "transformer": transformer,
        "vae": _vae(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": _clip_text("l", projection=True),
        "text_encoder_2": _clip_text("g", projection=True),
        "text_encoder_3": transformers.T5EncoderModel(t5),
    }


def _kandinsky_prior() -> Parts:
    """Without its image encoder, which is not needed and not fetched."""
    import diffusers

    prior = diffusers.PriorTransformer(
        num_attention_heads=32, attention_head_dim=64, num_layers=20, embedding_dim=1280, num_embeddings=77,
        additional_embeddings=4,
    )  # fmt: skip
    return {"prior": prior, "text_encoder": _clip_text("g", projection=True)}


def _blip() -> Parts:
    import transformers

    config = transformers.BlipConfig(
        vision_config={"image_size": 384, "hidden_size": 768, "num_hidden_layers": 12}, image_text_hidden_size=256
    )
    return {"model": transformers.BlipForImageTextRetrieval(config)}


def _qwen() -> Parts:
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, tie_word_embeddings=False,
    )  # fmt: skip
    return {"model": transformers.Qwen2ForCausalLM(config)}


def _siglip2(**sizes: int) -> Callable[[], Parts]:
    def make() -> Parts:
        import transformers

        # The vocabulary is Gemma's.
        text = {"vocab_size": 256000, "max_position_embeddings": 64, "projection_size": sizes.get("hidden_size", 768)}
        return {"model": transformers.Siglip2Model(
            transformers.Siglip2Config(text_config={**text, **sizes}, vision_config=sizes)
        )}  # fmt: skip

    return make


def _qwen3_4b() -> Parts:
    import transformers

    config = transformers.Qwen3Config(
        vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    # Without the words' own layer, whose weights are those of the embedding.
    return {"model": transformers.Qwen3Model(config)}


def _qwen3_vl_2b() -> Parts:
    import transformers

    text = {
        "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    }  # fmt: skip
    vision = {
        "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048,
        "deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304, "patch_size": 16,
    }  # fmt: skip
    return {"model": transformers.Qwen3VLModel(transformers.Qwen3VLConfig(text_config=text, vision_config=vision))}


def _flux2_klein() -> Parts:
    import diffusers

    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=128, num_layers=5, num_single_layers=20, attention_head_dim=128, num_attention_heads=24,
        joint_attention_dim=7680, guidance_embeds=False,
    )  # fmt: skip
    return {"transformer": transformer, "vae": diffusers.AutoencoderKLFlux2(), "text_encoder": _qwen3_4b()["model"]}


def _z_image() -> Parts:
    import diffusers

    return {
        "transformer": diffusers.ZImageTransformer2DModel(),
        "vae": _vae(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": _qwen3_4b()["model"],
    }


def _sana_sprint() -> Parts:
    import diffusers
    import transformers

    transformer = diffusers.SanaTransformer2DModel(
        num_attention_heads=36, num_layers=28, num_cross_attention_heads=16, cross_attention_head_dim=72,
        cross_attention_dim=1152, guidance_embeds=True, qk_norm="rms_norm_across_heads",
    )  # fmt: skip
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    vae = diffusers.AutoencoderDC(encoder_block_types=blocks, decoder_block_types=blocks)
    return {
        "transformer": transformer, "vae": vae, "text_encoder": transformers.Gemma2Model(transformers.Gemma2Config()),
    }  # fmt: skip


MODELS: dict[str, Callable[[], Parts]] = {
    "open_clip:ViT-B-32/laion2b_s34b_b79k": _open_clip("ViT-B-32"),
    "open_clip:ViT-H-14/laion2b_s32b_b79k": _open_clip("ViT-H-14"),
    "open_clip:ViT-bigG-14/laion2b_s39b_b160k": _open_clip("ViT-bigG-14"),
    "transformers:Salesforce/blip-itm-base-coco": _blip,
    "transformers:google/siglip2-base-patch16-naflex": _siglip2(),
    "transformers:google/siglip2-so400m-patch16-naflex": _siglip2(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16
    ),
    "sentence-transformers:Qwen/Qwen3-VL-Embedding-2B": _qwen3_vl_2b,
    "chat:Qwen/Qwen2.5-7B-Instruct": _qwen,
    "chat:Qwen/Qwen3-4B-Instruct-2507": _qwen3_4b,
    "diffusers:black-forest-labs/FLUX.2-klein-4B": _flux2_klein,
    "diffusers:Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers": _sana_sprint,
    "diffusers:Tongyi-MAI/Z-Image-Turbo": _z_image,
    "diffusers:SimianLuo/LCM_Dreamshaper_v7": _lcm_dreamshaper,
    "diffusers:stabilityai/sd-turbo": _sd_turbo,
    "diffusers:stabilityai/sdxl-turbo": _sdxl_turbo,
    "diffusers:stabilityai/stable-diffusion-3-medium-diffusers": _sd3_medium,
    "prior:kandinsky-community/kandinsky-2-2-prior": _kandinsky_prior,
}
