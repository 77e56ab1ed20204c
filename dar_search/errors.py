"""The error tree. Every error that the project raises on purpose is here, and nowhere else.

DarError
├── InputError                 what the caller gave cannot be used (HTTP 400)
│   ├── DialogueError          bad_dialogue
│   ├── FilterError            bad_filter
│   ├── RequestError           bad_request       sizes, offsets, weights, counts
│   ├── SettingsError          bad_settings
│   ├── SourceError            bad_source        a folder or list that cannot be read
│   │   └── SourceNotAllowed   not_allowed       over HTTP: `ingest.sources` does not name it
│   ├── PictureError           a code for each way a picture can be bad (see ingestion.failures)
│   ├── RecordError            bad_record        metadata or an id that no store can keep
│   ├── DimensionMismatch      dimension_mismatch
│   └── UnknownModel           unknown_model
├── StoreError                 the store cannot do it (HTTP 503 unless said otherwise)
│   ├── IndexNotFound          index_not_found (404)
│   ├── IndexExists            index_exists (409)
│   ├── EncoderMismatch        encoder_mismatch (409)
│   ├── StoreTooNew            store_too_new (409)
│   ├── StoreCorrupt           store_corrupt
│   ├── StoreForbidden         store_forbidden (403)
│   ├── FeatureMissing         feature_missing (501): the cluster lacks a plugin
│   ├── JobNotFound            job_not_found (404)
│   ├── JobEnded               job_ended (409): what was asked for does not fit the job's state
│   ├── LeaseLost              lease_lost (409): another worker has the shard now
│   └── StoreUnavailable       store_unavailable: worth another try later
├── ModelError                 a model cannot be loaded or run (HTTP 503)
│   ├── WeightsMissing         weights_missing
│   ├── UnsafeWeights          unsafe_weights: pickled, refused
│   ├── ModelFailed            model_failed      it raised, died or answered nonsense
│   ├── ModelTimeout           model_timeout (504)
│   ├── ModelBusy              model_busy (429): the queue is full, worth another try soon
│   └── ModelOutOfMemory       model_out_of_memory
├── ResourceError              this machine does not give what is needed just now (HTTP 503)
│   ├── OutOfResources         out_of_resources: file descriptors, threads, processes
│   └── DecodersUnavailable    decoders_unavailable: the processes that decode pictures do not start
└── ServiceError               a service does not take the request (HTTP 500 unless said otherwise)
    ├── Unauthenticated        unauthenticated (401)
    ├── RouteNotFound          route_not_found (404)
    ├── MethodNotAllowed       method_not_allowed (405)
    ├── RequestTimeout         request_timeout (408): it came too slowly
    ├── BodyTooLarge           body_too_large (413)
    ├── MediaTypeUnsupported   unsupported_media_type (415)
    ├── HostRefused            host_refused (421): asked under a name that is not the service's
    ├── CrossSiteRefused       cross_site (403): a page of another site made a browser send it
    ├── RateLimited            rate_limited (429): this caller asks too often
    ├── HeadTooLarge           head_too_large (431)
    ├── Overloaded             overloaded (429): all callers together ask too much
    ├── ServiceUnreachable     service_unreachable (503): the client has no answer, or none that it understands
    ├── WorkerEnded            worker_ended: a worker of ingestion came to an end that nobody asked for
    └── InternalError          internal_error    a defect of the project

An error carries a stable `code` for programs, a `message` that says what is wrong, and a `hint` that says
what to do about it. Both are one line, and name no secret.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Self

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})  # no memory: often the fault of what is read
_NO_THREAD = "can't start new thread"  # all that Python says of it


class DarError(Exception):
    """The root of the tree.

    Attributes:
        code: stable, snake_case, part of the public interface.
        status: the HTTP status that a service answers with.
        message: what is wrong, one line.
        hint: what to do about it, one line; empty where there is nothing to add.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        super().__init__(f"{self.message} {self.hint}".rstrip())

    def as_dict(self) -> dict[str, str]:
        """What a program gets: `{"code", "message", "hint"}`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class InputError(DarError):
    code = "bad_input"
    status = 400


class DialogueError(InputError):
    code = "bad_dialogue"


class FilterError(InputError):
    code = "bad_filter"


class RequestError(InputError):
    code = "bad_request"


class SettingsError(InputError):
    code = "bad_settings"


class SourceError(InputError):
    code = "bad_source"


class SourceNotAllowed(SourceError):
    code = "not_allowed"


class RecordError(InputError):
    code = "bad_record"


class DimensionMismatch(InputError):
    code = "dimension_mismatch"


class UnknownModel(InputError):
    code = "unknown_model"


class PictureError(InputError):
    """A picture that cannot be used; its code says why, and is part of the failure list's format."""

    code = "bad_picture"

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code = code  # type: ignore[misc]  # the one error whose code varies by instance
        super().__init__(message, hint)

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str, str]]:
        return (PictureError, (self.code, self.message, self.hint))


