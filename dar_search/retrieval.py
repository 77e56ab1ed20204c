"""The public names of `method.retrieval`: a rewritten query -> hits, explained."""

from dar_search.method.retrieval import (
    SearchOptions,
    describe,
    describe_hit,
    describe_legs,
    describe_reformulation,
    describe_result,
    reaching,
    search,
    search_request,
)

__all__ = [
    "SearchOptions",
    "describe",
    "describe_hit",
    "describe_legs",
    "describe_reformulation",
    "describe_result",
    "reaching",
    "search",
    "search_request",
]
