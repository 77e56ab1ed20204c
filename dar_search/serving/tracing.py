"""Traces by OpenTelemetry, where `service.otlp_endpoint` is set. Imported only then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from dar_search.data import Leg
from dar_search.errors import FeatureMissing
from dar_search.serving import wsgi

_NAME = "dar_search"


def start_tracing(endpoint: str, service_name: str) -> Any:
    """Send this process's spans to an OTLP endpoint over HTTP; returns the provider, to be shut down at the end.

    endpoint: the collector's base address; spans go to its /v1/traces. Raises FeatureMissing without the extra.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise FeatureMissing("Tracing needs OpenTelemetry.", 'pip install "dar-search[opentelemetry]"') from error
    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")))
    trace.set_tracer_provider(provider)
    return provider


def traced(app: wsgi.Application) -> wsgi.Application:
    """The app with a span for each request; a caller's trace goes on in it. Raises FeatureMissing."""
    try:
        from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
    except ImportError as error:
        raise FeatureMissing("Tracing needs OpenTelemetry.", 'pip install "dar-search[opentelemetry]"') from error
    wrapped: wsgi.Application = OpenTelemetryMiddleware(app)
    return wrapped


def leg_spans(legs: Mapping[str, Leg]) -> None:
    """A span for each leg of an answer that has just been made, as long as the leg took."""
    from opentelemetry import trace

    tracer = trace.get_tracer(_NAME)
    ended = time.time_ns()
    for name, leg in legs.items():
        if leg.status == "off":
            continue
        span = tracer.start_span(
            f"dar.{name}", start_time=ended - int(leg.took_ms * 1e6), attributes={"dar.leg.status": leg.status}
        )
        span.end(ended)
