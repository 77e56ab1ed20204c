"""Opening stores and indices for a command, and closing them again."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

from dar_search.bootstrap import open_store
from dar_search.data import Provenance
from dar_search.errors import IndexNotFound
from dar_search.ports import ImageIndex, Store
from dar_search.settings import Settings


@contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store of the settings, closed afterwards."""
    store = open_store(settings.store, settings)
    try:
        yield store
    finally:
        store.close()


def opened_index(store: Store, name: str, provenance: Provenance | None = None) -> ImageIndex:
    """An index by name. Raises IndexNotFound, with the names that are near."""
    try:
        return store.open(name, provenance)
    except IndexNotFound as error:
        names = store.names()
        near = difflib.get_close_matches(name, names, 3, 0.5)
        if near:
            hint = f"Did you mean {' or '.join(near)}?"
        elif names:
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            hint = f"There are: {shown}."
        else:
            hint = f"Make it with: dar ingest FOLDER --index {name}"
        raise IndexNotFound(error.message, hint) from None
