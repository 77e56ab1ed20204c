"""What pyarrow's columns hold, and their rows with the values that JSON has."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_NUMBERS = re.compile(r"__index_level_\d+__")


def holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
    return is_binary(kind)


def left_out(field: pa.Field, *, chosen: bool) -> str:
    """What a column holds that is no metadata, in words; empty for one that is. chosen: by its name."""
    if is_binary(field.type):
        return "bytes"
    if is_vector(field.type) and not chosen:
        return "vectors: --vectors takes one"
    return "" if chosen or not _ROW_NUMBERS.fullmatch(field.name) else "the row numbers of pandas"


def is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def is_vector(kind: pa.DataType) -> bool:
    import pyarrow as pa

    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_list and bool(pa.types.is_floating(kind.value_type))


def has_gaps(table: Any, group: int, held: str) -> bool:
    """Whether some row of the group may have no picture: what the file's own statistics do not rule out."""
    meta = table.metadata.row_group(group)
    for number in range(meta.num_columns):
        column = meta.column(number)
        if column.path_in_schema in (held, f"{held}.bytes"):
            known = column.statistics is not None and column.statistics.has_null_count
            return not (known and column.statistics.null_count == 0)
    return True


def python_rows(batch: pa.RecordBatch, held: str) -> Iterator[dict[str, Any]]:
    """Rows as JSON has them. Of the column that has pictures: whether there is one."""
    columns: dict[str, list[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == held:
            cells = column.field("bytes") if hasattr(column.type, "num_fields") and column.type.num_fields else column
            columns[name] = [cell.is_valid for cell in cells]
        else:
            columns[name] = [_plain(value) for value in _exact_times(column).to_pylist()]
    for number in range(batch.num_rows):
        yield {name: values[number] for name, values in columns.items() if values[number] is not None}


def _exact_times(column: pa.Array) -> pa.Array:
    """Times finer than microseconds, which Python's have not."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value
