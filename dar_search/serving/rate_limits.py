"""How often one caller may ask: a token bucket for each key or address."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from typing import Literal

from dar_search.errors import RateLimited
from dar_search.serving import problems, wsgi

_CALLERS = 50_000  # remembered; the one that was silent longest is forgotten first, and begins with a full bucket


class TokenBuckets:
    """`rate` requests a second of each caller, `burst` at once. Safe for many threads.

    clock: seconds, monotonic.
    """

    def __init__(
        self, rate: float, burst: int, *, callers: int = _CALLERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._callers, self._clock = rate, burst, callers, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> (tokens, when)
        self._lock = threading.Lock()

    def take(self, caller: str) -> float:
        """Takes one token. Returns 0.0, or the seconds until there will be one."""
        now = self._clock()
        with self._lock:
            tokens, when = self._buckets.pop(caller, (float(self._burst), now))
            tokens = min(float(self._burst), tokens + (now - when) * self._rate)
            allowed = tokens >= 1
            self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
            if len(self._buckets) > self._callers:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._rate


class RateLimit:
    """Refuses a caller that asks too often, with the time to wait."""

    def __init__(
        self,
        app: wsgi.Application,
        buckets: TokenBuckets,
        *,
        by: Literal["key", "address"],
        trusted_proxies: int,
        open_paths: Container[str],
    ) -> None:
        self._app, self._buckets, self._by = app, buckets, by
        self._trusted, self._open = trusted_proxies, open_paths

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "") not in self._open:
            wait = self._buckets.take(self._caller(environ))
            if wait > 0:
                error = RateLimited("You ask too often.", "Wait as long as Retry-After says.", retry_after=wait)
                return problems.refuse(environ, start_response, error)
        return self._app(environ, start_response)

    def _caller(self, environ: wsgi.Environ) -> str:
        name = environ.get(wsgi.KEY_NAME) if self._by == "key" else None
        return f"key {name}" if name is not None else f"address {wsgi.client_address(environ, self._trusted)}"
