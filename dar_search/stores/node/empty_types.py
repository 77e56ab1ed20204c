"""A jar of types with nothing in them, for classes that name a type and never use it. No Java compiler is needed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

_MAGIC = 0xCAFEBABE
_JAVA_8 = (0, 52)  # minor and major version of the format; every later runtime reads it
_PUBLIC_ABSTRACT_INTERFACE = 0x0601
_NOTHING = 0  # interfaces, fields, methods, attributes: how many
_UTF8, _CLASS = 1, 7  # tags in the constant pool


def write_empty_types(jar: Path, names: Iterable[str]) -> None:
    """Writes a jar in which each name ("org.example.Some", "org.example.Some$Inner") is an empty interface."""
    with zipfile.ZipFile(jar, "w") as archive:
        for name in names:
            path = name.replace(".", "/")
            archive.writestr(zipfile.ZipInfo(f"{path}.class"), empty_interface(path))


def empty_interface(path: str) -> bytes:
    """The class file of `public interface PATH {}`, as Java's virtual machine specification has it (4.1, 4.4)."""
    pool = (_text(path), _class(1), _text("java/lang/Object"), _class(3))
    return b"".join(
        (
            struct.pack(">IHH", _MAGIC, *_JAVA_8),
            struct.pack(">H", len(pool) + 1),  # entries are counted from 1
            *pool,
            struct.pack(">HHH", _PUBLIC_ABSTRACT_INTERFACE, 2, 4),  # itself and what it extends, in the pool
            struct.pack(">HHHH", *[_NOTHING] * 4),
        )
    )


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">BH", _UTF8, len(encoded)) + encoded


def _class(text: int) -> bytes:
    return struct.pack(">BH", _CLASS, text)
