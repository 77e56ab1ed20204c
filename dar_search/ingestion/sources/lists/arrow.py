"""Parquet as pyarrow reads it: opened where that is allowed, a column forwards, a cell by its address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

from dar_search.errors import PictureError, SourceError, SourceNotAllowed
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.files import unreadable
from dar_search.ingestion.sources.lists.list_file import ListFile

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
SCHEME = "parquet:"
_CELLS_AT_ONCE = 16
_BUFFER_BYTES = 1 << 20


@contextmanager
def opened_parquet(path: bytes, allowance: Allowance = EVERYTHING) -> Iterator[pq.ParquetFile]:
    """A Parquet file, read piece by piece.

    Raises SourceError without pyarrow; PictureError: not_allowed; OSError, and ValueError for what is none.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise SourceError("Parquet is read by pyarrow.", 'Install it: pip install "dar-search[parquet]"') from None
    with os.fdopen(allowance.opened(path), "rb") as file:
        yield pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)


@contextmanager
def parquet_errors(file: ListFile) -> Iterator[None]:
    """What keeps the whole of a source from being read, as SourceError."""
    try:
        yield
    except PictureError as error:
        raise SourceNotAllowed(error.message, error.hint) from error
    except OSError as error:
        raise file.unreadable(error) from error
    except ValueError as error:  # pyarrow's are
        message = f'"{file.shown}" is not a Parquet file that can be read: {str(error)[:200]}.'
        raise SourceError(message, "Check the file.") from error


def unreadable_parquet(error: Exception) -> PictureError:
    """What an error in reading means for the failure list. pyarrow's are OSErrors without a number, and ValueErrors."""
    if isinstance(error, PictureError):
        return error
    if isinstance(error, OSError) and error.errno:
        return unreadable(error)
    return PictureError("broken_shard", f"The Parquet file cannot be read: {str(error)[:200]}.", "Write it again.")


def cell_address(path: bytes, group: int, row: int, column: str) -> str:
    """One value of a Parquet file: what `Cells.value` reads."""
    return f"{SCHEME}{group}:{row}:{quote(column, safe='')}:{quote_from_bytes(path)}"


class Cells:
    """Reads cells in the order in which they lie; another order is read too, from its row group's start each time."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._place: tuple[str, str, str] = ("", "", "")
        self._values: Iterator[Any] = iter(())
        self._next = 0

    def value(self, address: str) -> Any:
        """A cell's value, as pyarrow has it. Raises PictureError."""
        group, row, column, path = address.removeprefix(SCHEME).split(":")
        place, number = (path, group, column), int(row)
        if place != self._place or number < self._next:
            self.close()
            self._values = _values(unquote_to_bytes(path), int(group), unquote(column), self._allowance)
            self._place = place
        try:
            for value in self._values:
                self._next += 1
                if self._next > number:
                    return value
        except (OSError, ValueError) as error:
            self.close()
            raise unreadable_parquet(error) from error
        self.close()
        raise PictureError("broken_shard", "The row is not there any more.", "Ingest the list again.")

    def close(self) -> None:
        close = getattr(self._values, "close", None)
        if close is not None:
            close()
        self._values, self._place, self._next = iter(()), ("", "", ""), 0


def picture_bytes(value: Any) -> bytes:
    """A picture's cell -> its bytes. Raises PictureError."""
    held = value.as_py()
    data = held.get("bytes") if isinstance(held, dict) else held
    if not data:
        raise PictureError("empty_file", "The row has no picture.", "Write it again.")
    return bytes(data)


def _values(path: bytes, group: int, column: str, allowance: Allowance) -> Iterator[Any]:
    with opened_parquet(path, allowance) as table:
        for batch in table.iter_batches(_CELLS_AT_ONCE, [group], [column], use_threads=False):
            yield from batch.column(0)
