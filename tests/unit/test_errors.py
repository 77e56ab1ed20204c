"""The error tree is the one that its own file draws, and its errors survive a trip between processes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from dar_search import errors
from dar_search.errors import DarError, PictureError


def tree(kind: type[DarError] = DarError) -> Iterator[type[DarError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


DRAWN = re.findall(r"^([│ ]*)[├└]── (\w+)\s*(.*)$", errors.__doc__ or "", re.MULTILINE)


def test_the_drawing_shows_every_error_and_no_other() -> None:
    assert sorted(name for _, name, _ in DRAWN) == sorted(kind.__name__ for kind in tree() if kind is not DarError)


@pytest.mark.parametrize(("indent", "name", "text"), DRAWN, ids=[name for _, name, _ in DRAWN])
def test_the_drawing_tells_the_parent_the_code_and_the_status(indent: str, name: str, text: str) -> None:
    kind = getattr(errors, name)
    parents = [
        other
        for other_indent, other, _ in DRAWN[: DRAWN.index((indent, name, text))]
        if len(other_indent) < len(indent)
    ]
    assert kind.__bases__[0].__name__ == (parents[-1] if parents else "DarError")
    if parents and kind is not PictureError:
        assert text.split()[0].rstrip(":") == kind.code
    for status in re.findall(r"\((?:HTTP )?(\d{3})", text):
        assert kind.status == int(status)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_the_kinds_of_error_have_the_statuses_of_their_kind() -> None:
    for kind in tree(errors.InputError):
        assert kind.status == 400
    for kind in (*tree(errors.StoreError), *tree(errors.ModelError)):
        assert kind.status in (403, 404, 409, 429, 501, 503, 504)


def test_every_error_of_the_project_is_in_the_tree() -> None:
    defined = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert set(defined) == set(tree())


@pytest.mark.parametrize("kind", list(tree()), ids=lambda kind: kind.__name__)
def test_an_error_is_one_line_and_travels_whole(kind: type[DarError]) -> None:
    given = ("It\n is  broken.", "Mend\r\nit.")
    error = PictureError("too_large", *given) if kind is PictureError else kind(*given)
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert type(same) is kind
        assert (same.message, same.hint) == ("It is broken.", "Mend it.")
        assert str(same) == "It is broken. Mend it."
        assert same.as_dict() == {"code": error.code, "message": "It is broken.", "hint": "Mend it."}


def test_an_error_needs_no_hint() -> None:
    assert str(DarError("It is broken.")) == "It is broken."


def test_a_pictures_error_has_the_code_of_its_reason() -> None:
    assert PictureError("truncated", "It ends early.").as_dict()["code"] == "truncated"
    assert PictureError.code == "bad_picture"
