"""Conversational image search for OpenSearch: DAR, Diffusion Augmented Retrieval (SIGIR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dar_search.data import (
        Dialogue,
        Hit,
        ImageRecord,
        Imagination,
        Reformulation,
        RewrittenQuery,
        Turn,
    )
    from dar_search.errors import DarError

__version__ = "0.1.0"

__all__ = [
    "DarError",
    "Dialogue",
    "Hit",
    "ImageRecord",
    "Imagination",
    "Reformulation",
    "RewrittenQuery",
    "Turn",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Names are looked up when they are first used: a decoder process, which has no use for NumPy, starts with this
    package, and loading NumPy would be most of its start."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dar_search import data, errors

    return getattr(errors if name == "DarError" else data, name)
