"""Which network addresses are public, and which hosts are allowed although theirs are not.

A picture's URL comes from outside. It must not lead to this machine, its network or a cloud's metadata service, in
none of the forms in which IPv6 carries an IPv4 address. The blocks are those of IANA's special-purpose registries
(RFC 6890 and its updates), written out, because what `ipaddress.is_global` answers depends on Python's version.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from dar_search.errors import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # "this network"
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a carrier's customers; a cloud's metadata is here too
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's metadata, at an address that is public on paper
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays from 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Only what is handed out as global unicast is public, so all the rest (loopback, link-local, unique local, site-local,
# multicast, IPv4-compatible, translated forms, 64:ff9b:1::/48 of local NAT64) needs no list.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_ISATAP = (0x00005EFE, 0x02005EFE)
_ENTRY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/\[\]@?#]+)(:(?P<port>\d{1,5}))?", re.IGNORECASE)
_ENTRY_HINT = "Write pictures.example.internal, .example.internal, 10.1.0.0/16, 127.0.0.1:8080 or [fd00::1]."


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet, whatever it carries inside."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_4)
    number = int(address)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(number & 0xFFFFFFFF))
    if address not in _GLOBAL_UNICAST or any(address in block for block in _NOT_PUBLIC_6):
        return False
    if address in _6TO4:
        return is_public(IPv4Address(number >> 80 & 0xFFFFFFFF))
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        return is_public(IPv4Address(number & 0xFFFFFFFF))
    return True


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    network: Network | None
    port: int | None


class AllowedHosts:
    """Hosts inside that may be asked although their addresses are not public.

    Args:
        entries: each a host's name, ".example.internal" for all names below it, an address, or a network such as
            10.1.0.0/16; with ":port" for that port alone (an IPv6 address in brackets then).

    Raises:
        SettingsError: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._entries = tuple(_entry(text) for text in entries)

    def names(self, host: str, port: int) -> bool:
        """Whether an entry names the host, whatever its addresses are. host: lower case, without a last dot."""
        return any(
            entry.network is None
            and entry.port in (None, port)
            and (host == entry.name or (entry.name.startswith(".") and host.endswith(entry.name)))
            for entry in self._entries
        )

    def contains(self, address: Address, port: int) -> bool:
        """Whether an entry's address or network has the address."""
        plain = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
        return any(
            entry.network is not None and entry.port in (None, port) and plain in entry.network
            for entry in self._entries
        )


def _entry(text: str) -> _Entry:
    plain = text.strip().lower()
    network = _network(plain)
    if network is not None:
        return _Entry("", network, None)
    parts = _ENTRY.fullmatch(plain)
    port = int(parts["port"]) if parts and parts["port"] else None
    if not parts or (port is not None and not 0 < port < 65_536) or "/" in parts["host"]:
        raise SettingsError(f'"{text[:80]}" names no host that may be allowed.', _ENTRY_HINT)
    host = parts["host"].strip("[]")
    network = _network(host)
    if network is None and parts["host"].startswith("["):
        raise SettingsError(f'"{text[:80]}" names no host that may be allowed.', _ENTRY_HINT)
    return _Entry("" if network else host.rstrip("."), network, port)


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
