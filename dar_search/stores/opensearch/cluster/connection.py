"""Connections to OpenSearch: an address or a profile, credentials, certificates -> a client."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from opensearchpy import JSONSerializer, OpenSearch, SerializationError

from dar_search.errors import FeatureMissing, SettingsError
from dar_search.ingestion.fetching.watched_sockets import WatchedTlsSocket
from dar_search.settings import Settings, mask, secret
from dar_search.settings.cluster_access import PROFILE, ClusterAccess, read_profile
from dar_search.settings.proxies import is_loopback, proxy_for, shown
from dar_search.stores.opensearch.cluster.bounded_connections import BoundedConnection
from dar_search.stores.opensearch.cluster.errors import mapped as mapped
from dar_search.values import exact_json

_LOG = logging.getLogger(__name__)
_PORTS = {"http": 9200, "https": 443}  # opensearch-py's own defaults
_DEAD_SECONDS = 2  # before a host that did not answer is asked again, where there are others; doubles each time
_ADDRESS_HINT = "Write http(s)://host:port/prefix; several hosts are separated by commas."


@dataclass(frozen=True, slots=True)
class Host:
    """One address of a cluster. prefix: a path before OpenSearch's own, such as "/search", or empty."""

    name: str
    port: int
    tls: bool
    prefix: str


def connect(address: str, settings: Settings) -> OpenSearch:
    """A client of the cluster at an address: `http(s)://host:port/prefix`, several with commas between, or
    `profile:NAME`. It connects at the first request, is safe to use from several threads, and tries a request again
    only where a host cannot be reached or answers 502, 503 or 504: once, or once with each other host.

    Raises SettingsError for what is set wrongly, FeatureMissing where AWS signing is asked for without botocore.
    """
    addresses, access = _resolved(address, settings)
    hosts, login = parse_hosts(addresses)
    access.check()
    if login and (access.username or access.api_key or access.bearer_token or access.aws_region):
        access = access.model_copy(
            update={"username": None, "password": None, "api_key": None, "bearer_token": None, "aws_region": None}
        )
    authentication, headers = _authentication(access, login)
    if (authentication or headers) and not all(host.tls or is_loopback(host.name) for host in hosts):
        _LOG.warning("Credentials travel unencrypted to %s: use https.", mask(addresses[0]))
    options: dict[str, Any] = {}
    if any(host.tls for host in hosts):
        options["ssl_context"] = _tls(access)
    return OpenSearch(
        [{"host": host.name, "port": host.port, "use_ssl": host.tls, "url_prefix": host.prefix} for host in hosts],
        connection_class=BoundedConnection,
        serializer=_Serializer(),
        http_auth=authentication,
        headers=headers,
        timeout=access.timeout,
        connect_timeout=access.connect_timeout,
        http_compress=access.compress,
        pool_maxsize=access.pool_size,
        proxy=secret(access.proxy),
        max_retries=max(1, len(hosts) - 1),
        dead_timeout=_DEAD_SECONDS,
        **options,
    )


def is_own(address: str, settings: Settings) -> bool:
    """Whether an address is the settings' own store, or some of its hosts. Raises SettingsError for what is none."""
    if address == settings.store:
        return True
    if not all(one.startswith(tuple(f"{scheme}://" for scheme in _PORTS)) for one in (address, settings.store)):
        return False
    asked, own = (
        {(host.name, host.port, host.tls) for host in parse_hosts(_resolved(one, settings)[0])[0]}
        for one in (address, settings.store)
    )
    return asked <= own


def proxies(address: str, settings: Settings) -> list[str]:
    """The proxies through which a cluster is asked, without their logins. Raises SettingsError as `connect`."""
    addresses, access = _resolved(address, settings)
    asked = (proxy_for(one, secret(access.proxy)) for one in addresses)
    return sorted({shown(proxy) for proxy in asked if proxy})


