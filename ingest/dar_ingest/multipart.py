"""Pictures in a form: multipart/form-data with an "index", files under "image", and beside each its fields."""

from __future__ import annotations

from typing import Any

from flask import Request

from dar_ingest.bodies import PictureIn
from dar_search.errors import MediaTypeUnsupported, RequestError
from dar_search.ingestion.pipeline.uploads import Upload
from dar_search.values import exact_json

_HINT = 'Send "index", one or more files "image", and for each, in their order, "id", "caption", "metadata" (JSON).'
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


def uploaded(request: Request) -> tuple[str, list[Upload]]:
    """The form's index and pictures. Raises RequestError, MediaTypeUnsupported."""
    if request.mimetype != "multipart/form-data":
        raise MediaTypeUnsupported("The body is neither a form nor JSON.", _HINT)
    index = request.form.get("index", "")
    files = request.files.getlist("image")
    if not index or not files:
        raise RequestError('The form lacks "index" or "image".', _HINT)
    fields = {name: request.form.getlist(name) for name in ("id", "caption", "metadata")}
    for name, values in fields.items():
        if values and len(values) != len(files):
            raise RequestError(f'The form has {len(files)} images and {len(values)} of "{name}".', _HINT)
    uploads = []
    for number, file in enumerate(files):
        given = {name: values[number] for name, values in fields.items() if values}
        metadata = _metadata(given.get("metadata", ""))
        uploads.append(Upload(file.read(), "", given.get("id", ""), given.get("caption", ""), metadata))
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
