"""Reads the embeddings that items bring: of a column of a Parquet file, or of a NumPy array in a file."""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np

from dar_search.data import FloatArray
from dar_search.errors import PictureError
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.files import unreadable
from dar_search.ingestion.sources.lists.arrow import SCHEME, Cells

ARRAY = "npy:"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def row_address(path: bytes, row: int) -> str:
    """A row of a NumPy file: what `Vectors.vector` reads."""
    return f"{ARRAY}{row}:{quote_from_bytes(path)}"


class NumpyRows:
    """A two-dimensional array of floating-point numbers in an .npy file, read row by row. Close it.

    Raises PictureError: not_allowed, broken_shard for another kind of array; OSError.

    Attributes: shape.
    """

    def __init__(self, path: bytes, allowance: Allowance = EVERYTHING) -> None:
        self._file = os.fdopen(allowance.opened(path), "rb")
        try:
            version = np.lib.format.read_magic(self._file)
            if version not in _HEADERS:
                raise ValueError(f"its format {version} is not one of numbers")
            shape, by_column, self._dtype = _HEADERS[version](self._file)
            if len(shape) != 2 or by_column or self._dtype.kind != "f":
                raise ValueError(f"it is {self._dtype} {shape}, not rows of floating-point numbers")
        except ValueError as error:
            self._file.close()
            message = f"The NumPy file cannot be read: {str(error)[:200]}."
            raise PictureError("broken_shard", message, "Save it with numpy.save.") from error
        except BaseException:
            self._file.close()
            raise
        self.shape: tuple[int, int] = shape
        self._start = self._file.tell()

    def row(self, number: int) -> FloatArray:
        size = self.shape[1] * self._dtype.itemsize
        data = os.pread(self._file.fileno(), size, self._start + number * size)
        if not 0 <= number < self.shape[0] or len(data) < size:
            raise PictureError("broken_shard", "The NumPy file ends before the row.", "Copy it again.")
        return np.frombuffer(data, self._dtype).astype(np.float64)

    def close(self) -> None:
        self._file.close()


class Vectors:
    """Reads items' embeddings, best in the order in which they lie. Used from one thread; close it."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._cells = Cells(allowance)
        self._array: tuple[str, NumpyRows] | None = None

    def vector(self, address: str) -> FloatArray:
        """An item's `vector` -> (d,) of unit length. Raises PictureError: bad_vector, and what files cannot be read."""
        if address.startswith(SCHEME):
            return unit_vector(_numbers(self._cells.value(address)))
        number, _, path = address.removeprefix(ARRAY).partition(":")
        if self._array is None or self._array[0] != path:
            self._close_array()
            try:
                self._array = path, NumpyRows(unquote_to_bytes(path), self._allowance)
            except OSError as error:
                raise unreadable(error) from error
        return unit_vector(self._array[1].row(int(number)))

    def close(self) -> None:
        self._cells.close()
        self._close_array()

    def _close_array(self) -> None:
        if self._array is not None:
            self._array[1].close()
            self._array = None


def unit_vector(values: FloatArray) -> FloatArray:
    """(d,) of any length > 0 -> float32 of length 1. Raises PictureError for what has no direction."""
    length = float(np.linalg.norm(values)) if np.isfinite(values).all() else 0.0
    if not np.isfinite(length) or length <= 0:
        message = "The vector is zero, or has numbers that are not finite."
        raise PictureError("bad_vector", message, "Encode the picture again.")
    return (values / length).astype(np.float32)


def _numbers(cell: object) -> FloatArray:
    """A list of pyarrow's -> (d,) float64."""
    values = getattr(cell, "values", None)
    if values is None or values.null_count or not len(values):
        raise PictureError("bad_vector", "The row has no vector, or one with gaps.", "Encode the picture again.")
    try:
        return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    except (TypeError, ValueError):
        raise PictureError("bad_vector", "The column holds no numbers.", "Name another: --vectors.") from None
