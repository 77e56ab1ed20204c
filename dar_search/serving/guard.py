"""The layers around a service's app, in their order."""

from __future__ import annotations

from collections.abc import Collection

from dar_search.serving import wsgi
from dar_search.serving.bodies import BodyLimit
from dar_search.serving.keys import KeyCheck, KeyRing
from dar_search.serving.metrics import Metrics
from dar_search.serving.origins import CrossOrigin, CrossSiteCheck, HostCheck
from dar_search.serving.rate_limits import RateLimit, TokenBuckets
from dar_search.serving.recording import Recording
from dar_search.settings.service import ServiceSettings, is_loopback

#: Asked by machines that have no key, and often.
HEALTH = "/_dar/health"
OPEN_PATHS = (HEALTH, "/_dar/ready")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def guarded(
    app: wsgi.Application,
    service: ServiceSettings,
    metrics: Metrics,
    *,
    host: str,
    max_bytes: int,
    json_bytes: int | None = None,
    open_paths: Collection[str] = OPEN_PATHS,
) -> wsgi.Application:
    """The app behind everything that `service` asks for. Raises SettingsError for a key that cannot be read.

    Args:
        host: the address that the service listens on.
        max_bytes: the largest body of a request.
        json_bytes: the largest in JSON, of which reading takes several times its size; None: as any other.
        open_paths: answered without a key, and never counted against a rate.
    """
    app = BodyLimit(
        app,
        max_bytes=max_bytes,
        json_bytes=max_bytes if json_bytes is None else min(json_bytes, max_bytes),
        json_depth=service.json_depth,
        json_values=service.json_values,
    )
    if service.rate is not None:
        buckets = TokenBuckets(service.rate, service.burst)
        app = RateLimit(
            app, buckets, by=service.rate_by, trusted_proxies=service.trusted_proxies, open_paths=open_paths
        )
    app = CrossSiteCheck(app, frozenset(service.cors_origins))
    app = KeyCheck(app, KeyRing(service.keys), open_paths)
    if service.cors_origins:
        app = CrossOrigin(app, frozenset(service.cors_origins))
    app = host_checked(app, service, host)
    app = Recording(app, metrics, trusted_proxies=service.trusted_proxies)
    if service.otlp_endpoint is not None:
        from dar_search.serving.tracing import traced

        app = traced(app)
    return app


def host_checked(app: wsgi.Application, service: ServiceSettings, host: str) -> wsgi.Application:
    """The app, under its own names where they are known. host: the address that it listens on."""
    names = frozenset(name.lower() for name in service.allowed_hosts)
    if names or is_loopback(host):
        return HostCheck(app, names | frozenset((*_LOOPBACK_NAMES, host)))
    return app
