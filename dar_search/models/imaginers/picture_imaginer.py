"""An Imaginer that draws pictures with any text-to-image model of diffusers, and encodes them.

A folder in diffusers' layout (model_index.json) of any of its text-to-image classes: SD, SD-Turbo, SDXL, SDXL-Turbo,
SD 3, LCM, PixArt, SANA, SANA-Sprint, FLUX, Z-Image, Qwen-Image and others. Each picture has a noise generator of its
own, so that the first of sixteen is the first of one.
"""

from __future__ import annotations

import inspect
import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dar_search.data import Imagination
from dar_search.errors import ModelFailed, RequestError, SettingsError
from dar_search.models import weights
from dar_search.models.acceleration import accelerate
from dar_search.models.devices import failures_named, resolve_device, resolve_dtype
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.identity import imagination_id
from dar_search.models.imaginers import diffusers_folder, pipeline_class
from dar_search.models.imaginers.diffusers_parts import load_parts, require_checked
from dar_search.models.options import read_options
from dar_search.ports import Encoder

if TYPE_CHECKING:
    import torch

_CHECKER = "safety_checker"
_LONGEST_SIDE = 512
_WARM_UP_STEPS = 2
# Options that change no embedding. A kept picture does not either, but one without must not stand in for it.
_UNSHAPING = ("batch", "offload", "channels_last", "compile", "compile_backend")
# The parts of diffusion models where the time goes.
_HEAVY_PARTS = ("unet", "transformer", "vae")


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """How to draw. None: the model's own default.

    Attributes:
        steps: where a request names none. Distilled models (Turbo, LCM) need 1 to 8, others 20 to 50.
        guidance: classifier-free guidance scale; 0 for Turbo models, which were distilled with theirs.
        width, height: pixels.
        safety_checker: use the checker that comes with a model, where one does. A picture that it stops is left out.
        keep_picture: return the pictures (WebP, longest side at most 512 pixels), or their embeddings alone.
        batch: pictures drawn at once.
        offload: keep only the part that works on the GPU (needs accelerate): slower, for a GPU with little memory.
        channels_last, compile, compile_backend: see `acceleration`.
    """

    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    safety_checker: bool = True
    keep_picture: bool = True
    batch: int = 4
    offload: bool = False
    channels_last: bool = False
    compile: bool = False
    compile_backend: str = "inductor"

    def __post_init__(self) -> None:
        sizes = [size for size in (self.width, self.height) if size is not None]
        if any(size < 8 or size > 4096 or size % 8 for size in sizes):
            raise SettingsError("A picture's sides are multiples of 8 from 8 to 4096.", "Such as 512.")
        if (self.steps is not None and self.steps < 1) or (self.guidance or 0) < 0 or self.batch < 1:
            raise SettingsError(f"Pictures cannot be drawn so: {self}.", "steps and batch >= 1, guidance >= 0.")


