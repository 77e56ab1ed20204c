"""Opening a source: its name and its options are checked here, and the kind that it is of makes it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from dar_search.errors import SourceError
from dar_search.ingestion.sources.kinds import opened
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import Source, SourceOptions
from dar_search.settings.masking import has_login


def open_source(target: str | os.PathLike[str] | bytes, *, outside: Outside | None = None, **options: Any) -> Source:
    """A folder, a list, tar shards, a file: URI of one, or another kind of `kinds.KINDS` -> its source.

    Args:
        target: a path, a file: URI, an http(s) URL of a list, or opensearch:INDEX.
        outside: how the web and clusters are reached; None: the web alone, with the default settings.
        options: of `SourceOptions`.

    Raises:
        SourceError: there is no such thing, it cannot be read, or it is of a kind that is not read.
        TypeError: there is no such option.
    """
    if not _can_be_a_name(target):
        raise SourceError("The source has characters that no path and no address has.", "Correct its name.")
    checked = _checked(SourceOptions(**options))
    if has_login(checked.source_store):
        raise SourceError(
            "The address of the source's store has a user or password in it, and would be kept with every record.",
            "Write them into a profile, and name it: profile:NAME.",
        )
    return opened(target, checked, outside)


def exclusions(target: str, everywhere: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """A source's patterns: the settings' (an index's documents have no names for them), and those given with it."""
    return tuple(given) if target.startswith("opensearch:") else (*everywhere, *given)


def _checked(options: SourceOptions) -> SourceOptions:
    """With lists as tuples. Raises SourceError for a value of another type."""
    values: dict[str, Any] = {}
    for one in dataclasses.fields(SourceOptions):
        value = getattr(options, one.name)
        if isinstance(one.default, tuple):
            value = (value,) if isinstance(value, str) else value
            right = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
            value = tuple(value) if right else value
        else:
            right = type(value) is type(one.default)
        if not right:
            kinds = {bool: "true or false", str: "text", tuple: "a list of texts"}
            raise SourceError(f'The source\'s option "{one.name}" is {kinds[type(one.default)]}.', "Correct it.")
        values[one.name] = value
    return SourceOptions(**values)


def _can_be_a_name(target: str | os.PathLike[str] | bytes) -> bool:
    try:
        return b"\0" not in os.fsencode(target)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
