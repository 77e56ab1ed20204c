"""A query service over light models and a store in memory, for tests of its routes."""

from __future__ import annotations

import json
from typing import Any

from dar_query_rewriter.answering import Problem, QuestionOut, RewriteOut, SearchOut
from dar_query_rewriter.app import create_app
from dar_query_rewriter.service import QueryService
from werkzeug.test import Client

from dar_search.answering.answers import Models
from dar_search.data import ImageRecord
from dar_search.models.imaginers.imagination_cache import CachedImaginer, MemoryImaginationCache
from dar_search.serving.guard import guarded
from dar_search.settings import Settings
from tests.fakes import FakeEncoder, FakeImaginer, FakeReformulator, FakeStore

V1 = "/_dar/v1"
CAPTIONS = ("a red house near a lake", "a blue house", "a red car", "winter at the lake", "a dog", "a winter house")
SAID = {"caption": "a red house", "turns": [{"question": "where is it?", "answer": "near a lake"}]}
SEARCH = {"index": "photos", "dialogue": SAID}


class KeyedFakeImaginer(FakeImaginer):
    """With keys, so that it can be cached."""

    def key(self, prompt: str, seed: int, steps: int | None = None) -> str:
        return f"fake-{prompt}-{seed}-{steps}"


class Service:
    """The service with its app; `client` asks it in this process, through all layers."""

    def __init__(self, settings: Settings | None = None, store: Any = None, **models: Any) -> None:
        self.encoder = FakeEncoder()
        self.store = store or photos(self.encoder)
        self.cache = MemoryImaginationCache()
        self.imaginer = KeyedFakeImaginer(self.encoder)
        parts = {
            "encoder": self.encoder,
            "reformulator": FakeReformulator(),
            "fallback": FakeReformulator("the rules wrote it"),
            "imaginer": CachedImaginer(self.imaginer, self.cache),
            "cache": self.cache,
        }
        self.settings = settings or query_settings()
        self.service = QueryService(self.settings, Models(**(parts | models)), self.store)
        self.service.warm_up().join()
        app = create_app(self.service)
        self.metrics = self.service.metrics
        self.app = guarded(
            app.wsgi_app,
            self.settings.service,
            self.metrics,
            host="127.0.0.1",
            max_bytes=self.settings.query.body_bytes,
        )


def query_settings(service: dict[str, Any] | None = None, **query: Any) -> Settings:
    """Settings of an embedded store that is not there, with these of the services."""
    limits = {"deadline_ms": 30_000} | query
    return Settings(store="sqlite:unused.sqlite", query=limits, service=service or {}, imagine_count=2)  # type: ignore[arg-type]


def photos(encoder: FakeEncoder) -> FakeStore:
    """The index "photos" with CAPTIONS, p0, p1, ..."""
    store = FakeStore()
    for name in ("photos", "private"):
        index = store.create(name, encoder.provenance)
        for number, caption in enumerate(CAPTIONS):
            metadata = {"season": "winter" if "winter" in caption else "summer", "year": 2000.0 + number}
            record = ImageRecord(
                f"p{number}",
                encoder.encode_texts([caption])[0],
                f"file:///{number}.jpg",
                caption=caption,
                metadata=metadata,
                thumbnail=b"RIFF",
            )
            index.write([record])
    return store


def asked(client: Client, route: str = "search", status: int = 200, **body: Any) -> Any:
    """What a route answers for SEARCH with this changed, checked to be what it documents."""
    response = client.post(f"{V1}/{route}", json=SEARCH | body)
    assert response.status_code == status, response.text
    models = {"search": SearchOut, "rewrite": RewriteOut, "question": QuestionOut}
    (models[route] if status == 200 else Problem).model_validate(response.get_json())
    return response.get_json()


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream: (name, value)."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
