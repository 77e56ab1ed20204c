"""The indices that the service serves, opened once for each caller and kept, each checked against the encoder."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import OrderedDict

from dar_search.data import Provenance
from dar_search.errors import IndexNotFound, RequestError, SettingsError, Unauthenticated
from dar_search.ports import ImageIndex, Store
from dar_search.settings.cluster_access import ClusterAccess
from dar_search.settings.service import QuerySettings
from dar_search.stores.callers import caller_key

_AGE_SECONDS = 30.0  # then an index is opened again: it may have been made anew, with other vectors
_MOST_KEPT = 1_000
_OF_A_CONNECTION = ("ntlm", "negotiate")


def check_served(query: QuerySettings, store: str, access: ClusterAccess | None = None) -> None:
    """Raises SettingsError where the settings do not say whose rights hold.

    access: how the store is reached, where it is a cluster.

    store: the store's address. An embedded store has no rights of its own: it is the user's own file, and all of its
    indices are served unless some are named.
    """
    embedded = store.startswith("sqlite:")
    if query.credentials == "caller" and embedded:
        raise SettingsError("An embedded store takes no credentials.", "Set query.credentials to own.")
    if query.credentials == "caller" and access is not None:
        _check_own(access)
    if query.credentials == "own" and not query.served_indices and not embedded:
        raise SettingsError(
            "The settings do not say which indices to serve with the service's own credentials.",
            'Name them with --index NAME (or "*" for all), or search with the callers\' own: --credentials caller.',
        )


def _check_own(access: ClusterAccess) -> None:
    """Raises SettingsError for what a connection, or each of its requests, would say of the service itself."""
    if access.client_certificate is not None:
        raise SettingsError(
            "With query.credentials = caller there can be no opensearch.client_certificate: everybody would have its "
            "rights, since it holds for the connection, whatever a caller's own credentials are.",
            "Unset it, or search with the service's own credentials.",
        )
    if access.aws_region is not None:
        raise SettingsError(
            "With query.credentials = caller there can be no opensearch.aws_region: what callers ask would be signed "
            "as the service's own.",
            "Unset it, or search with the service's own credentials.",
        )


def check_credentials(authorization: str) -> None:
    """Raises Unauthenticated for a header Authorization that is none of one request by itself."""
    hint = "Send them in the header Authorization: Basic, Bearer or ApiKey."
    scheme = authorization.partition(" ")[0].lower()
    if not authorization:
        raise Unauthenticated("The request has no credentials for the cluster.", hint)
    if not (authorization.isascii() and authorization.isprintable()):
        raise Unauthenticated("The request's credentials for the cluster have characters that no header takes.", hint)
    if scheme in _OF_A_CONNECTION:  # the connections to the cluster are all callers'
        raise Unauthenticated(f"Credentials of the kind {scheme} hold for a connection, not for a request.", hint)


class ServedIndices:
    """Opens indices by name, as whoever asks may (see `stores.callers`). Safe for many threads."""

    def __init__(self, store: Store, provenance: Provenance, query: QuerySettings) -> None:
        self._store, self._provenance = store, provenance
        self._patterns = query.served_indices or ("*",)
        self._kept: OrderedDict[tuple[bytes | None, str], tuple[float, ImageIndex]] = OrderedDict()
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
        key = (caller_key(), name)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < _AGE_SECONDS:
            return kept[1]
        try:
            index = self._store.open(name, self._provenance)
        except IndexNotFound:
            raise _not_here(name) from None  # the store's own error names the others that there are
        with self._lock:
            self._kept[key] = (time.monotonic(), index)
            self._kept.move_to_end(key)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return index


def _not_here(name: str) -> IndexNotFound:
    return IndexNotFound(f'There is no index "{name[:80]}" here.', "Ask the operator which are served.")
