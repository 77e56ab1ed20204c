"""Where a model runs and in which number format. The settings' words become torch's on first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dar_search.errors import DarError, ModelFailed, ModelOutOfMemory, SettingsError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """auto, cpu, cuda, cuda:N or mps -> a device that is there. Raises SettingsError."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"There is no device {name!r}.", "Choose auto, cpu, cuda, cuda:NUMBER or mps.") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise SettingsError(f"This machine has no device {name!r}.", "Choose another with --device or DAR_DEVICE.")
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """auto, float32, bfloat16 or float16 -> a dtype.

    auto: bfloat16 on a GPU that has it in hardware, else float16 there; float32 elsewhere, because few CPUs gain
    by less, and the small models that run on one lose.
    """
    import torch

    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise SettingsError(f"There is no number format {name!r}.", f"Choose auto, {', '.join(dtypes)}.")
    return dtypes[name]


@contextmanager
def failures_named(doing: str) -> Iterator[None]:
    """What a model library raises inside becomes a ModelError that says what was being done."""
    try:
        yield
    except DarError:
        raise
    except MemoryError as error:
        raise ModelOutOfMemory(f"{doing} ran out of memory.", "Use a smaller model or batch.") from error
    except Exception as error:  # a model library may raise anything
        if _out_of_memory(error):
            hint = "Use a smaller model, a smaller batch or picture, or a device with more memory."
            raise ModelOutOfMemory(f"{doing} ran out of the device's memory.", hint) from error
        raise ModelFailed(f"{doing} failed: {type(error).__name__}: {str(error)[:500]}") from error


def _out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
