"""Conversational image search for OpenSearch: DAR, Diffusion Augmented Retrieval (SIGIR 2025)."""

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
