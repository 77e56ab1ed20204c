"""A service's log: one JSON object a line on standard error, with the request's id, without secrets.

Standard `logging` calls and structlog's go the same way. A record's fields come as `extra={"fields": {...}}`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import orjson
import structlog

from dar_search.serving.request_ids import current_request_id
from dar_search.settings.masking import masked
from dar_search.settings.service import ServiceSettings

Event = MutableMapping[str, Any]


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
        [structlog.processors.dict_tracebacks, _masked, structlog.processors.JSONRenderer(serializer=_dumped)]
        if service.log_format == "json"
        else [structlog.processors.format_exc_info, _masked, structlog.dev.ConsoleRenderer(colors=False)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ("dar_search", "dar_ingest", "dar_query_rewriter", "gunicorn"):
        logging.getLogger(name).setLevel(service.log_level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


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


def _masked(logger: Any, method: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = masked(value)
    return event


def _dumped(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
