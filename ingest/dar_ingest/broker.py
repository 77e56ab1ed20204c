"""How Celery reaches its broker: over TLS the certificate and the host's name are checked, unless the address says not.

kombu alone takes rediss:// for "check nothing", and amqps:// for "check the certificate, for whichever name". What the
address asks for has the names that redis-py has (`ssl_cert_reqs=none`, `ssl_check_hostname=false`, `ssl_ca_certs=PATH`,
`ssl_certfile`, `ssl_keyfile`), so that one address works for the broker and for the imagination cache.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from dar_search.errors import SettingsError

_TLS = ("rediss", "amqps")
_FILES = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
_CHECKS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_SWITCHES = {"true": True, "false": False}


def reached(address: str, ca_file: Path | None = None) -> tuple[str, dict[str, Any] | None]:
    """The broker's address -> (what Celery takes as `broker_url`, `broker_use_ssl`: None where it is not TLS).

    Args:
        address: several, with ";" between them, are tried in turn.
        ca_file: the authorities to trust (PEM), unless the address names others; None: the system's.

    Raises SettingsError.
    """
    parts = [_parsed(one) for one in address.split(";")]
    schemes, hosts = {url.scheme for url, _ in parts}, {url.hostname or "localhost" for url, _ in parts}
    options = parts[0][1]
    if any(others != options for _, others in parts) or len(schemes) > 1:
        raise SettingsError("The broker's addresses differ in how they are reached.", "Give all the same ssl_ options.")
    (scheme,) = schemes
    if scheme not in _TLS:
        if options:
            raise SettingsError(
                f"The broker's address has {next(iter(options))}, and {scheme}:// is not TLS.", f"Write {scheme}s://."
            )
        return address, None
    given = {_FILES[name]: options[name] for name in _FILES if name in options}
    if ca_file is not None:
        given.setdefault("ca_certs", str(ca_file))
    for path in given.values():
        if not Path(path).is_file():
            raise SettingsError(f"The broker's certificates cannot be read: there is no file {path}.", "Correct it.")
    check = _one_of(_CHECKS, "ssl_cert_reqs", options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_"))
    named = _one_of(_SWITCHES, "ssl_check_hostname", options.get("ssl_check_hostname", "true").lower())
    named = named and check != ssl.CERT_NONE
    url = ";".join(_without_options(url) for url, _ in parts)
    if scheme == "rediss":
        return url, {
            "ssl_cert_reqs": check,
            "ssl_check_hostname": named,
            **{f"ssl_{name}": path for name, path in given.items()},
        }
    if named and len(hosts) > 1:  # kombu keeps the first one's name for all
        raise SettingsError("Of several amqps:// brokers only one name can be checked.", "Give the one of all of them.")
    # kombu asks for 127.0.0.1 where it reads localhost, which is not what a certificate says.
    return url, {"cert_reqs": check, **({"server_hostname": hosts.pop()} if named else {}), **given}


def _parsed(address: str) -> tuple[SplitResult, dict[str, str]]:
    try:
        url = urlsplit(address)
        url.port  # noqa: B018  # raises what is wrong with it
    except ValueError as error:
        raise SettingsError(f"The broker's address cannot be used: {error}.", "Such as amqps://host:5671//.") from None
    options = {name: value for name, value in parse_qsl(url.query) if name.startswith("ssl_")}
    known = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
    for name in options:
        if name not in known:
            raise SettingsError(f"The broker's address has {name}.", f"There are {', '.join(known)}.")
    return url, options


def _without_options(url: SplitResult) -> str:
    rest = [(name, value) for name, value in parse_qsl(url.query) if not name.startswith("ssl_")]
    # Not geturl(), which would make amqps://host// (the virtual host "/") another address.
    text, _, _ = url.geturl().partition("?")
    return f"{text}?{urlencode(rest)}" if rest else text


def _one_of(values: dict[str, Any], name: str, value: str) -> Any:
    if value not in values:
        raise SettingsError(f"The broker's address has {name}={value}.", f"It is one of {', '.join(values)}.")
    return values[value]
