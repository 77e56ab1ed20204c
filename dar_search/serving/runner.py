"""Serving an app: gunicorn with threads, one worker process, an admin port, and an orderly end.

There is one worker: its models, its cache and its metrics are one, and scale is more containers. The app is made in the
worker, after the fork, since threads and connections do not outlive one.
"""

from __future__ import annotations

import logging
import math
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from prometheus_client import start_http_server

from dar_search.errors import DarError, SettingsError
from dar_search.serving import wsgi
from dar_search.serving.gunicorn_worker import GracefulWorker
from dar_search.serving.logs import configure_logs
from dar_search.serving.metrics import Metrics
from dar_search.settings.service import ServiceSettings

_LOG = logging.getLogger(__name__)
_LOADING_SECONDS = 300
_KEEP_ALIVE_SECONDS = 15
_BOOT_FAILED = 3  # gunicorn's own status for a worker that cannot start: the whole service ends with it


@dataclass(frozen=True)
class Served:
    """What the runner serves.

    Attributes:
        app: with all its layers.
        metrics: what the admin port shows.
        close: called when the last request is answered.
    """

    app: wsgi.Application
    metrics: Metrics
    close: Callable[[], None]


@dataclass(frozen=True)
class Listening:
    """Where a service listens. port: 0 for any free one. admin_port: 0 for none."""

    host: str
    port: int
    admin_host: str
    admin_port: int
    threads: int


def run_service(
    make: Callable[[], Served],
    listening: Listening,
    service: ServiceSettings,
    *,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests that are running then may take `service.graceful_seconds` more.

    Args:
        make: makes the app, in the worker. A DarError that it raises is printed and ends the service.
        on_ready: called with the address, http://host:port, when it is open (the app may still be loading).

    Raises SettingsError where a port cannot be had, SystemExit when the service has ended.
    """
    _check_free(listening.admin_host, listening.admin_port, "The admin port")
    listener = _bound(listening.host, listening.port)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    options: dict[str, Any] = {
        # gunicorn takes the socket over by its number: no moment in which another process can take the port.
        "bind": [f"fd://{listener.detach()}"],
        "workers": 1,
        "worker_class": GracefulWorker,
        "threads": listening.threads,
        "timeout": _LOADING_SECONDS,
        "graceful_timeout": math.ceil(service.graceful_seconds),
        "keepalive": _KEEP_ALIVE_SECONDS,
        "logger_class": _Logger,
        "control_socket_disable": True,
        "when_ready": lambda arbiter: on_ready(f"http://{shown}:{port}"),
    }
    _Gunicorn(make, listening, service, options).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    def __init__(
        self, make: Callable[[], Served], listening: Listening, service: ServiceSettings, options: dict[str, Any]
    ) -> None:
        self._make, self._listening, self._service, self._options = make, listening, service, options
        self._served: Served | None = None
        self._admin: Any = None
        configure_logs(service)
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)
        self.cfg.set("worker_exit", lambda arbiter, worker: self._close())

    def load(self) -> wsgi.Application:
        """In the worker: the app, and the admin port beside it."""
        try:
            self._served = self._make()
            where = self._listening
            if where.admin_port:
                registry = self._served.metrics.registry
                self._admin, _ = start_http_server(where.admin_port, where.admin_host, registry)
        except DarError as error:
            _LOG.error("%s", error)
            sys.exit(_BOOT_FAILED)
        except OSError as error:
            _LOG.error("The admin port %d cannot be opened: %s.", self._listening.admin_port, error.strerror)
            sys.exit(_BOOT_FAILED)
        return self._served.app

    def _close(self) -> None:
        if self._admin is not None:
            self._admin.shutdown()
            self._admin.server_close()
        if self._served is not None:
            self._served.close()


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's messages go where all others go; requests are logged by `recording`."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True
        self.error_log.handlers.clear()
        self.access_log.handlers.clear()
        self.access_log.disabled = True


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingsError(
            f"The service cannot listen on {host}, port {port}: {error.strerror}.", "Choose another: --port 0 is any."
        ) from error
    listener.listen(2048)
    return listener


def _check_free(host: str, port: int, what: str) -> None:
    """Raises SettingsError now, where somebody sees it, and not in the worker."""
    if port:
        try:
            _bound(host, port).close()
        except SettingsError as error:
            raise SettingsError(f"{what}: {error.message}", "Choose another, or 0 for none.") from None
