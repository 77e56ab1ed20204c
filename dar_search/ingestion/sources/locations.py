"""Paths as file: URIs, and the ids made of them.

A path is bytes all the way: on POSIX a file name is any bytes but "/" and NUL, and need not be text.
"""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit


def file_uri(path: bytes) -> str:
    """An absolute path -> its file: URI, every byte outside the unreserved set percent-encoded."""
    return f"file://{quote_from_bytes(path)}"


def is_file_uri(text: str) -> bool:
    """By its scheme; whether it is one of this machine, `path_of` says."""
    return text[:5].lower() == "file:"


def path_of(uri: str) -> bytes:
    """A file: URI of this machine -> the path. Raises ValueError for any other URI."""
    parts = urlsplit(uri)
    path = unquote_to_bytes(parts.path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.startswith(b"/") or b"\0" in path:
        raise ValueError(f"{uri!r} is no file: URI of this machine")
    return path


def record_id(uri: str) -> str:
    """The id of a picture that brings none of its own: 32 hexadecimal digits, the same for the same URI."""
    return hashlib.sha256(uri.encode()).hexdigest()[:32]


def printable(path: bytes) -> str:
    """A path for a person to read, on one line and valid UTF-8; not reversible."""
    text = os.fsdecode(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
