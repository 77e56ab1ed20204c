"""Options of one model, as settings give them (names and plain values) -> the model's own frozen dataclass."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dar_search.errors import SettingsError

Options = TypeVar("Options")


def read_options(kind: type[Options], given: Mapping[str, Any] | None, *, model: str) -> Options:
    """`kind` with the given values, checked. Raises SettingsError for an unknown name or a value that does not fit."""
    values = dict(given or {})
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # all kinds are dataclasses
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            meant = f"Did you mean {close[0]}? " if close else ""
            raise SettingsError(f"{model} has no option {name!r}.", f"{meant}Its options: {', '.join(names)}.")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "options"
        raise SettingsError(f"{model}: {place}: {first['msg']}.", f"Its options: {', '.join(names)}.") from None
