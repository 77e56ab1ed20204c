"""The form that an answer of another program has to have: what is of another is an error that says where.

A cluster of another kind, a proxy that answers in its place or a plugin that changes answers is thus told by its name,
and no part of the code meets a value of a type that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Strict, TypeAdapter, ValidationError

from dar_search.errors import StoreCorrupt

T = TypeVar("T")
Number = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Object = dict[str, Any]
_HINT = "Is it OpenSearch itself that answers? Look at what stands before it, and at its plugins."


class Form(Generic[T]):
    """What an answer has to be. what: for the message, such as "a search"."""

    def __init__(self, what: str, kind: type[T]) -> None:
        self._what = what
        self._adapter = TypeAdapter(kind)

    def read(self, answer: object) -> T:
        """The answer, with what is known of it. Raises StoreCorrupt where it is of another form."""
        try:
            return self._adapter.validate_python(answer)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"])) or "all of it"
            raise self.wrong(f"{place[:200]}{_document(answer, first['loc'])}: {first['msg']}") from None

    def wrong(self, why: str) -> StoreCorrupt:
        return StoreCorrupt(f"The cluster's answer to {self._what} is of another form ({why}).", _HINT)

    def each(self, parts: Sequence[Any], asked: Sequence[Any]) -> None:
        """Raises StoreCorrupt where there are not as many parts as were asked for."""
        if len(parts) != len(asked):
            raise self.wrong(f"{len(parts)} parts for {len(asked)}")


def _document(answer: object, place: Sequence[int | str]) -> str:
    """Of which document a place in an answer is, where it is of one."""
    id = None
    for part in place:
        if isinstance(answer, dict):
            id, answer = answer.get("_id", id), answer.get(part)
        elif isinstance(answer, list) and isinstance(part, int) and part < len(answer):
            answer = answer[part]
    return f' of the document "{id[:200]}"' if isinstance(id, str) else ""
