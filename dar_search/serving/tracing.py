"""Traces by OpenTelemetry, where `service.otlp_endpoint` is set. Imported only then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from dar_search.data import Leg
from dar_search.errors import FeatureMissing
from dar_search.serving import wsgi

_NAME = "dar_search"
_TELLING = frozenset(("PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_URI", "SCRIPT_NAME", "HTTP_REFERER"))
_WHOLE = "dar.whole_environ"


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


def traced(app: wsgi.Application, provider: Any = None) -> wsgi.Application:
    """The app with a span for each request; a caller's trace goes on in it. Raises FeatureMissing.

    A span has the route and never the path or the query, in which an id and an index's name stand.

    provider: of the tracer; None: the process's own.
    """
    try:
        from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
    except ImportError as error:
        raise FeatureMissing("Tracing needs OpenTelemetry.", 'pip install "dar-search[opentelemetry]"') from error

    def named(span: Any, shown: wsgi.Environ, status: str, headers: wsgi.Headers) -> None:
        route = shown[_WHOLE].get(wsgi.ROUTE, "other")
        span.update_name(f"{shown['REQUEST_METHOD']} {route}")
        span.set_attribute("http.route", route)

    inner: wsgi.Application = OpenTelemetryMiddleware(
        lambda shown, start_response: app(shown[_WHOLE], start_response), response_hook=named, tracer_provider=provider
    )

    def answer(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        shown = {name: value for name, value in environ.items() if name not in _TELLING}
        return inner(shown | {_WHOLE: environ}, start_response)

    return answer


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
