"""Every error that SQLite can have about a file must become one of the project's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dar_search.errors import StoreCorrupt, StoreError
from dar_search.stores.sqlite.errors import ERRORS, store_errors

#: What only a mistake in our own code can cause, or what is no error at all: these stay what they are.
OURS = """
OK ERROR INTERNAL ABORT NOTFOUND EMPTY SCHEMA CONSTRAINT MISMATCH MISUSE RANGE NOTICE WARNING ROW DONE
"""
LAST_PRIMARY_CODE = sqlite3.SQLITE_WARNING  # 28; then only ROW and DONE
STORE = Path("/data/store.db")


def error_of(code: int, message: str = "what SQLite says") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


def test_each_of_sqlites_results_is_mapped_or_known_to_be_a_mistake_of_ours() -> None:
    ours = {getattr(sqlite3, f"SQLITE_{name}") for name in OURS.split()}
    assert ours.isdisjoint(ERRORS)
    assert ours | set(ERRORS) == set(range(LAST_PRIMARY_CODE + 1)) | {sqlite3.SQLITE_ROW, sqlite3.SQLITE_DONE}


@pytest.mark.parametrize(
    "code", [*ERRORS, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_CORRUPT_VTAB]
)
def test_an_error_names_the_file_and_says_what_to_do(code: int) -> None:
    with pytest.raises(StoreError) as raised, store_errors(STORE):
        raise error_of(code)
    assert type(raised.value) is ERRORS[code & 0xFF][0]
    assert str(STORE) in raised.value.message
    assert "what SQLite says" in raised.value.message
    assert raised.value.hint


def test_a_mistake_in_our_sql_is_not_blamed_on_the_file() -> None:
    for error in (error_of(sqlite3.SQLITE_ERROR, "near SELEC: syntax error"), sqlite3.ProgrammingError("wrong use")):
        with pytest.raises(type(error)), store_errors(STORE):
            raise error


@pytest.mark.parametrize("message", ["no such table: records", "no such column: caption", "malformed vectors"])
def test_a_missing_part_is_damage(message: str) -> None:
    with pytest.raises(StoreCorrupt), store_errors(STORE):
        raise error_of(sqlite3.SQLITE_ERROR, message)
