"""Through which proxy an address is reached: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl reads them.

This machine itself is never asked through a proxy. A setting of one's own goes before the environment.
"""

from __future__ import annotations

import base64
import ipaddress
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from dar_search.errors import SettingsError


def proxy_for(url: str, chosen: str | None = None) -> str | None:
    """The proxy's address, or None. chosen: a setting: an address, or "none" for a direct way."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or chosen == "none":
        return None
    if not chosen:
        named = urllib.request.getproxies()
        found = named.get(parts.scheme) or named.get("all")
        if not found or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        chosen = found if "://" in found else f"http://{found}"
    _check(chosen)
    return chosen


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or its address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost")


def pool_for(url: str, chosen: str | None = None, **options: Any) -> urllib3.PoolManager:
    """Connections to an address, through its proxy where it has one.

    options: of urllib3.PoolManager.
    Raises SettingsError for a proxy that cannot be used.
    """
    proxy = proxy_for(url, chosen)
    if proxy is None:
        return urllib3.PoolManager(maxsize=16, **options)
    parts = urlsplit(proxy)
    headers = {}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["proxy-authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return urllib3.ProxyManager(bare, proxy_headers=headers, maxsize=16, **options)


def _check(proxy: str) -> None:
    try:
        parts = urlsplit(proxy)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(
            f'The proxy "{proxy.rpartition("@")[2][:80]}" is no http(s) address.',
            "Correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY (SOCKS is not spoken), or name the host in NO_PROXY.",
        )
