"""What Prometheus reads. Labels have few values: route templates, never paths; names, never reasons in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)

from dar_search.data import Leg

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)


class Metrics:
    """One service's metrics, in a registry of their own. A service adds its own to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        for collector in (PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        registry = self.registry
        self.requests = Counter("dar_requests", "Requests answered.", ("method", "route", "status"), registry=registry)
        self.seconds = Histogram(
            "dar_request_seconds", "How long an answer took.", ("route",), buckets=_SECONDS, registry=registry
        )
        self.running = Gauge("dar_requests_running", "Requests being answered.", registry=registry)
        self.leg_seconds = Histogram(
            "dar_leg_seconds", "How long a leg took.", ("leg", "status"), buckets=_SECONDS, registry=registry
        )
        self.degradations = Counter(
            "dar_degradations", "Answers that lack a leg, and why.", ("leg", "reason"), registry=registry
        )
        self.imaginations = Counter(
            "dar_imaginations", "Imaginations used, by where they came from.", ("source",), registry=registry
        )
        self.waiting = Gauge("dar_searches_waiting", "Searches that wait for others to end.", registry=registry)
        self.searching = Gauge("dar_searches_running", "Searches under way.", registry=registry)
        self.refused = Counter("dar_refused", "Requests refused, by the error's code.", ("code",), registry=registry)
        self.streams = Gauge("dar_streams_open", "Answers being streamed.", registry=registry)

    def legs(self, legs: Mapping[str, Leg]) -> None:
        """Counts what became of an answer's legs."""
        for name, leg in legs.items():
            if leg.status == "off":
                continue
            self.leg_seconds.labels(name, leg.status).observe(leg.took_ms / 1000)
            if leg.status != "ok":
                self.degradations.labels(name, leg.status).inc()

    @contextmanager
    def stream_open(self) -> Iterator[None]:
        """Counts an open stream while it lasts."""
        self.streams.inc()
        try:
            yield
        finally:
            self.streams.dec()
