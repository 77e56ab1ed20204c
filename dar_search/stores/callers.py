"""On whose behalf a cluster is asked: its own credentials of the settings, or a caller's that came with a request.

A context variable, not an argument: it must reach every request that a search makes, through the port's methods, which
know nothing of credentials. Threads that a request starts get it with the rest of its context (see `crews`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_authorization: ContextVar[str | None] = ContextVar("dar_caller_authorization", default=None)


@contextmanager
def acting_for(authorization: str) -> Iterator[None]:
    """While it lasts, requests to a cluster carry this Authorization header in place of the settings' credentials."""
    token = _authorization.set(authorization)
    try:
        yield
    finally:
        _authorization.reset(token)


def caller_authorization() -> str | None:
    """The Authorization header to send; None: as the settings say."""
    return _authorization.get()
