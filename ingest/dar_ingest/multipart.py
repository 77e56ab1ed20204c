"""Pictures in a form: multipart/form-data with an "index", files under "image", and beside each its fields."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from dar_ingest.bodies import PictureIn
from dar_search.errors import BodyTooLarge, MediaTypeUnsupported, RequestError
from dar_search.ingestion.pipeline.uploads import Upload
from dar_search.serving.bodies import check_json, too_many
from dar_search.values import exact_json

_HINT = 'Send "index", one or more files "image", and for each, in their order, "id", "caption", "metadata" (JSON).'
_OF_A_PICTURE = ("id", "caption", "metadata")
_MOST_TEXT = 500_000
_TEXTS = {"type": "array", "items": {"type": "string"}}
MULTIPART: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["index", "image"],
                    "properties": {
                        "index": {"type": "string"},
                        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "id": _TEXTS,
                        "caption": _TEXTS,
                        "metadata": {**_TEXTS, "description": "A JSON object for each picture."},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["index", "images"],
                    "properties": {
                        "index": {"type": "string", "minLength": 1, "maxLength": 255},
                        "images": {"type": "array", "minItems": 1, "items": PictureIn.model_json_schema()},
                    },
                }
            },
        },
    }
}


def uploaded(request: Request, *, most: int, depth: int, values: int) -> tuple[str, list[Upload]]:
    """The form's index and pictures. Raises RequestError, BodyTooLarge, MediaTypeUnsupported.

    Args:
        most: pictures of one form; one with parts for many more is not read to its end.
        depth, values: see `serving.bodies.check_json`; of the metadata of all pictures together.
    """
    if request.mimetype != "multipart/form-data":
        raise MediaTypeUnsupported("The body is neither a form nor JSON.", _HINT)
    request.max_form_parts = 1 + (1 + len(_OF_A_PICTURE)) * 2 * most
    request.max_form_memory_size = _MOST_TEXT
    try:
        index = request.form.get("index", "")
    except RequestEntityTooLarge as error:
        raise BodyTooLarge(
            f"The form has a text of more than {_MOST_TEXT:,} bytes, or more than {request.max_form_parts} parts.",
            f"Send at most {most} pictures at once, and less beside each.",
        ) from error
    files = request.files.getlist("image")
    if not index or not files:
        raise RequestError('The form lacks "index" or "image".', _HINT)
    fields = {name: request.form.getlist(name) for name in _OF_A_PICTURE}
    for name, texts in fields.items():
        if texts and len(texts) != len(files):
            raise RequestError(f'The form has {len(files)} images and {len(texts)} of "{name}".', _HINT)
    uploads, counted = [], 0
    for number, file in enumerate(files):
        given = {name: texts[number] for name, texts in fields.items() if texts}
        metadata = given.get("metadata", "")
        counted += check_json(metadata.encode("utf-8", "replace"), depth=depth, values=values)
        if counted > values:
            raise too_many(values)
        uploads.append(Upload(file.read(), "", given.get("id", ""), given.get("caption", ""), _metadata(metadata)))
    return index, uploads


def _metadata(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = exact_json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RequestError('A "metadata" is not a JSON object.', _HINT)
    return value
