"""Numbers of any type, made what a port declares: what a store or a server is sent must not depend on how they came."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np


def as_float(value: Any) -> Any:
    """A real number of any type -> the float. What is none (a boolean too) stays, for the caller to refuse."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    try:
        return float(value)
    except OverflowError:  # of a whole number or a fraction
        floor: int = math.floor(value)  # type: ignore[assignment]  # an int, of each of them
        return math.inf if floor > 0 else -math.inf


def as_int(value: Any) -> Any:
    """A whole number of any type, 60.0 too, -> the int. What is none (a boolean too) stays."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    whole = as_float(value)
    return int(whole) if whole.is_integer() else value


def as_vector(value: Any) -> Any:
    """Numbers in an array of any type, or a list -> the float32 array. What is none (booleans too) stays."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return value
    if array.dtype.kind not in "fiu":
        return value
    with np.errstate(over="ignore"):  # infinite then, and refused as that
        return array.astype(np.float32, copy=False)
