"""The error tree. Every error that the project raises on purpose is here, and nowhere else.

DarError
├── InputError                 what the caller gave cannot be used (HTTP 400)
│   ├── DialogueError          bad_dialogue
│   ├── FilterError            bad_filter
│   ├── RequestError           bad_request       sizes, offsets, weights, counts
│   ├── SettingsError          bad_settings
│   ├── SourceError            bad_source        a folder or JSONL that cannot be read
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
│   └── StoreUnavailable       store_unavailable: worth another try later
└── ModelError                 a model cannot be loaded or run (HTTP 503)
    ├── WeightsMissing         weights_missing
    ├── UnsafeWeights          unsafe_weights: pickled, refused
    ├── ModelFailed            model_failed      it raised, died or answered nonsense
    ├── ModelTimeout           model_timeout (504)
    ├── ModelBusy              model_busy (429): the queue is full, worth another try soon
    └── ModelOutOfMemory       model_out_of_memory

An error carries a stable `code` for programs, a `message` that says what is wrong, and a `hint` that says
what to do about it. Both are one line, and name no secret.
"""

from __future__ import annotations

from typing import ClassVar


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
