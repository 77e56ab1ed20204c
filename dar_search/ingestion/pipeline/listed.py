"""Listed items as JSON, as a ledger keeps them, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dar_search.ingestion.jobs.data import Listed
from dar_search.ingestion.sources.source import BadItem, SourceItem

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(SourceItem) if field.name != "cursor"}
_BINARY = frozenset(field.name for field in dataclasses.fields(SourceItem) if field.type == "bytes")


def packed(listed: SourceItem | BadItem) -> Listed:
    """What a source listed -> what goes into a ledger. A field that has its default value is left out."""
    if isinstance(listed, BadItem):
        return Listed(listed.id, {}, listed.failure)
    fields: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(listed, name)
        if value != default and (value or name != "metadata"):
            fields[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    return Listed(listed.id, fields)


def unpacked(item: Mapping[str, Any]) -> SourceItem:
    """The other way round. Raises KeyError, TypeError for what `packed` did not make."""
    fields = dict(item)
    for name in _BINARY & fields.keys():
        fields[name] = fields[name].encode("latin-1")
    if "metadata" in fields:
        fields["metadata"] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields["metadata"].items()
        }
    return SourceItem(**fields)
