"""What a span of a request tells an endpoint elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from werkzeug.test import Client

from dar_search.serving import wsgi
from dar_search.serving.tracing import traced


def test_a_span_has_the_route_and_neither_path_nor_query() -> None:
    reached: list[str] = []

    def app(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        reached.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] != "/nowhere/canary":
            environ[wsgi.ROUTE] = "/_dar/v1/images/<path:id>"
        return wsgi.answer_json(start_response, 200, {})

    exported, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    client = Client(traced(app, provider))
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "Referer": "http://localhost/canary"}
    for path in ("/_dar/v1/images/canary", "/nowhere/canary"):
        assert client.delete(path, query_string={"index": "canary"}, headers=trace).status_code == 200
    assert reached == ["/_dar/v1/images/canary", "/nowhere/canary"]
    known, unknown = exported.get_finished_spans()
    assert (known.name, unknown.name) == ("DELETE /_dar/v1/images/<path:id>", "DELETE other")
    assert known.attributes is not None
    assert known.attributes["http.route"] == "/_dar/v1/images/<path:id>"
    assert known.parent is not None
    assert f"{known.parent.span_id:x}" == "b" * 16  # the caller's trace goes on
    assert "canary" not in known.to_json() + unknown.to_json()
