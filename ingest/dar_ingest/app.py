"""The Flask app: parse, one call of the service, serialise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, request
from flask.json.provider import JSONProvider
from flask_openapi3.models.info import Info
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError

from dar_ingest import bodies as b
from dar_ingest.multipart import MULTIPART, uploaded
from dar_ingest.service import IngestService, progress_fields
from dar_search import __version__
from dar_search.data import Failure, ImageRecord
from dar_search.errors import DarError, MediaTypeUnsupported
from dar_search.ingestion.jobs.ledger.job_rows import failure_fields
from dar_search.ingestion.pipeline.uploads import Upload
from dar_search.serving import problems, wsgi
from dar_search.serving.events import HEADERS, MEDIA_TYPE, event
from dar_search.serving.openapi import API, KEY, app_options, refusals, request_error
from dar_search.serving.problems import register_problems
from dar_search.serving.request_ids import current_request_id
from dar_search.values import exact_json

_REFUSED = refusals(b.Problem)
_PICTURES = [Tag(name="pictures", description="A few pictures, searchable at once.")]
_JOBS = [Tag(name="jobs", description="Many pictures, by a job that outlives everything.")]
_OPERATING = [Tag(name="operating", description="For machines that watch the service.")]


def create_app(service: IngestService) -> OpenAPI:
    """The app, without the layers of `serving.guard`."""
    app = OpenAPI(
        "dar_ingest",
        info=Info(
            title="dar-search ingest service",
            version=__version__,
            description="Pictures become searchable: a few at once, or millions by a job.",
        ),
        **app_options(b.Problem, _invalid),
    )
    app.json = _Json(app)
    register_problems(app, _remember)
    app.before_request(_before)
    _picture_routes(app, service)
    _job_routes(app, service)
    _operating_routes(app, service)
    return app


def _picture_routes(app: OpenAPI, service: IngestService) -> None:
    @app.post(
        f"{API}/images", tags=_PICTURES, security=KEY, responses={200: b.PicturesOut, **_REFUSED},
        openapi_extensions=MULTIPART, summary="Index a few pictures; they are searchable when this answers",
    )  # fmt: skip
    def put_images() -> Any:
        with service.uploading():
            results = service.put(*_upload(service))
        failed = sum(isinstance(one, Failure) for one in results)
        images = [_picture(one) for one in results]
        return {"indexed": len(results) - failed, "failed": failed, "images": images}

    @app.delete(
        f"{API}/images/<path:id>", tags=_PICTURES, security=KEY, responses={200: b.DeletedOut, **_REFUSED},
        summary="Remove a picture's record; a write asked for earlier does not bring it back",
    )  # fmt: skip
    def delete_image(path: b.PicturePath, query: b.IndexQuery) -> Any:
        return {"deleted": service.delete(query.index, path.id)}


def _job_routes(app: OpenAPI, service: IngestService) -> None:
    @app.post(
        f"{API}/jobs", tags=_JOBS, security=KEY, responses={201: b.JobOut, **_REFUSED}, summary="Make a job"
    )  # fmt: skip
    def create_job(body: b.JobIn) -> Any:
        job = service.create_job(body.index, body.source, body.options, prune=body.prune)
        return progress_fields(job), 201, {"Location": f"{API}/jobs/{job.id}"}

    @app.get(f"{API}/jobs", tags=_JOBS, security=KEY, responses={200: b.JobsOut, **_REFUSED}, summary="Jobs")
    def list_jobs(query: b.JobsQuery) -> Any:
        return {"jobs": [progress_fields(job) for job in service.jobs(running=query.running, limit=query.limit)]}

    @app.get(
        f"{API}/jobs/<job>", tags=_JOBS, security=KEY, responses={200: b.JobOut, **_REFUSED},
        summary="A job's progress; with Accept: text/event-stream as events, until it ends",
    )  # fmt: skip
    def show_job(path: b.JobPath) -> Any:
        if request.accept_mimetypes.best_match(["application/json", MEDIA_TYPE]) == MEDIA_TYPE:
            return _streamed(service, path.job)
        return progress_fields(service.job(path.job))

    @app.get(
        f"{API}/jobs/<job>/failures", tags=_JOBS, security=KEY, responses={200: b.FailuresOut, **_REFUSED},
        summary="What failed, and why, in pages",
    )  # fmt: skip
    def list_failures(path: b.JobPath, query: b.FailuresQuery) -> Any:
        found = service.failures(path.job, after=query.after, limit=query.limit)
        return {
            "failures": [failure_fields(one) for one in found],
            "after": found[-1].place if len(found) == query.limit else None,
        }

    @app.post(
        f"{API}/jobs/<job>/retry", tags=_JOBS, security=KEY, responses={200: b.RetriedOut, **_REFUSED},
        summary="Do failures again",
    )  # fmt: skip
    def retry(path: b.JobPath, body: b.RetryIn) -> Any:
        number, job = service.retry(path.job, body.codes)
        return {"retried": number, "job": progress_fields(job)}

    @app.post(
        f"{API}/jobs/<job>/pause", tags=_JOBS, security=KEY, responses={200: b.JobOut, **_REFUSED},
        summary="Pause: what is in hand is finished",
    )  # fmt: skip
    def pause(path: b.JobPath) -> Any:
        return progress_fields(service.pause(path.job))

    @app.post(
        f"{API}/jobs/<job>/resume", tags=_JOBS, security=KEY, responses={200: b.JobOut, **_REFUSED}, summary="Go on"
    )  # fmt: skip
    def resume(path: b.JobPath) -> Any:
        return progress_fields(service.resume(path.job))

    @app.post(
        f"{API}/jobs/<job>/cancel", tags=_JOBS, security=KEY, responses={200: b.JobOut, **_REFUSED},
        summary="Cancel for good; what is in the index stays",
    )  # fmt: skip
    def cancel(path: b.JobPath) -> Any:
        return progress_fields(service.cancel(path.job))

    @app.delete(
        f"{API}/jobs/<job>", tags=_JOBS, security=KEY, responses={200: b.DeletedOut, **_REFUSED},
        summary="Forget a job that is ended, with its failures; what is in the index stays",
    )  # fmt: skip
    def forget(path: b.JobPath) -> Any:
        service.forget(path.job)
        return {"deleted": 1}


def _operating_routes(app: OpenAPI, service: IngestService) -> None:
    @app.get("/_dar/health", tags=_OPERATING, responses={200: b.HealthOut}, summary="The process is alive")
    def health() -> Any:
        return {"alive": True, "version": __version__}

    @app.get(
        "/_dar/ready", tags=_OPERATING, responses={200: b.ReadyOut, 503: b.ReadyOut},
        summary="The encoder is warm, uploads are decoded, the store and the ledger answer",
    )  # fmt: skip
    def ready() -> Any:
        parts = service.readiness()
        all_there = set(parts.values()) == {"ok"}
        return {"ready": all_there, "parts": dict(parts)}, 200 if all_there else 503


def _streamed(service: IngestService, job: str) -> Response:
    steps = service.watch(job)
    first = next(steps)  # a job that is not there is a plain problem
    request_id = current_request_id()

    def parts() -> Iterator[bytes]:
        try:
            yield event("progress", first)
            for step in steps:
                yield event("progress", step)
        except Exception as error:  # noqa: BLE001  # the status is sent: an error can only be an event
            yield event("error", problems.problem(problems.as_dar_error(error), request_id))
        finally:
            steps.close()  # type: ignore[attr-defined]

    return Response(parts(), mimetype=MEDIA_TYPE, headers=HEADERS)


def _picture(result: ImageRecord | Failure) -> dict[str, Any]:
    if isinstance(result, Failure):
        return {"source": result.source, "failure": {"code": result.code, "message": result.message}}
    return {"id": result.id, "source": result.source, "width": result.width, "height": result.height}


def _upload(service: IngestService) -> tuple[str, list[Upload]]:
    """The index and the pictures that the request's body has."""
    if request.is_json:
        body = _pictures()
        return body.index, [Upload(b"", one.url, one.id, one.caption, one.metadata) for one in body.images]
    limits = service.runtime.settings.service
    return uploaded(request, most=service.settings.upload_pictures, depth=limits.json_depth, values=limits.json_values)


def _pictures() -> b.PicturesIn:
    try:
        return b.PicturesIn.model_validate(request.get_json(silent=True))
    except ValidationError as error:
        raise request_error(error) from None


def _before() -> None:
    if request.url_rule is not None:
        request.environ[wsgi.ROUTE] = request.url_rule.rule
    wants_json = request.method == "POST" and request.endpoint in ("create_job", "retry")
    if wants_json and not request.is_json:
        raise MediaTypeUnsupported("The body is not JSON.", "Send it with Content-Type: application/json.")


def _remember(error: DarError) -> None:
    request.environ[wsgi.ERROR_CODE] = error.code


def _invalid(error: ValidationError) -> Any:
    raise request_error(error)


class _Json(JSONProvider):
    """Exact with whole numbers, and strict: no NaN, no lone surrogates."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return wsgi.json_bytes(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return exact_json.loads(s)
