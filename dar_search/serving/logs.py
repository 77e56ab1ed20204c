"""A service's log: one JSON object a line on standard error, with the request's id, without secrets.

Standard `logging` calls and structlog's go the same way. A record's fields come as `extra={"fields": {...}}`. Of an
exception the log has its types and places, and a system's error by its name. Its words and variables may be what people
said: they are in no log.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, TextIO

import orjson
import structlog

from dar_search.serving.request_ids import current_request_id
from dar_search.settings.masking import masked
from dar_search.settings.service import ServiceSettings

Event = MutableMapping[str, Any]
_LOG = logging.getLogger(__name__)
_MOST_CAUSES, _MOST_PLACES = 10, 50


def configure_logs(service: ServiceSettings, stream: TextIO | None = None) -> None:
    """Send all logging of this process through one formatter."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _fields_merged,
        _with_request_id,
    ]
    renderer: list[Any] = (
        [structlog.processors.JSONRenderer(serializer=_dumped)]
        if service.log_format == "json"
        else [_joined, structlog.dev.ConsoleRenderer(colors=False)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _traced, _masked, *renderer],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Else Python itself writes to standard error what ends a thread, and what cannot be logged: words and all.
    threading.excepthook = _thread_ended
    sys.unraisablehook = lambda failed: _LOG.error("An object was not put away.", exc_info=failed.exc_value)
    logging.raiseExceptions = False
    for name in ("dar_search", "dar_ingest", "dar_query_rewriter", "gunicorn"):
        logging.getLogger(name).setLevel(service.log_level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if not issubclass(ended.exc_type, SystemExit):
        _LOG.error("A thread ended.", exc_info=ended.exc_value)


def _fields_merged(logger: Any, method: str, event: Event) -> Event:
    record = event.get("_record")
    fields = getattr(record, "fields", None)
    if isinstance(fields, dict):
        event.update(fields)
    return event


def _with_request_id(logger: Any, method: str, event: Event) -> Event:
    if current := current_request_id():
        event.setdefault("request_id", current)
    return event


def _traced(logger: Any, method: str, event: Event) -> Event:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = list(_shown(error))
    return event


def _joined(logger: Any, method: str, event: Event) -> Event:
    if "exception" in event:
        event["exception"] = "\n".join(event["exception"])
    return event


def _shown(error: BaseException | None) -> Iterator[str]:
    """A line for the error and one for each place, the innermost last; then the same for what it came of."""
    for _ in range(_MOST_CAUSES):
        if error is None:
            return
        system = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
        yield f"{type(error).__module__}.{type(error).__qualname__} {system}".rstrip()
        for frame, line in list(traceback.walk_tb(error.__traceback__))[-_MOST_PLACES:]:
            yield f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _masked(logger: Any, method: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = masked(value)
    return event


def _dumped(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
