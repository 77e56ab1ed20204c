"""What is a picture whose name does not say it, and how a file that is none is counted."""

from __future__ import annotations

from dar_search.ingestion.decoding.signatures import signature_of
from dar_search.ingestion.sources.locations import printable
from dar_search.ingestion.sources.pairing import role_of, suffix_of


def is_taken(start: bytes) -> bool:
    """Whether a file that begins so is a picture that can be decoded."""
    signature = signature_of(start)
    return signature is not None and signature.supported


def kind_of(name: bytes) -> str:
    """A suffix, such as ".nef"; "no suffix" where a name has none that says anything."""
    return "no suffix" if role_of(name) == "nameless" else printable(suffix_of(name))
