"""The Flask app: parse, one call of the service, serialise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, request
from flask.json.provider import JSONProvider
from flask_openapi3.models.info import Info
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError

from dar_query_rewriter.answering import (
    ChoiceOut,
    HealthOut,
    Problem,
    QuestionOut,
    ReadyOut,
    RewriteOut,
    SearchOut,
    rewriting_out,
    search_out,
)
from dar_query_rewriter.asking import ChoiceIn, QuestionIn, SearchIn, asked_from, image_from, question_from
from dar_query_rewriter.request_shown import request_shown
from dar_query_rewriter.service import QueryService
from dar_search import __version__
from dar_search.answering.answers import Answer, Asked, Move, moves
from dar_search.answering.search_log import LoggedSearch
from dar_search.data import Leg
from dar_search.errors import DarError, MediaTypeUnsupported, RequestError
from dar_search.method.dialogues import as_json
from dar_search.method.questions import describe_question
from dar_search.method.retrieval import describe_legs
from dar_search.ports import ImageIndex
from dar_search.serving import problems, wsgi
from dar_search.serving.events import HEADERS, MEDIA_TYPE, event
from dar_search.serving.openapi import API, DOCUMENT, KEY, app_options, refusals, request_error
from dar_search.serving.problems import register_problems
from dar_search.serving.request_ids import current_request_id
from dar_search.values import exact_json

_REFUSED = refusals(Problem)
_SEARCHING = [Tag(name="searching", description="A dialogue in, pictures out.")]
_OPERATING = [Tag(name="operating", description="For machines that watch the service.")]


def create_app(service: QueryService) -> OpenAPI:
    """The app, without the layers of `serving.guard`."""
    app = OpenAPI(
        "dar_query_rewriter",
        info=Info(
            title="dar-search query service",
            version=__version__,
            description="Conversational image search: send the dialogue so far, get pictures by rank.",
        ),
        **app_options(Problem, _invalid),
    )
    app.json = _Json(app)
    app.url_map.strict_slashes = True
    register_problems(app, _remember)
    app.before_request(_before)

    @app.post(
        f"{API}/search", tags=_SEARCHING, security=KEY, responses={200: SearchOut, **_REFUSED},
        summary="Hits for a dialogue, by a deadline; as JSON, or as events (Accept: text/event-stream)",
    )  # fmt: skip
    def search(body: SearchIn) -> Any:
        asked = asked_from(body, service.settings)
        _log_dialogue(service, asked)
        authorization = request.headers.get("Authorization", "")
        with service.answering(asked, authorization):
            index = service.open(body.index, asked)
            asked = service.with_picture(asked, image_from(body))
            if request.accept_mimetypes.best_match(["application/json", MEDIA_TYPE]) == MEDIA_TYPE:
                return _streamed(service, asked, index, body, authorization)
            answer = service.search(asked, index)
        _keep(service, asked, answer, index, body)
        _log_legs(request.environ, answer.result.legs)
        return _shown(answer, asked, index, body)

    @app.post(
        f"{API}/rewrite", tags=_SEARCHING, security=KEY, responses={200: RewriteOut, **_REFUSED},
        summary="What a dialogue becomes, and the search that it would send; nothing is searched",
    )  # fmt: skip
    def rewrite(body: SearchIn) -> Any:
        asked = asked_from(body, service.settings)
        _log_dialogue(service, asked)
        with service.answering(asked, request.headers.get("Authorization", "")):
            index = service.open(body.index, asked)
            asked = service.with_picture(asked, image_from(body))
            query = service.rewrite(asked, index)
            shown = service.searcher.ask(lambda: request_shown(query, asked.options, service.settings, index), asked)
        _log_legs(request.environ, query.legs)
        return {
            "request_id": current_request_id(),
            **rewriting_out(query),
            "legs": describe_legs(query.legs),
            "vector": {"dimension": len(query.vector), "length": float((query.vector**2).sum() ** 0.5)},
            "request": shown,
            "took_ms": round(sum(leg.took_ms for leg in query.legs.values()), 3),
            "deadline_ms": round(asked.seconds * 1000),
        }

    @app.post(
        f"{API}/question", tags=_SEARCHING, security=KEY, responses={200: QuestionOut, **_REFUSED},
        summary="What to ask next: the question whose answer narrows the candidates most",
    )  # fmt: skip
    def question(body: QuestionIn) -> Any:
        asked, options = question_from(body, service.settings)
        _log_dialogue(service, asked)
        with service.answering(asked, request.headers.get("Authorization", "")):
            found = service.question(asked, service.open(body.index, asked), options)
        _log_legs(request.environ, found.legs)
        deadline_ms = round(asked.seconds * 1000)
        return {"request_id": current_request_id(), **describe_question(found), "deadline_ms": deadline_ms}

    @app.post(
        f"{API}/choice", tags=_SEARCHING, security=KEY, responses={200: ChoiceOut, **_REFUSED},
        summary="Tell the search log which hit was chosen",
    )  # fmt: skip
    def choice(body: ChoiceIn) -> Any:
        return {"request_id": current_request_id(), "logged": service.chosen(body.search, body.hit)}

    @app.get("/_dar/health", tags=_OPERATING, responses={200: HealthOut}, summary="The process is alive")
    def health() -> Any:
        return {"alive": True, "version": __version__}

    @app.get(
        "/_dar/ready", tags=_OPERATING, responses={200: ReadyOut, 503: ReadyOut},
        summary="Models are warm and the store answers",
    )  # fmt: skip
    def ready() -> Any:
        parts = service.readiness()
        all_there = set(parts.values()) == {"ok"}
        return {"ready": all_there, "parts": dict(parts)}, 200 if all_there else 503

    return app


def _streamed(service: QueryService, asked: Asked, index: ImageIndex, body: SearchIn, authorization: str) -> Response:
    """The text's event, then the imagined one with what moved. What fails before the first event is a plain problem."""
    stages = service.stream(asked, index)
    first = next(stages)
    request_id, environ = current_request_id(), request.environ

    def parts() -> Iterator[bytes]:
        last = first
        try:
            yield event("text", _shown(first, asked, index, body))
            # The route has returned, and with it the caller's credentials went out of force.
            with service.caller(authorization):
                for answer in stages:
                    yield event("imagined", _shown(answer, asked, index, body, moves(first.result, answer.result)))
                    last = answer
            _keep(service, asked, last, index, body)
            _log_legs(environ, last.result.legs)
        except Exception as error:  # noqa: BLE001  # the status is sent: an error can only be an event
            yield event("error", problems.problem(problems.as_dar_error(error), request_id))
        finally:
            stages.close()

    return Response(parts(), mimetype=MEDIA_TYPE, headers=HEADERS)


