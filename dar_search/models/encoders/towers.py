"""The Encoder port over two towers of any library: batches, normalisation, locking and lazy loading in one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import FloatArray, Provenance
from dar_search.errors import InputError, ModelFailed, SettingsError
from dar_search.models.acceleration import accelerate
from dar_search.models.devices import failures_named, resolve_device, resolve_dtype
from dar_search.models.lanes import Lanes
from dar_search.preparation import Preparation, own_shape

if TYPE_CHECKING:
    import torch

# No text averages more letters a token than this, and a tokenizer's cost grows faster than the length of a word.
_LETTERS_PER_TOKEN = 32


@dataclass(frozen=True, slots=True)
class TowersOptions:
    """How to run an encoder.

    Attributes:
        batch: texts or pictures of one forward pass.
        channels_last, compile, compile_backend: see `acceleration`.
    """

    batch: int = 64
    channels_last: bool = False
    compile: bool = False
    compile_backend: str = "inductor"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SettingsError("An encoder's batch is at least 1.", "Such as 64.")


DEFAULTS = TowersOptions()


class Towers(Protocol):
    """A loaded vision-language model. Results need no unit length, but one d."""

    @property
    def parts(self) -> Sequence[Any]:
        """The torch modules that do the work."""
        ...

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """n texts -> (n, d); cuts each to the model's context."""
        ...

    def pictures(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, height, width), normalised, on the towers' device and of their dtype -> (n, d)."""
        ...


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an encoder from its files' headers, without loading it.

    Attributes:
        mean, std: of each channel, in the range 0-1.
        load: makes the towers on a device, in a dtype; called once.
        whole: the towers take pictures one by one as (height, width, 3) uint8, by `whole_pictures`, for they are of
            their own shape, or because their library normalises them.
    """

    provenance: Provenance
    preparation: Preparation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    load: Callable[[torch.device, torch.dtype], Any]
    whole: bool = False


class TowersEncoder:
    """An Encoder whose card is read on first need, and whose towers are loaded on first encoding.

    Safe to call from several threads: one encodes at a time. Raises ModelError.
    """

    def __init__(
        self,
        card: Callable[[], Card],
        *,
        device: str = "auto",
        dtype: str = "auto",
        options: TowersOptions = DEFAULTS,
    ) -> None:
        """card: reads the configuration; device, dtype: as in the settings."""
        self._read_card = card
        self._device_name = device
        self._dtype_name = dtype
        self._options = options
        self._batch = options.batch
        self._lock = threading.RLock()
        self._lanes = Lanes()

    @property
    def provenance(self) -> Provenance:
        return self._card.provenance

    @property
    def preparation(self) -> Preparation:
        return self._card.preparation

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        with self._lock, failures_named(f"Encoding texts with {self.provenance.encoder}"):
            return self._unit_rows([self._texts(part) for part in _parts(texts, self._batch)])

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        prepare = self.preparation.prepare
        # Prepared a batch at a time: a caller may pass thousands of large pictures.
        parts = (np.stack([prepare(image) for image in part]) for part in _parts(images, self._batch))
        encoded = [self.encode_prepared(part) for part in parts]
        return np.concatenate(encoded) if encoded else self._unit_rows([])

    def encode_prepared(self, pixels: NDArray[np.uint8]) -> FloatArray:
        expected = (self.preparation.height, self.preparation.width, 3)
        if pixels.ndim != 4 or pixels.shape[1:] != expected or pixels.dtype != np.uint8:
            raise InputError(
                f"Prepared pictures are {pixels.dtype} {pixels.shape}, not uint8 (n, {', '.join(map(str, expected))}).",
                "Prepare them with the encoder's own preparation.",
            )
        with self._lock, failures_named(f"Encoding pictures with {self.provenance.encoder}"):
            return self._unit_rows([self._pictures(part) for part in _parts(pixels, self._batch)])

    def warm_up(self) -> None:
        """Load now what would otherwise be loaded at the first encoding."""
        self.encode_texts(["warm up"])

    @cached_property
    def _card(self) -> Card:
        with self._lock:
            return self._read_card()

    @cached_property
    def _device(self) -> torch.device:
        return resolve_device(self._device_name)

    @cached_property
    def _dtype(self) -> torch.dtype:
        return resolve_dtype(self._dtype_name, self._device)

    @cached_property
    def _towers(self) -> Towers:
        with failures_named(f"Loading {self.provenance.encoder}"):
            towers: Towers = self._card.load(self._device, self._dtype)
            accelerate(
                towers.parts,
                channels_last=self._options.channels_last,
                compile=self._options.compile,
                backend=self._options.compile_backend,
            )
            return towers

    def _normalised(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        import torch

        # The same arithmetic as torchvision's ToTensor and Normalize; the bytes travel to the device, not the floats.
        batch = torch.tensor(pixels).to(self._device).permute(0, 3, 1, 2).to(torch.float32).div(255)
        mean = torch.tensor(self._card.mean, device=self._device).view(1, 3, 1, 1)
        std = torch.tensor(self._card.std, device=self._device).view(1, 3, 1, 1)
        return batch.sub_(mean).div_(std).to(self._dtype)

    def _texts(self, texts: Sequence[str]) -> FloatArray:
        import torch

        with torch.inference_mode():
            rows: FloatArray = self._towers.texts(texts).float().cpu().numpy()
            return rows

    def _pictures(self, pixels: NDArray[np.uint8]) -> FloatArray:
        import torch

        towers = self._towers  # loaded here, not in a lane
        if self._device.type == "cpu":
            return self._lanes.batches(pixels, lambda part: self._features(towers, part))
        with torch.inference_mode():
            rows: FloatArray = self._features(towers, pixels).float().cpu().numpy()
            return rows

    def _features(self, towers: Any, pixels: NDArray[np.uint8]) -> torch.Tensor:
        if not self._card.whole:
            return towers.pictures(self._normalised(pixels))  # type: ignore[no-any-return]
        shape = self.preparation
        pictures = [own_shape(one, shape.step) for one in pixels] if shape.keeps_ratio else list(pixels)
        return towers.whole_pictures(pictures)  # type: ignore[no-any-return]

    def _unit_rows(self, batches: Sequence[FloatArray]) -> FloatArray:
        dimension = self.provenance.dimension
        rows = np.concatenate(batches) if batches else np.empty((0, dimension), np.float32)
        if rows.ndim != 2 or rows.shape[1] != dimension:
            raise ModelFailed(f"{self.provenance.encoder} gave embeddings of shape {rows.shape}, not (n, {dimension}).")
        return unit_rows(rows, self.provenance.encoder)


def unit_rows(rows: FloatArray, model: str) -> FloatArray:
    """(n, d) -> the same directions at unit length, float32. Raises ModelFailed for a row that has no direction."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths)) or np.any(lengths == 0):
        raise ModelFailed(f"{model} gave an embedding that is not finite, or zero.", "Try dtype float32.")
    return np.ascontiguousarray(rows / lengths, dtype=np.float32)


def cut(text: str, tokens: int) -> str:
    """A text, its white space folded, without what is beyond `tokens` tokens in any case."""
    return " ".join(text.split())[: tokens * _LETTERS_PER_TOKEN]


def _parts(whole: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
