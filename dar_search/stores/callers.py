"""On whose behalf a cluster is asked: its own credentials of the settings, or a caller's that came with a request.

A context variable, not an argument: it must reach every request that a search makes, through the port's methods, which
know nothing of credentials. Threads that a request starts get it with the rest of its context (see `crews`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SECRET = secrets.token_bytes(32)  # so that what is kept by a caller holds no credentials, nor a digest of them
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


def caller_key() -> bytes | None:
    """By which things are kept that a cluster said, since what it says depends on who asks; None: the settings' own."""
    caller = caller_authorization()
    return None if caller is None else hashlib.blake2b(caller.encode(), key=_SECRET, digest_size=16).digest()
