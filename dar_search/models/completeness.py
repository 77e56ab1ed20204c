"""Whether a checkpoint had all that a model needs, by the loading library's own report.

transformers, diffusers and open_clip fill what a checkpoint lacks with random numbers, and drop what it has too much,
each with a note at most: vectors of such a model differ from process to process.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from dar_search.errors import ModelFailed, WeightsMissing
from dar_search.models import weights

# What classes once saved and now compute: older checkpoints still carry it.
_COMPUTED = re.compile(r"(^|\.)(position_ids|inv_freq|masked_bias|causal_attention_mask|num_batches_tracked)$")


def require_complete(
    report: Mapping[str, Any], *, model: str, kind: str, saved_as: Sequence[str] = (), buffers: Collection[str] = ()
) -> None:
    """Refuses a model that a library completed, or that has weights which it dropped.

    Args:
        report: "missing_keys", "unexpected_keys" and "mismatched_keys", as `output_loading_info=True` gives them; tied
            weights are no missing ones there.
        kind: the class that was loaded; saved_as: those that the checkpoint's configuration names.
        buffers: names of what the class computes itself, and a checkpoint may have all the same.

    Raises WeightsMissing for missing weights, ModelFailed for those of another shape or without a place.
    """
    other = [name for name in saved_as if name != kind]
    is_other = f" Its configuration says {other[0]}." if other else ""
    missing = sorted(map(str, report["missing_keys"]))
    if missing:
        raise WeightsMissing(
            f"{model} lacks {_some(missing)} of {kind}; the library would fill in random numbers.{is_other}",
            f"Choose a whole checkpoint of {kind}, or fetch the model again.",
        )
    mismatched = [tuple(one) for one in report["mismatched_keys"] if not _COMPUTED.search(str(one[0]))]
    if mismatched:
        name, there, wanted = min(mismatched, key=lambda one: str(one[0]))
        raise ModelFailed(
            f"{model} has {len(mismatched)} weights of another shape than its configuration says (size mismatch): "
            f"{name} is {tuple(there)}, not {tuple(wanted)}.",
            "Is config.json of another model? Fetch the model again.",
        )
    over = sorted(
        str(name) for name in report["unexpected_keys"] if name not in buffers and not _COMPUTED.search(str(name))
    )
    if over:
        raise ModelFailed(
            f"{model} has {_some(over)} for which {kind} has no place; the library would leave them out.{is_other}",
            f"Choose a checkpoint that was saved as {kind}, or a newer release of the library if the model is newer.",
        )


def load_part(kind: Any, where: Path, dtype: Any, *, model: str, variant: str | None = None) -> Any:
    """A part of a diffusion model, of a class of diffusers or transformers, that has all its weights from its folder.

    Raises WeightsMissing, ModelFailed, UnsafeWeights.
    """
    weights.check(where, model=f"{model}'s {where.name}")
    part, report = kind.from_pretrained(
        where,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **({"variant": variant} if variant else {}),
    )
    saved_as = [str(name) for name in _saved_as(where)]
    require_complete(
        report, model=f"{model}'s {where.name}", kind=kind.__name__, saved_as=saved_as, buffers=buffers(part)
    )
    return part


def _saved_as(where: Path) -> Sequence[Any]:
    config = weights.read_config(where / "config.json")
    named = config.get("architectures") or [config.get("_class_name", "")]
    return [name for name in named if name]


def buffers(module: Any) -> frozenset[str]:
    """The names of what a torch module computes or keeps besides its weights."""
    return frozenset(name for name, _ in module.named_buffers())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} weights ({shown}{', ...' if len(names) > 3 else ''})"