def _shown(
    answer: Answer, asked: Asked, index: ImageIndex, body: SearchIn, moved: tuple[Move, ...] = ()
) -> dict[str, Any]:
    deadline_ms = round(asked.seconds * 1000)
    return search_out(
        answer, index.name, body.fields, request_id=current_request_id(), deadline_ms=deadline_ms, moved=moved
    )


def _keep(service: QueryService, asked: Asked, answer: Answer, index: ImageIndex, body: SearchIn) -> None:
    """In the search log, where there is one; of a stream the last answer."""
    service.kept(
        LoggedSearch(
            id=current_request_id(),
            index=index.name,
            dialogue=asked.dialogue,
            legs=answer.result.legs,
            hits=[hit.id for hit in answer.result.hits],
            first=body.offset + 1,
            imagined=answer.imagined,
            took_ms=answer.took_ms,
            conversation=body.conversation or "",
        )
    )


def _before() -> None:
    if request.url_rule is not None:
        request.environ[wsgi.ROUTE] = request.url_rule.rule
    if request.method == "POST" and request.routing_exception is None and not request.is_json:
        raise MediaTypeUnsupported("The body is not JSON.", "Send it with Content-Type: application/json.")


def _remember(error: DarError) -> None:
    request.environ[wsgi.ERROR_CODE] = error.code


def _invalid(error: ValidationError) -> Any:
    if request.get_json(silent=True) is None:
        raise RequestError("The body is not valid JSON.", f"Send an object, as in {DOCUMENT}.")
    raise request_error(error)


def _log_dialogue(service: QueryService, asked: Asked) -> None:
    if service.settings.service.log_dialogues:
        request.environ.setdefault(wsgi.LOGGED, {})["dialogue"] = as_json(asked.dialogue)


def _log_legs(environ: wsgi.Environ, legs: Mapping[str, Leg]) -> None:
    environ.setdefault(wsgi.LOGGED, {})["legs"] = {name: leg.status for name, leg in legs.items()}


class _Json(JSONProvider):
    """Quick with vectors, exact with whole numbers, and strict: no NaN, no lone surrogates."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return wsgi.json_bytes(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return exact_json.loads(s)
