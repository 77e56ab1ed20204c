"""A picture's URL -> whom to ask for what: parsed once, checked, and resolved once to addresses that may be asked."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from dar_search.errors import PictureError
from dar_search.ingestion.fetching.addresses import AllowedHosts, is_public
from dar_search.settings.masking import has_login, shown

MAX_URL = 8_192
MAX_ADDRESSES = 4
PORTS = {"http": 80, "https": 443}
_HINT = "Write http(s)://host/path."
_HOST = re.compile(r"[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*")
# Above them no system service listens by custom, and below no picture is served but on these two.
_LAST_SYSTEM_PORT = 1_023

Resolver = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A URL, taken apart.

    Attributes:
        host: lower case, without a last dot; an IPv6 address without brackets.
        target: path and query, percent-encoded, as they go into the request.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def parse(url: str) -> WebAddress:
    """Takes a URL apart. What is connected to is what this says, so no two readers can differ about it.

    Raises:
        PictureError: unsupported_address (another scheme), bad_url.
    """
    shown = _printable(url)
    scheme = re.match(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):", url)
    if scheme and scheme[1].lower() not in PORTS:
        raise PictureError("unsupported_address", f'"{shown}" is not an address that pictures are read from.', _HINT)
    if len(url) > MAX_URL or not url.isprintable() or re.search(r"[\s\\]", url):
        raise _too_long(url)
    try:
        parts = parse_url(url)
    except (LocationParseError, ValueError) as error:
        raise PictureError("bad_url", f'"{shown}" is no URL.', _HINT) from error
    host = (parts.host or "").lower().strip("[]").rstrip(".")
    if parts.scheme not in PORTS or not host or not (_is_address(host) or (len(host) < 254 and _HOST.fullmatch(host))):
        raise PictureError("bad_url", f'"{shown}" names no host.', _HINT)
    if parts.auth is not None:
        raise _with_login()
    if parts.port == 0:
        raise PictureError("bad_url", f'"{shown}" has no port that can be asked.', _HINT)
    return WebAddress(parts.scheme, host, parts.port or PORTS[parts.scheme], parts.request_uri)


def joined(base: str, reference: str) -> str:
    """The URL that a reference means at a place, as RFC 3986, section 5 has it. Raises PictureError: bad_url."""
    try:
        return urljoin(base, reference)
    except ValueError as error:  # brackets without an address in them, characters that become others
        raise PictureError("bad_url", f'"{_printable(reference)}" is no URL.', _HINT) from error


def refuse_login(url: str) -> None:
    """Raises PictureError bad_url, which does not repeat it, for a URL with a user or password in it, or too long.

    One that is no URL is left to whoever asks for it, unless it seems to have them.
    """
    if len(url) > MAX_URL:
        raise _too_long(url)
    if not url:
        return
    try:
        parse(url)  # an "@" in a path, after "//" too, is none
    except PictureError as error:
        if has_login(url):
            raise _with_login() from error


def resolve(address: WebAddress, allowed: AllowedHosts, resolver: Resolver, seconds: float) -> tuple[str, ...]:
    """The network addresses that may be asked, at most `MAX_ADDRESSES`. Every answer must be allowed, or none is.

    Args:
        resolver: a host and port -> addresses as text; may raise OSError or UnicodeError.
        seconds: how long it may take.

    Raises:
        PictureError: host_unknown, address_refused, port_refused, fetch_timeout.
    """
    named = allowed.names(address.host, address.port)
    found = list(dict.fromkeys(_within(seconds, resolver, address)))
    addresses = [ipaddress.ip_address(text) for text in found]
    if not addresses:
        raise PictureError("host_unknown", f"The host {address.host} has no address.", "Check the URL.")
    inside = [one for one in addresses if allowed.contains(one, address.port)]
    refused = [one for one in addresses if one not in inside and not is_public(one)]
    if refused and not named:
        raise PictureError(
            "address_refused",
            f"The host {address.host} leads to an address inside.",
            "Pictures are fetched from public addresses, and from hosts in ingest.fetch.allowed_hosts.",
        )
    trusted = named or len(inside) == len(addresses)
    if address.port <= _LAST_SYSTEM_PORT and address.port not in PORTS.values() and not trusted:
        raise PictureError(
            "port_refused",
            f"Port {address.port} is not one of the web's.",
            f"Put {address.host}:{address.port} into ingest.fetch.allowed_hosts.",
        )
    return tuple(str(one) for one in addresses[:MAX_ADDRESSES])


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The operating system's answer, IPv4 and IPv6. Raises OSError, UnicodeError."""
    return [str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _with_login() -> PictureError:
    hint = "Set ingest.fetch.authorization for the host."
    return PictureError("bad_url", "The URL has a user or password in it.", hint)


def _too_long(url: str) -> PictureError:
    message = f'"{_printable(url)}" has characters that no URL has, or is too long.'
    return PictureError("bad_url", message, _HINT)


def _printable(url: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in shown(url))


def _within(seconds: float, resolver: Resolver, address: WebAddress) -> Sequence[str]:
    """The resolver's answer; it is left alone where it takes longer, since nothing can stop it."""
    if _is_address(address.host):
        return [address.host]
    answers: list[Sequence[str] | Exception] = []

    def ask() -> None:
        try:
            answers.append(resolver(address.host, address.port))
        except (OSError, UnicodeError) as error:
            answers.append(_no_descriptor() or error)

    thread = threading.Thread(target=ask, name="dar-resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if not answers:
        raise PictureError("fetch_timeout", f"Looking up {address.host} took too long.", "Check the name server.")
    (answer,) = answers
    if isinstance(answer, Exception):
        raise PictureError("host_unknown", f"There is no host {address.host}.", "Check the URL.") from answer
    return answer


def _no_descriptor() -> OSError | None:
    """With no file descriptor left, the system's resolver says of a host that it knows that there is none."""
    try:
        socket.socket().close()
    except OSError as error:
        return error
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # a zone names one of this machine's networks