class StoreError(DarError):
    code = "store_error"
    status = 503


class IndexNotFound(StoreError):
    code = "index_not_found"
    status = 404


class IndexExists(StoreError):
    code = "index_exists"
    status = 409


class EncoderMismatch(StoreError):
    code = "encoder_mismatch"
    status = 409


class StoreTooNew(StoreError):
    code = "store_too_new"
    status = 409


class StoreCorrupt(StoreError):
    code = "store_corrupt"


class StoreForbidden(StoreError):
    code = "store_forbidden"
    status = 403


class FeatureMissing(StoreError):
    code = "feature_missing"
    status = 501


class JobNotFound(StoreError):
    code = "job_not_found"
    status = 404


class JobEnded(StoreError):
    code = "job_ended"
    status = 409


class LeaseLost(StoreError):
    code = "lease_lost"
    status = 409


class StoreUnavailable(StoreError):
    code = "store_unavailable"


class ModelError(DarError):
    code = "model_error"
    status = 503


class WeightsMissing(ModelError):
    code = "weights_missing"


class UnsafeWeights(ModelError):
    code = "unsafe_weights"


class ModelFailed(ModelError):
    code = "model_failed"


class ModelTimeout(ModelError):
    code = "model_timeout"
    status = 504


class ModelBusy(ModelError):
    code = "model_busy"
    status = 429


class ModelOutOfMemory(ModelError):
    code = "model_out_of_memory"


class ResourceError(DarError):
    code = "resource_error"
    status = 503


class OutOfResources(ResourceError):
    """Says nothing about what was worked on: the same works as soon as there is room again."""

    code = "out_of_resources"

    @classmethod
    def of(cls, error: BaseException | None) -> Self | None:
        """This error, where an error of the system's, or the one that it came of, means it; else None."""
        while error is not None:
            if isinstance(error, cls):
                return error
            if isinstance(error, OSError) and error.errno in _SHORTAGES:
                return cls.named(error.strerror or "out of resources")
            if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
                return cls.named(_NO_THREAD)
            error = error.__cause__ or error.__context__
        return None

    @classmethod
    def named(cls, reason: str) -> Self:
        """This error, for a reason in the system's words."""
        return cls(
            f"This machine gives the process no more just now ({reason}).",
            "It goes on by itself once there is room; raise the limit of open files (ulimit -n) or of processes.",
        )


class DecodersUnavailable(ResourceError):
    code = "decoders_unavailable"


class ServiceError(DarError):
    """Attributes: retry_after: seconds until another try is worth it, where it is (429)."""

    code = "service_error"

    def __init__(self, message: str, hint: str = "", *, retry_after: float = 1.0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class Unauthenticated(ServiceError):
    code = "unauthenticated"
    status = 401


class RouteNotFound(ServiceError):
    code = "route_not_found"
    status = 404


class MethodNotAllowed(ServiceError):
    code = "method_not_allowed"
    status = 405


class RequestTimeout(ServiceError):
    code = "request_timeout"
    status = 408


class BodyTooLarge(ServiceError):
    code = "body_too_large"
    status = 413


class MediaTypeUnsupported(ServiceError):
    code = "unsupported_media_type"
    status = 415


class HostRefused(ServiceError):
    code = "host_refused"
    status = 421


class CrossSiteRefused(ServiceError):
    code = "cross_site"
    status = 403


class RateLimited(ServiceError):
    code = "rate_limited"
    status = 429


class HeadTooLarge(ServiceError):
    code = "head_too_large"
    status = 431


class Overloaded(ServiceError):
    code = "overloaded"
    status = 429


class ServiceUnreachable(ServiceError):
    code = "service_unreachable"
    status = 503


class WorkerEnded(ServiceError):
    code = "worker_ended"


class InternalError(ServiceError):
    code = "internal_error"
    status = 500
