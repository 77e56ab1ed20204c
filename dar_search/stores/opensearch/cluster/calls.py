"""One way to call a cluster: every request goes through `Cluster.send`, which maps what goes wrong."""

from __future__ import annotations

import logging
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import tenacity
from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException, TransportError

from dar_search.answering.time_limits import limited
from dar_search.errors import DarError, IndexNotFound, StoreForbidden, StoreUnavailable
from dar_search.stores.callers import caller_authorization
from dar_search.stores.opensearch.cluster.errors import mapped
from dar_search.stores.opensearch.cluster.forms import BLOCKS

_LOG = logging.getLogger(__name__)
# Seconds of one request; all others have the client's own limit (opensearch.timeout).
WRITE_TIMEOUT = 120.0
REFRESH_TIMEOUT = 600.0  # builds the graph of all that was written since the last one
_PARTS = {"_msearch": "responses", "_mget": "docs"}  # requests of several reads -> where their answers are
READ_PATIENCE = 5.0  # seconds that a read outlasts a cluster that is not there


class Cluster:
    """A cluster's client, with one place for errors, time-outs and patience. Safe to use from several threads.

    Attributes:
        retry_seconds: how long a write outlasts a cluster that is not there.
    """

    def __init__(self, client: OpenSearch, *, retry_seconds: float) -> None:
        self._client = client
        self.retry_seconds = retry_seconds

    def send(
        self, method: str, path: str, body: bytes | None = None, *, seconds: float | None = None, **params: Any
    ) -> Any:
        """One request; the answer's JSON. Raises StoreError: StoreUnavailable where another try may work. A request of
        several reads fails where one of them does."""
        try:
            return self._send(method, path, body, seconds, params)
        except IndexNotFound:
            # A node that has just started says so of every index, until it has read what there is from its disk.
            if self._is_starting():
                raise StoreUnavailable("The cluster is starting.", "Try again in a few seconds.") from None
            return self._send(method, path, body, seconds, params)

    def _send(self, method: str, path: str, body: bytes | None, seconds: float | None, params: dict[str, Any]) -> Any:
        caller = caller_authorization()
        headers = None if caller is None else {"authorization": caller}
        try:
            answer = self._client.transport.perform_request(
                method, path, params=dict(params), body=body, timeout=seconds, headers=headers
            )
        except OpenSearchException as error:
            raise mapped(error) from error
        _refuse_failed_part(_PARTS.get(path.rpartition("/")[2], ""), answer)
        return answer

    def _is_starting(self) -> bool:
        """Where the caller may not ask this, the cluster's first answer stands."""
        try:
            answer = self._send("GET", "/_cluster/state/blocks", None, None, {"filter_path": "blocks.global"})
        except StoreForbidden:
            return False
        blocks = BLOCKS.read(answer).get("blocks", {}).get("global", {})
        return any(block.get("retryable") for block in blocks.values())

    def read(self, method: str, path: str, body: bytes | None = None, **params: Any) -> Any:
        """`send`, again and again for a short while where the cluster is away or busy: for what changes nothing."""
        for attempt in patiently(min(READ_PATIENCE, self.retry_seconds)):
            with attempt:
                answer = self.send(method, path, body, **params)
        return answer

    def close(self) -> None:
        self._client.close()


def patiently(seconds: float) -> Iterator[AbstractContextManager[Any]]:
    """Attempts at something that may raise StoreUnavailable, for so long, with growing pauses and jitter; no longer
    than the answer is of use (see `time_limits`)."""
    deadline = time.monotonic() + limited(seconds)
    pause = tenacity.wait_exponential(multiplier=0.1, max=3.0) + tenacity.wait_random(0, 0.5)
    said = False

    def worth_another(error: BaseException) -> bool:
        nonlocal said
        if not isinstance(error, StoreUnavailable) or time.monotonic() >= deadline:
            return False
        if not said:
            _LOG.warning("%s Trying again for up to %.0f s.", error.message, seconds)
            said = True
        return True

    yield from tenacity.Retrying(
        retry=tenacity.retry_if_exception(worth_another),
        wait=lambda state: limited(pause(state)),
        reraise=True,
    )


def _refuse_failed_part(parts: str, answer: Any) -> None:
    """Raises as `mapped_part`. What has another form is refused where it is read (`forms`)."""
    found = answer.get(parts) if isinstance(answer, Mapping) else None
    for part in found if isinstance(found, list) else ():
        if isinstance(part, Mapping) and "error" in part:
            status, error = part.get("status", 500), part["error"]
            raise mapped_part(
                status if isinstance(status, int) else 500, error if isinstance(error, Mapping) else {"reason": error}
            )


def quoted(name: str) -> str:
    """An index's name in a path."""
    return urllib.parse.quote(name, safe="")


def mapped_part(status: int, error: Mapping[str, Any]) -> DarError:
    """The error of one part of an answer (a bulk item, a search of several), as if it were the whole answer."""
    return mapped(TransportError(status, str(error.get("type", "")), {"error": error, "status": status}))
