"""The public name of `method.retrieval`: a rewritten query -> hits, explained."""

from dar_search.method.retrieval import SearchOptions, search

__all__ = ["SearchOptions", "search"]
