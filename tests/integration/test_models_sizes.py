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
# Bytes of a number as a model is published in safetensors, and as its preset loads it.
BYTES = {
    "open_clip:ViT-B-32/laion2b_s34b_b79k": (4, 4),
    "open_clip:ViT-H-14/laion2b_s32b_b79k": (4, 2),
    "open_clip:ViT-bigG-14/laion2b_s39b_b160k": (4, 2),
    "transformers:Salesforce/blip-itm-base-coco": (4, 2),
    "chat:Qwen/Qwen2.5-7B-Instruct": (2, 2),
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
    numbers = architectures.parameters(architectures.parts(name))
    stored, loaded = BYTES[name]
    part = PARTS[name]
    assert part.download_mb == pytest.approx(numbers * stored / 1e6, rel=0.06)
    # Beside the weights there are activations and the libraries' own.
    assert numbers * loaded / 1e6 <= part.memory_mb <= numbers * loaded / 1e6 * 1.35 + 300


def test_sd_turbo_is_the_size_that_the_benchmark_takes_it_for(architectures: Any) -> None:
    counts = {
        name: architectures.parameters({name: module})
        for name, module in architectures.parts("diffusers:stabilityai/sd-turbo").items()
    }
    assert counts["unet"] == pytest.approx(865.9e6, rel=0.001)
    assert counts["text_encoder"] == pytest.approx(340.4e6, rel=0.001)
