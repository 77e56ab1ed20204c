"""Every request has an id: the caller's own (X-Request-Id) where it is a plain one, else a new one."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-Id"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
_current: ContextVar[str] = ContextVar("dar_request_id", default="")


def request_id_from(given: str) -> str:
    """The caller's id if nothing in it can harm a log or a header, else a new one."""
    return given if _PLAIN.fullmatch(given) else uuid.uuid4().hex


def current_request_id() -> str:
    """The id of the request that this thread (or a leg that it started) answers; "" outside of one."""
    return _current.get()


def set_request_id(request_id: str) -> None:
    """From here on in this context, `current_request_id` is this."""
    _current.set(request_id)
