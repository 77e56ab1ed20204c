"""The public names of `method.rewriting`, where the method stands on one screen."""

from dar_search.method.rewriting import (
    MAX_IMAGINATIONS,
    RELEASED,
    ImaginationOptions,
    check_words,
    imagine,
    joined,
    reformulate,
    rewrite,
    unweighted,
)

__all__ = [
    "MAX_IMAGINATIONS",
    "RELEASED",
    "ImaginationOptions",
    "check_words",
    "imagine",
    "joined",
    "reformulate",
    "rewrite",
    "unweighted",
]
