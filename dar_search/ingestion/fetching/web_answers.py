"""What a server's answer, or the lack of one, means: bytes within limits, or a code of `failures.FAILURE_CODES`."""

from __future__ import annotations

import http.client
import ssl
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.response import BaseHTTPResponse

from dar_search.errors import PictureError
from dar_search.ingestion.fetching.watched_sockets import Budget
from dar_search.ingestion.fetching.web_addresses import WebAddress

# What a connection raises once it is there; ValueError is for headers that are none.
BROKEN = (OSError, HTTPError, http.client.HTTPException, ValueError)
_PIECE = 1 << 16
Sink = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status that is not a picture's.

    Attributes:
        location: where a redirect leads, as the server says it.
        retry_after: seconds.
    """

    status: int
    location: str | None
    retry_after: float | None


class Later(Exception):
    """The host asks to be left alone for so many seconds."""

    def __init__(self, seconds: float, error: PictureError) -> None:
        self.seconds = seconds
        self.error = error
        super().__init__(error.message)


def check_length(response: BaseHTTPResponse, max_bytes: int) -> None:
    """Raises PictureError where the answer says that it is too large, or says nonsense."""
    declared = {part.strip() for part in (response.headers.get("Content-Length") or "").split(",")} - {""}
    if len(declared) > 1 or not all(part.isascii() and part.isdigit() for part in declared):
        raise PictureError("bad_response", "Its Content-Length is no number of bytes.", "Check the URL.")
    if any(len(part) > 15 or int(part) > max_bytes for part in declared):
        raise too_large(max_bytes)


def read_body(response: BaseHTTPResponse, max_bytes: int, sink: Sink) -> None:
    """The body into the sink, a piece at a time. Raises PictureError, and what is in BROKEN."""
    total = 0
    for piece in _unpacked(response, max_bytes):
        total += len(piece)
        if total > max_bytes:
            raise too_large(max_bytes)
        sink(piece)


def _unpacked(response: BaseHTTPResponse, max_bytes: int) -> Iterator[bytes]:
    """Pieces of the body. Compressed ones are unpacked a bit at a time, so that a bomb never unfolds."""
    encoding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    pieces = response.stream(_PIECE, decode_content=False)
    if encoding == "identity":
        yield from pieces
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise PictureError("bad_response", f"It is packed in a way that was not asked for ({encoding[:40]}).")
    unpacker = zlib.decompressobj(wbits=47)
    try:
        for piece in pieces:
            rest = piece
            while rest and not unpacker.eof:
                yield unpacker.decompress(rest, min(_PIECE, max_bytes + 1))
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise PictureError("bad_response", f"It cannot be unpacked ({error}).", "Try again later.") from error
    if not unpacker.eof:
        raise PictureError("connection_broken", "The packed answer ends too early.", "Try again later.")


def refused(answer: Answer, address: WebAddress) -> PictureError | Later:
    """What a status means."""
    what = f"{address.host} answers with status {answer.status}."
    match answer.status:
        case 404 | 410:
            return PictureError("url_not_found", what, "Check the URL.")
        case 401 | 402 | 403 | 407 | 451:
            return PictureError("url_forbidden", what, "Set ingest.fetch.authorization for the host if you may.")
        case 429 | 503:
            error = PictureError("server_busy", what, "Try again later, or ask the host less often.")
            return error if answer.retry_after is None else Later(answer.retry_after, error)
        case status if status >= 500:
            return PictureError("server_error", what, "Try again later.")
    return PictureError("bad_response", what, "Check the URL.")


def broken(error: Exception, budget: Budget, address: WebAddress) -> PictureError:
    """What an error of the network means, once there is a connection."""
    if budget.exceeded == "bytes":
        return PictureError("too_large", f"{address.host} sends more than the limit.", "Make the picture smaller.")
    if budget.exceeded == "time" or isinstance(error, TimeoutError):
        return PictureError("fetch_timeout", f"{address.host} takes too long.", "Try again later.")
    if isinstance(error, ssl.SSLCertVerificationError):
        return tls_failed(error, address)
    gone = isinstance(error, OSError | HTTPError | http.client.IncompleteRead) and not isinstance(error, InvalidHeader)
    if gone:
        return PictureError(
            "connection_broken", f"{address.host} broke off the answer ({said(error)}).", "Try again later."
        )
    return PictureError("bad_response", f"{address.host} does not speak HTTP ({said(error)}).", "Check the URL.")


def tls_failed(error: Exception, address: WebAddress) -> PictureError:
    """No connection that can be trusted."""
    return PictureError(
        "tls_failed", f"{address.host} cannot be trusted: {said(error)}.", "Check its certificate, or ca_file."
    )


def too_large(max_bytes: int) -> PictureError:
    return PictureError("too_large", f"It has more than {max_bytes:,} bytes.", "Make it smaller.")


def said(error: Exception | None) -> str:
    """A foreign error, on one line."""
    text = f"{type(error).__name__}: {error}"[:200]
    return "".join(character if character.isprintable() else " " for character in text)
