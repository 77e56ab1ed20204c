"""Bulk requests: a few MB each, several under way, each item's fate known, only what may yet work sent again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from dar_search.errors import DarError, StoreUnavailable
from dar_search.fault_points import reached
from dar_search.stores.opensearch_calls import WRITE_TIMEOUT, Cluster, mapped_part, patiently

SUPERSEDED = "version_conflict_engine_exception"  # a later write or delete has been there
STRICT = "strict_dynamic_mapping_exception"
_ACTIONS = ("index", "delete")
_FILTER_PATH = ",".join(f"items.{action}.{part}" for action in _ACTIONS for part in ("status", "error"))


@dataclass(frozen=True, slots=True)
class Action:
    """One item of a bulk request: its lines, ended by a newline."""

    id: str
    lines: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that the index will never take as it is: the server's type of error, and its reason."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a bulk write's items, by id. found: of deletes, those that were there."""

    refused: dict[str, Refused]
    found: set[str]


class BulkWriter:
    """Sends actions to an index. Safe to use from several threads, which share the requests under way.

    Args:
        request_bytes: a request's body grows until it has so many.
        in_flight: requests under way at once, over all calls.
    """

    def __init__(self, cluster: Cluster, *, request_bytes: int, in_flight: int) -> None:
        self._cluster = cluster
        self._request_bytes = request_bytes
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def write(self, target: str, actions: Iterable[Action]) -> Outcome:
        """Sends all actions to the alias `target`; ids are unique. What it acknowledges is durable.

        The next body is put together while others are under way. Raises StoreUnavailable if some are still not
        acknowledged when the patience for the cluster is at its end, and what makes all the rest hopeless
        (IndexNotFound, StoreForbidden). Actions may then have been carried out: sending all of them again is harmless.
        """
        outcome = Outcome({}, set())
        pending: set[Future[Outcome]] = set()
        try:
            for body in _bodies(actions, self._request_bytes):
                if len(pending) > self._in_flight:
                    pending = _gather(pending, outcome)
                pending.add(self._threads().submit(self._write_body, target, body))
                reached("mid_write")
            while pending:
                pending = _gather(pending, outcome)
        finally:
            for future in pending:
                future.cancel()
            wait(pending)
        return outcome

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._in_flight, thread_name_prefix="dar-bulk")
            return self._pool

    def _write_body(self, target: str, body: Sequence[Action]) -> Outcome:
        outcome = Outcome({}, set())
        pending: Sequence[Action] = body
        for attempt in patiently(self._cluster.retry_seconds):
            with attempt:
                pending, error = self._send(target, pending, outcome)
                if error is not None:
                    raise StoreUnavailable(f"{len(pending)} pictures are not written yet. {error.message}", error.hint)
        return outcome

    def _send(
        self, target: str, actions: Sequence[Action], outcome: Outcome
    ) -> tuple[Sequence[Action], StoreUnavailable | None]:
        """Sends once; the actions that may yet work, and why they did not."""
        answer = self._cluster.send(
            "POST",
            f"/{target}/_bulk",
            b"".join(action.lines for action in actions),
            seconds=WRITE_TIMEOUT,
            require_alias="true",
            filter_path=_FILTER_PATH,
        )
        again: list[Action] = []
        why: StoreUnavailable | None = None
        for action, item in zip(actions, answer["items"], strict=True):
            ((kind, result),) = item.items()
            if "error" not in result:
                if kind == "delete" and result["status"] == 200:
                    outcome.found.add(action.id)
                continue
            if result["error"]["type"] == SUPERSEDED:
                continue
            error = _item_error(result)
            if isinstance(error, StoreUnavailable):
                again.append(action)
                why = error
            else:
                outcome.refused[action.id] = Refused(result["error"]["type"], _reason(result["error"]))
        return again, why


def _item_error(result: dict[str, Any]) -> DarError | None:
    """The item's error; raises it if it is one of the whole index. A bad document is one of its own."""
    error = mapped_part(result["status"], result["error"])
    if result["status"] in (400, 413) or isinstance(error, StoreUnavailable):
        return error
    raise error


def _reason(error: dict[str, Any]) -> str:
    cause = error.get("caused_by") or {}
    return ": ".join(part for part in (error.get("reason"), cause.get("reason")) if part)[:500]


def _bodies(actions: Iterable[Action], limit: int) -> Iterator[list[Action]]:
    body: list[Action] = []
    size = 0
    for action in actions:
        if body and size + len(action.lines) > limit:
            yield body
            body, size = [], 0
        body.append(action)
        size += len(action.lines)
    if body:
        yield body


def _gather(pending: set[Future[Outcome]], outcome: Outcome) -> set[Future[Outcome]]:
    """Waits for at least one; adds what has ended to the outcome. Raises what one raised."""
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        part = future.result()
        outcome.refused.update(part.refused)
        outcome.found.update(part.found)
    return rest
