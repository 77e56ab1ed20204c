"""The request that a search would send, word for word."""

from __future__ import annotations

from typing import Any

from dar_search.cli.running.request_body import request_shown as composed
from dar_search.data import RewrittenQuery
from dar_search.method.retrieval import SearchOptions, search_request
from dar_search.ports import ImageIndex
from dar_search.settings import Settings


def request_shown(
    query: RewrittenQuery, options: SearchOptions, settings: Settings, index: ImageIndex
) -> dict[str, Any]:
    """From the index itself where it can say (its fields, its plugins, its shards decide), else from the settings."""
    described = getattr(index, "described", None)
    if described is not None:
        shown: dict[str, Any] = described(search_request(query, options))
        return shown
    return composed(query, options, settings, index.name)
