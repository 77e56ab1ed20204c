"""What ingestion and a decoder process say to each other, over the process's standard input and output.

A message is a header (three lengths), a small JSON object, and up to two blocks of bytes. No pickle: what comes out
of a process that has decoded a hostile file is outside data too, and is checked before it is used.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

_HEADER = struct.Struct("<III")
MAX_FIELDS_BYTES = 1 << 20
MAX_BLOCK_BYTES = 1 << 26


class BadMessage(Exception):
    """Bytes that are no message."""


@dataclass(frozen=True, slots=True)
class Message:
    """Attributes: fields (JSON), and two blocks of bytes, which may be empty."""

    fields: dict[str, Any]
    pixels: bytes = b""
    thumbnail: bytes = b""

    def pack(self) -> bytes:
        fields = json.dumps(self.fields).encode()
        return b"".join(
            (_HEADER.pack(len(fields), len(self.pixels), len(self.thumbnail)), fields, self.pixels, self.thumbnail)
        )


class Unpacker:
    """Puts messages together from pieces of a stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes | memoryview) -> None:
        self._buffer += piece

    def next(self) -> Message | None:
        """The next whole message; None until its last byte is there. Raises BadMessage."""
        if len(self._buffer) < _HEADER.size:
            return None
        lengths = _HEADER.unpack_from(self._buffer)
        if lengths[0] > MAX_FIELDS_BYTES or max(lengths[1:]) > MAX_BLOCK_BYTES:
            raise BadMessage("a part is too long")
        end = _HEADER.size + sum(lengths)
        if len(self._buffer) < end:
            return None
        parts: list[bytes] = []
        start = _HEADER.size
        with memoryview(self._buffer) as view:
            for length in lengths:
                parts.append(bytes(view[start : start + length]))
                start += length
        del self._buffer[:end]
        try:
            fields = json.loads(parts[0])
        except ValueError as error:
            raise BadMessage("the fields are not JSON") from error
        if not isinstance(fields, dict):
            raise BadMessage("the fields are not an object")
        return Message(fields, parts[1], parts[2])
