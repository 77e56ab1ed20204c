"""JSON read quickly, and its whole numbers exactly.

orjson reads a whole number beyond 64 bits as the nearest float, without a word; the standard library keeps every
digit, but takes what is no JSON (NaN), and is several times slower. So orjson judges, and reads all but such numbers.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_BEYOND = (b"0" * 20, b"-" + b"0" * 19)  # of all that orjson reads as a float for its size


def loads(content: bytes | str) -> Any:
    """The value; a whole number of any size is an int. Raises orjson.JSONDecodeError, a ValueError."""
    value = orjson.loads(content)
    digits = (content.encode() if isinstance(content, str) else content).translate(_DIGITS_AS_ZEROS)
    if not any(long in digits for long in _BEYOND):
        return value
    try:
        return json.loads(content)
    except RecursionError as error:
        raise orjson.JSONDecodeError("it nests too deeply for numbers as long as these", "", 0) from error
