"""Serving an app: gunicorn with threads, one worker process, an admin port, and an orderly end.

There is one worker: its models, its cache and its metrics are one, and scale is more containers. The app is made in the
worker, after the fork, since threads and connections do not outlive one.
"""

from __future__ import annotations

import logging
import math
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from prometheus_client import make_wsgi_app

from dar_search.errors import DarError, SettingsError
from dar_search.serving import wsgi
from dar_search.serving.guard import HEALTH, host_checked
from dar_search.serving.logs import configure_logs
from dar_search.serving.metrics import Metrics
from dar_search.serving.process.worker import PatientWorker
from dar_search.settings.service import ServiceSettings, http_address, is_loopback

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
        ending: called before that, on SIGTERM: answers that have no end of their own should find one.
    """

    app: wsgi.Application
    metrics: Metrics
    close: Callable[[], None]
    ending: Callable[[], None] = lambda: None


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
    listeners = [_bound(listening.host, listening.port)]
    if listening.admin_port:
        listeners.append(_bound(listening.admin_host, listening.admin_port, "--admin-port 0 is none"))
    (host, port), *admin = (listener.getsockname()[:2] for listener in listeners)
    options: dict[str, Any] = {
        # gunicorn takes the sockets over by their numbers: no moment in which another process can take a port.
        "bind": [f"fd://{listener.detach()}" for listener in listeners],
        "workers": 1,
        "worker_class": PatientWorker,
        "threads": listening.threads,
        "timeout": _LOADING_SECONDS,
        "graceful_timeout": math.ceil(service.graceful_seconds),
        "keepalive": _KEEP_ALIVE_SECONDS,
        "logger_class": _Logger,
        "control_socket_disable": True,
        "pre_request": lambda worker, request: None,  # gunicorn's own logs the path
        "when_ready": lambda arbiter: on_ready(http_address(host, port)),
    }
    _Gunicorn(make, service, options, tuple(admin[0]) if admin else None).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """Attributes: patience, health, admin, ending: see PatientWorker."""

    health = frozenset((HEALTH.encode(),))

    def __init__(
        self,
        make: Callable[[], Served],
        service: ServiceSettings,
        options: dict[str, Any],
        admin: tuple[str, int] | None,
    ) -> None:
        self._make, self._service, self._options = make, service, options
        self.patience, self.admin = service.patience_seconds, admin
        self._served: Served | None = None
        configure_logs(service)
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)
        self.cfg.set("worker_exit", lambda arbiter, worker: self._close())

    def load(self) -> wsgi.Application:
        """In the worker: the app, and what the admin port shows."""
        try:
            self._served = self._make()
        except DarError as error:
            _LOG.error("%s", error)
            sys.exit(_BOOT_FAILED)
        if self.admin is None:
            return self._served.app
        return _by_listener(
            self._served.app, metrics_app(self._served.metrics, self._service, self.admin[0]), self.admin
        )

    def ending(self) -> None:
        if self._served is not None:
            self._served.ending()

    def _close(self) -> None:
        if self._served is not None:
            self._served.close()


def metrics_app(metrics: Metrics, service: ServiceSettings, host: str) -> wsgi.Application:
    """What the admin port shows. On loopback it has its own names only, for no page of a browser; elsewhere it is asked
    by whatever name or address the network gives it, which `service.allowed_hosts`, for callers, does not know.

    host: the address that the admin port listens on.
    """
    app: wsgi.Application = make_wsgi_app(metrics.registry)
    return host_checked(app, service, host) if is_loopback(host) else app


def _by_listener(app: wsgi.Application, admin: wsgi.Application, address: tuple[str, int]) -> wsgi.Application:
    where = (address[0], str(address[1]))

    def answer(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        asked = (environ["SERVER_NAME"], environ["SERVER_PORT"])
        return (admin if asked == where else app)(environ, start_response)

    return answer


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's messages go where all others go; requests are logged by `recording`."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True
        self.error_log.handlers.clear()
        self.access_log.handlers.clear()
        self.access_log.disabled = True


def _bound(host: str, port: int, or_else: str = "--port 0 is any") -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingsError(
            f"The service cannot listen on {host}, port {port}: {error.strerror}.", f"Choose another: {or_else}."
        ) from error
    listener.listen(2048)
    return listener
