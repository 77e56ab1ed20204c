"""The presets' sizes are those of their models' architectures, counted on torch's meta device."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from dar_search.models import presets

pytestmark = [
    # diffusers 0.42, when it is imported.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning:torch.jit._script"),
]
# Bytes of a number as a model is published in safetensors (of each part, where they differ), and as it is loaded.
BYTES: dict[str, tuple[int | dict[str, int], int]] = {
    "open_clip:ViT-B-32/laion2b_s34b_b79k": (4, 4),
    "open_clip:ViT-H-14/laion2b_s32b_b79k": (4, 2),
    "open_clip:ViT-bigG-14/laion2b_s39b_b160k": (4, 2),
    "transformers:Salesforce/blip-itm-base-coco": (4, 2),
    "transformers:google/siglip2-base-patch16-naflex": (4, 2),
    "transformers:google/siglip2-so400m-patch16-naflex": (4, 2),
    "sentence-transformers:Qwen/Qwen3-VL-Embedding-2B": (2, 2),
    "chat:Qwen/Qwen2.5-7B-Instruct": (2, 2),
    "chat:Qwen/Qwen3-4B-Instruct-2507": (2, 2),
    "diffusers:black-forest-labs/FLUX.2-klein-4B": (2, 2),
    "diffusers:Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers": (
        {"transformer": 2, "vae": 4, "text_encoder": 2},
        2,
    ),
    "diffusers:Tongyi-MAI/Z-Image-Turbo": ({"transformer": 4, "vae": 2, "text_encoder": 2}, 2),
    "diffusers:SimianLuo/LCM_Dreamshaper_v7": (4, 4),
    "diffusers:stabilityai/sdxl-turbo": (2, 2),
    "diffusers:stabilityai/stable-diffusion-3-medium-diffusers": (2, 2),
    "prior:kandinsky-community/kandinsky-2-2-prior": (4, 2),
}
PARTS = {part.name: part for preset in presets.presets() for part in preset.parts if part.download_mb}


@pytest.fixture(scope="module")
def architectures() -> Any:
    path = Path(__file__).parents[2] / "bench" / "architectures.py"
    spec = importlib.util.spec_from_file_location("architectures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_model_that_is_fetched_is_counted() -> None:
    assert set(PARTS) == set(BYTES)


@pytest.mark.parametrize("name", BYTES)
def test_a_presets_sizes_are_its_architectures(architectures: Any, name: str) -> None:
    parts = architectures.parts(name)
    numbers = {part: architectures.parameters({part: module}) for part, module in parts.items()}
    stored, loaded = BYTES[name]
    of_part = stored if isinstance(stored, dict) else dict.fromkeys(parts, stored)
    part = PARTS[name]
    assert part.download_mb == pytest.approx(sum(numbers[one] * of_part[one] for one in parts) / 1e6, rel=0.06)
    # Beside the weights there are activations and the libraries' own.
    needed = sum(numbers.values()) * loaded / 1e6
    assert needed <= part.memory_mb <= needed * 1.35 + 300


def test_sd_turbo_is_the_size_that_the_benchmark_takes_it_for(architectures: Any) -> None:
    counts = {
        name: architectures.parameters({name: module})
        for name, module in architectures.parts("diffusers:stabilityai/sd-turbo").items()
    }
    assert counts["unet"] == pytest.approx(865.9e6, rel=0.001)
    assert counts["text_encoder"] == pytest.approx(340.4e6, rel=0.001)
