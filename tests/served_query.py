"""The query service as `dar serve` runs it (gunicorn, all layers), over light models that go wrong:

    python -m tests.served_query PORT STORE ENDPOINT

The language model is whatever answers at ENDPOINT; the imaginer, in a real model process, is `hosted_imaginer`.
"""

from __future__ import annotations

import sys
from typing import Any

from dar_query_rewriter.app import create_app
from dar_query_rewriter.service import QueryService
from pydantic import SecretStr

from dar_search.answering.answers import Models
from dar_search.bootstrap import open_store
from dar_search.data import Imagination
from dar_search.models.process.child import Limits
from dar_search.models.process.supervisor import ModelProcess
from dar_search.models.reformulators.endpoint_reformulator import EndpointOptions, EndpointReformulator
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.serving.guard import guarded
from dar_search.serving.metrics import Metrics
from dar_search.serving.runner import Listening, Served, run_service
from dar_search.settings import Settings
from tests.fakes import FakeEncoder


class Hosted:
    """An imaginer in a model process."""

    name = "hosted"

    def __init__(self, dimension: int) -> None:
        limits = Limits(waiting=64, batch_items=4, batch_s=5.0, start_s=60.0)
        self.process = ModelProcess("tests.hosted_imaginer:load", {"dimension": dimension}, limits)

    def imagine(self, prompt: str, *, count: int, seed: int, steps: int | None = None) -> tuple[Imagination, ...]:
        (made,) = self.process.call("imagine", [(prompt, count, seed)], options=(steps,), key=(prompt, count, seed))
        return tuple(made)


def make(settings: Settings, endpoint: str) -> Served:
    encoder = FakeEncoder()
    hosted = Hosted(encoder.provenance.dimension)
    options = EndpointOptions(url=endpoint, model="broken", key=SecretStr("unused"), seconds=8.0, tries=1)
    models = Models(encoder, EndpointReformulator(options), RulesReformulator(), hosted)
    metrics = Metrics()
    service = QueryService(settings, models, open_store(settings.store, settings), metrics)
    service.at_end(hosted.process.close)
    app = create_app(service)
    service.warm_up()
    wrapped = guarded(app.wsgi_app, settings.service, metrics, host="127.0.0.1", max_bytes=1 << 20)
    return Served(wrapped, metrics, service.close)


def main(port: str, store: str, endpoint: str) -> None:
    query: Any = {"searches": 8, "waiting": 16}
    settings = Settings(store=store, query=query, schedule="0.5/0.5")
    listening = Listening("127.0.0.1", int(port), "127.0.0.1", 0, settings.query.threads)
    run_service(
        lambda: make(settings, endpoint),
        listening,
        settings.service,
        on_ready=lambda address: sys.stdout.write(f"{address}\n") and sys.stdout.flush(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
