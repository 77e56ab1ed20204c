"""The indices that the service serves, opened once and kept, each checked against the encoder."""

from __future__ import annotations

import fnmatch
import threading
import time

from dar_search.data import Provenance
from dar_search.errors import IndexNotFound, RequestError, SettingsError
from dar_search.ports import ImageIndex, Store
from dar_search.settings.service import QuerySettings

_AGE_SECONDS = 30.0  # then an index is opened again: it may have been made anew, with other vectors
_MOST_KEPT = 1_000


def check_served(query: QuerySettings, store: str) -> None:
    """Raises SettingsError where the settings do not say whose rights hold.

    store: the store's address. An embedded store has no rights of its own: it is the user's own file, and all of its
    indices are served unless some are named.
    """
    embedded = store.startswith("sqlite:")
    if query.credentials == "caller" and embedded:
        raise SettingsError("An embedded store takes no credentials.", "Set query.credentials to own.")
    if query.credentials == "own" and not query.served_indices and not embedded:
        raise SettingsError(
            "The settings do not say which indices to serve with the service's own credentials.",
            'Name them with --index NAME (or "*" for all), or search with the callers\' own: --credentials caller.',
        )


class ServedIndices:
    """Opens indices by name. Safe for many threads."""

    def __init__(self, store: Store, provenance: Provenance, query: QuerySettings) -> None:
        self._store, self._provenance = store, provenance
        self._patterns = query.served_indices or ("*",)
        self._kept: dict[str, tuple[float, ImageIndex]] = {}
        self._lock = threading.Lock()

    def name(self, asked: str | None) -> str:
        """The index's name. Raises RequestError where none is named and several are served, and IndexNotFound, the
        same whether there is such an index or not, for one that is not served."""
        if asked is None:
            if len(self._patterns) == 1 and not set(self._patterns[0]) & set("*?["):
                return self._patterns[0]
            raise RequestError("The request names no index.", 'Say which: "index": "NAME".')
        if not any(fnmatch.fnmatchcase(asked, pattern) for pattern in self._patterns):
            raise _not_here(asked)
        return asked

    def open(self, asked: str | None) -> ImageIndex:
        """Raises as `name`; and IndexNotFound, EncoderMismatch and StoreError as the store does."""
        name = self.name(asked)
        with self._lock:
            kept = self._kept.get(name)
        if kept is not None and time.monotonic() - kept[0] < _AGE_SECONDS:
            return kept[1]
        try:
            index = self._store.open(name, self._provenance)
        except IndexNotFound:
            raise _not_here(name) from None  # the store's own error names the others that there are
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[name] = (time.monotonic(), index)
        return index


def _not_here(name: str) -> IndexNotFound:
    return IndexNotFound(f'There is no index "{name[:80]}" here.', "Ask the operator which are served.")