def parse_hosts(addresses: list[str]) -> tuple[tuple[Host, ...], tuple[str, str] | None]:
    """Addresses -> hosts, and the user and password if an address has them in it. Raises SettingsError."""
    hosts, logins = [], set()
    for address in addresses:
        parts = _split(address)
        if parts.username is not None:
            logins.add((unquote(parts.username), unquote(parts.password or "")))
        tls = parts.scheme == "https"
        prefix = parts.path.rstrip("/")
        hosts.append(Host(str(parts.hostname), parts.port or _PORTS[parts.scheme], tls, prefix))
    if not hosts:
        raise SettingsError("The address names no host.", _ADDRESS_HINT)
    if len(logins) > 1:
        raise SettingsError("The hosts of one cluster have the same user and password.", "Name them once.")
    return tuple(hosts), next(iter(logins), None)


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise SettingsError(f'"{mask(address)[:80]}" is no address.', _ADDRESS_HINT) from None
    if parts.scheme not in _PORTS or not parts.hostname or not port_fits or parts.query or parts.fragment:
        raise SettingsError(f'"{mask(address)[:80]}" is no address of a cluster.', _ADDRESS_HINT)
    return parts


def _resolved(address: str, settings: Settings) -> tuple[list[str], ClusterAccess]:
    if address.startswith(PROFILE):
        profile = read_profile(settings.profiles_file, address.removeprefix(PROFILE))
        return list(profile.hosts), profile
    return [part.strip() for part in address.split(",") if part.strip()], settings.opensearch


def _authentication(access: ClusterAccess, login: tuple[str, str] | None) -> tuple[Any, dict[str, str]]:
    """What opensearch-py takes as `http_auth`, and the headers."""
    if login:
        return login, {}
    if access.username is not None:
        return (access.username, str(secret(access.password))), {}
    for scheme, value in (("ApiKey", access.api_key), ("Bearer", access.bearer_token)):
        if value is not None:
            return None, {"authorization": f"{scheme} {_header_safe(str(secret(value)))}"}
    if access.aws_region is not None:
        return _aws_signer(access), {}
    return None, {}


def _header_safe(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text:
        raise SettingsError("The API key or token is empty or has characters that no header takes.", "Copy it again.")
    return text


def _aws_signer(access: ClusterAccess) -> Callable[..., dict[str, str]]:
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as error:
        raise FeatureMissing("Signing for AWS needs botocore.", 'pip install "dar-search[aws]"') from error
    from opensearchpy import Urllib3AWSV4SignerAuth

    try:
        credentials = Session(profile=access.aws_profile).get_credentials()
    except BotoCoreError as error:
        raise SettingsError(f"AWS credentials cannot be had: {error}.", "Check opensearch.aws_profile.") from error
    if credentials is None:
        raise SettingsError(
            "There are no AWS credentials.", "Log in (aws sso login), set AWS_PROFILE, or give the machine a role."
        )
    signer: Callable[..., dict[str, str]] = Urllib3AWSV4SignerAuth(credentials, access.aws_region, access.aws_service)
    return signer


def _tls(access: ClusterAccess) -> ssl.SSLContext:
    authorities = _file(access.ca_file, "ca_file")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"{authorities} holds no certificate.", "Give a PEM file of authorities.") from error
    context.sslsocket_class = WatchedTlsSocket
    if access.client_certificate:
        key = _file(access.client_key, "client_key")
        # Always a password, even a wrong empty one: without it OpenSSL would ask on the terminal, and wait.
        password = secret(access.client_key_password) or ""
        try:
            context.load_cert_chain(str(_file(access.client_certificate, "client_certificate")), key, password)
        except ssl.SSLError as error:
            raise SettingsError(
                f"The client certificate {access.client_certificate} cannot be used: {error.reason or error}.",
                "Give PEM files that belong together, and client_key_password where the key has one.",
            ) from None
    if not access.verify_certificates:
        _LOG.warning("The cluster's certificate is not verified: anybody in between can read and change everything.")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _file(path: Path | None, name: str) -> str | None:
    if path is None:
        return None
    found = path.expanduser()
    if not found.is_file():
        raise SettingsError(f"{name} names {found}, which is no file.", f"Correct opensearch.{name}.")
    return str(found)


class _Serializer(JSONSerializer):  # type: ignore[misc]
    """opensearch-py's serializer, reading answers several times faster, and whole numbers exactly."""

    def loads(self, s: str) -> Any:
        try:
            return exact_json.loads(s)
        except ValueError as error:
            raise SerializationError(s, error) from error