def picture_imaginer(
    source: str,
    encoder: Encoder,
    *,
    name: str = "",
    device: str = "auto",
    dtype: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> PictureImaginer:
    """An imaginer from a folder's path or a hub name; what is wrong with a path is raised at once.

    options: values for some of PictureOptions' fields.
    Raises WeightsMissing, UnsafeWeights, SettingsError.
    """
    local = weights.looks_local(source)
    label = name or f"diffusers:{Path(source).expanduser().resolve().name if local else source}"
    chosen = read_options(PictureOptions, options, model=label)
    imaginer = PictureImaginer(source, label, encoder, chosen, device=device, dtype=dtype)
    if local:
        imaginer.check()
    return imaginer


class PictureImaginer:
    """See the module. Its weights load at the first imagination; safe to call from several threads."""

    def __init__(
        self, source: str, name: str, encoder: Encoder, options: PictureOptions, *, device: str, dtype: str
    ) -> None:
        self._source = source
        self._name = name
        self._encoder = encoder
        self.options = options
        self._device_name = device
        self._dtype_name = dtype
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        return self._name

    def check(self) -> None:
        """Raises WeightsMissing, UnsafeWeights or ModelFailed where the folder cannot be loaded. Loads nothing."""
        kind = str(weights.read_config(self._folder / diffusers_folder.INDEX).get("_class_name"))
        if "Prior" in kind:
            raise ModelFailed(
                f"{self._name} is a {kind} of diffusers, which draws no pictures.",
                "As an imaginer it is called prior:FOLDER or prior:ORG/NAME.",
            )
        diffusers_folder.check(self._folder, model=self._name, without=self._left_out)

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        """The id of the imagination that `imagine` would give: what a cache looks up."""
        shaping = {name: value for name, value in asdict(self._for(steps)).items() if name not in _UNSHAPING}
        return imagination_id(self._revision, self._encoder.provenance.identity, prompt, seed, shaping)

    @property
    def batch(self) -> int:
        """Pictures that are drawn at once."""
        return self.options.batch

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        """As the port says, but for pictures that the safety checker stops: they are left out.

        Raises ModelFailed where it stops all.
        """
        return self.imagine_all([(prompt, count, seed)], steps=steps)[0]

    def imagine_all(
        self, requests: Sequence[tuple[str, int, int]], *, steps: int | None = None
    ) -> list[tuple[Imagination, ...]]:
        """(prompt, count, seed) of each -> what `imagine` gives for each, drawn together, `batch` at once."""
        options = self._for(steps)
        if any(count < 1 for _, count, _ in requests):
            raise RequestError("No imaginations were asked for.", "Ask for at least one.")
        wanted = [(prompt, one) for prompt, count, seed in requests for one in range(seed, seed + count)]
        with self._lock, failures_named(f"Imagining with {self._name}"), quiet_libraries():
            drawn = [
                picture
                for at in range(0, len(wanted), options.batch)
                for picture in self._drawn(wanted[at : at + options.batch], options)
            ]
        kept = [picture for picture in drawn if picture is not None]
        embeddings = iter(self._encoder.encode_images(kept))
        made = iter(
            Imagination(
                self.key(prompt, one, steps),
                next(embeddings),
                prompt,
                one,
                _encoded(picture) if options.keep_picture else None,
            )
            if picture is not None
            else None
            for (prompt, one), picture in zip(wanted, drawn, strict=True)
        )
        answers = [tuple(one for one in islice(made, count) if one) for _, count, _ in requests]
        if not all(answers):
            raise ModelFailed(
                f"{self._name}'s safety checker stopped every picture.", "Search by text, or say it in other words."
            )
        return answers

    def warm_up(self) -> None:
        """Load now what would otherwise be loaded at the first imagination, and draw once, in few steps."""
        with self._lock, failures_named(f"Imagining with {self._name}"), quiet_libraries():
            self._drawn([("a picture", 0)], self._for(_WARM_UP_STEPS))

    def _drawn(self, wanted: Sequence[tuple[str, int]], options: PictureOptions) -> list[Image.Image | None]:
        """(prompt, seed) of each -> a picture for each, None where the safety checker stopped it."""
        import torch

        prompts = [prompt for prompt, _ in wanted]
        alike = len(set(prompts)) == 1  # its text is encoded once then
        negative = options.negative_prompt or None
        values: dict[str, Any] = {
            "prompt": prompts[0] if alike else prompts,
            "num_images_per_prompt": len(prompts) if alike else 1,
            # On the CPU, so that a seed means the same on every device.
            "generator": [torch.Generator("cpu").manual_seed(seed) for _, seed in wanted],
            "num_inference_steps": options.steps,
            "guidance_scale": options.guidance,
            "negative_prompt": negative if alike or negative is None else [negative] * len(prompts),
            "width": options.width,
            "height": options.height,
            "output_type": "pil",
        }
        accepted = inspect.signature(type(self._pipeline).__call__).parameters
        if options.negative_prompt and "negative_prompt" not in accepted:
            raise SettingsError(f"{self._name} takes no negative prompt.", "Leave it empty for this model.")
        given = {name: value for name, value in values.items() if value is not None and name in accepted}
        if "intermediate_timesteps" in accepted and options.steps not in (None, 2):
            given["intermediate_timesteps"] = None  # SANA-Sprint's default is for two steps, and refuses others
        result = self._pipeline(**given)
        stopped = getattr(result, "nsfw_content_detected", None) or [False] * len(wanted)
        return [None if bad else picture for picture, bad in zip(result.images, stopped, strict=True)]

    def _for(self, steps: int | None) -> PictureOptions:
        return self.options if steps is None else replace(self.options, steps=steps)

    @property
    def _left_out(self) -> tuple[str, ...]:
        return () if self.options.safety_checker else (_CHECKER,)

    @cached_property
    def _folder(self) -> Path:
        return diffusers_folder.resolve(self._source, model=self._name, without=self._left_out)

    @cached_property
    def _revision(self) -> str:
        return diffusers_folder.revision(self._folder, model=self._name)

    @cached_property
    def _pipeline(self) -> Any:
        weights.require("torch", "diffusers", "transformers")
        self.check()
        device = resolve_device(self._device_name)
        with failures_named(f"Loading {self._name}"):
            return self._loaded(device, resolve_dtype(self._dtype_name, device))

    def _loaded(self, device: torch.device, dtype: torch.dtype) -> Any:
        with quiet_libraries():
            kind = pipeline_class.text_to_image(self._folder, model=self._name)

        index = weights.read_config(self._folder / diffusers_folder.INDEX)
        # A part that a folder leaves empty (SD 3 without its third text encoder) must be given as None all the same.
        absent: dict[str, Any] = {
            part: None for part, value in index.items() if part in self._left_out or value == [None, None]
        }
        if "requires_safety_checker" in index and _CHECKER in absent:
            absent["requires_safety_checker"] = False
        with quiet_libraries():
            loaded = load_parts(self._folder, dtype, model=self._name, without=self._left_out)
            pipeline = kind.from_pretrained(
                self._folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                **loaded,
                **absent,
            )
        require_checked(pipeline.components, loaded, model=self._name)
        pipeline.set_progress_bar_config(disable=True)
        accelerate(
            [part for name in _HEAVY_PARTS if (part := getattr(pipeline, name, None)) is not None],
            channels_last=self.options.channels_last,
            compile=self.options.compile,
            backend=self.options.compile_backend,
        )
        if self.options.offload and device.type == "cuda":
            pipeline.enable_model_cpu_offload(device=device)
            return pipeline
        return pipeline.to(device)


def _encoded(picture: Image.Image) -> bytes:
    shown = picture.convert("RGB")
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    file = io.BytesIO()
    shown.save(file, "WEBP", quality=85)
    return file.getvalue()
