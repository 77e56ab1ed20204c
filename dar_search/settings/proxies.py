"""Through which proxy an address is reached: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl reads them.

This machine itself is never asked through a proxy. A setting of one's own goes before the environment.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from dar_search.errors import SettingsError

DIRECT = "none"
_PORTS = {"http": 80, "https": 443}
_SHORT = re.compile(r"[0-9a-fx.]+")  # what a resolver may take as an address without asking anybody
#: What to do where the proxy is what fails.
ASKED_THROUGH = "It is asked through a proxy: check HTTP_PROXY and HTTPS_PROXY, or name its host in NO_PROXY."
_HINT = "Correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY (SOCKS is not spoken), or name the host in NO_PROXY."


def proxy_for(url: str, chosen: str | None = None) -> str | None:
    """The proxy's address, with its user and password, or None for a direct way.

    chosen: a setting that goes before the environment: an address, or "none".
    Raises SettingsError for a proxy that cannot be asked.
    """
    host = urlsplit(url).hostname or ""
    if is_loopback(host) or chosen == DIRECT:
        return None
    proxy = chosen or named_proxy(url)
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(f'The proxy "{shown(proxy)[:80]}" is no http(s) address.', _HINT)
    return proxy


def named_proxy(url: str) -> str | None:
    """What the environment (or the desktop) names for an address, as it stands there."""
    parts = urlsplit(url)
    named = urllib.request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    host = (parts.hostname or "").rstrip(".")
    bracketed = f"[{host}]" if ":" in host else host
    port = _PORTS.get(parts.scheme)
    with contextlib.suppress(ValueError):  # no port: whoever asks that address is told so
        port = parts.port or port
    exceptions = named.get("no", "")
    plain = {"no": ",".join(one.strip().rstrip(".") for one in exceptions.split(","))}
    if not proxy or urllib.request.proxy_bypass(bracketed):
        return None
    if urllib.request.proxy_bypass_environment(f"{bracketed}:{port}", plain):  # type: ignore[attr-defined]
        return None
    return None if _in_network(host, exceptions) else proxy


def shown(proxy: str) -> str:
    """A proxy's address without the user and password in it."""
    scheme, mark, rest = proxy.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def pool_for(url: str, chosen: str | None = None, **options: Any) -> urllib3.PoolManager:
    """Connections to an address, through its proxy where it has one. Raises SettingsError as `proxy_for`.

    options: of urllib3.PoolManager.
    """
    proxy = proxy_for(url, chosen)
    options = {"maxsize": 16, **options}
    if proxy is None:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy)
    headers = {}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login)
    # Without the login, which would otherwise stand in its errors.
    return urllib3.ProxyManager(shown(proxy), proxy_headers=headers, **options)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or its address: "0.0.0.0" and short forms such as "127.1" too."""
    name = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if not _SHORT.fullmatch(name):
            return name == "localhost" or name.endswith(".localhost")
        try:
            address = ipaddress.ip_address(socket.inet_aton(name))
        except OSError:
            return False
    return address.is_loopback or address.is_unspecified


def _in_network(host: str, exceptions: str) -> bool:
    """Whether NO_PROXY has a network, such as 10.0.0.0/8, with this address in it: urllib knows only names."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        for entry in exceptions.split(","):
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(entry.strip(), strict=False):
                    return True
    return False
