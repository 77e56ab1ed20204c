"""Fetching a picture by its URL, as if everybody who answers were hostile.

Each host is resolved once, every answer is checked (see `addresses`), and the connection goes to the address that was
checked, while TLS verifies the name: a name that resolves to another address a moment later gains nothing. Redirects
are followed by hand, each checked like the first URL. Bytes are counted as they come over the network and again as
they are unpacked; time is counted over the whole request. What can go wrong has a code of `failures.FAILURE_CODES`.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_match_hostname import CertificateError

from dar_search.errors import OutOfResources, PictureError, SettingsError, SourceError
from dar_search.ingestion.fetching.addresses import AllowedHosts
from dar_search.ingestion.fetching.pinned_connections import Connection, Connections, tls_context
from dar_search.ingestion.fetching.politeness import HostGates, Robots, retry_after
from dar_search.ingestion.fetching.watched_sockets import Budget, OverBudget
from dar_search.ingestion.fetching.web_addresses import Resolver, WebAddress, joined, parse, resolve, system_resolver
from dar_search.ingestion.fetching.web_answers import (
    BROKEN,
    Answer,
    Later,
    Sink,
    broken,
    check_length,
    read_body,
    refused,
    said,
    tls_failed,
)
from dar_search.settings import secret
from dar_search.settings.fetch import FetchSettings

# What is worth another try a moment later.
PASSING = frozenset({"host_unreachable", "connection_broken", "server_busy", "server_error"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OVERHEAD = 1 << 20  # bytes of headers and chunk lengths
_ROBOTS_BYTES = 500 << 10
_FIRST_WAIT = 0.5
_UNREACHABLE = (OSError, HTTPError)


@dataclass(frozen=True, slots=True)
class _Limits:
    max_bytes: int
    seconds: float


class Fetcher:
    """Fetches by URL within limits. Safe to use from several threads; close it, or use it as a context.

    Args:
        resolver: a host and port -> its network addresses; another than the system's is for tests.

    Raises:
        SettingsError: an allowed host, the authorities' file or a secret is not usable.
    """

    def __init__(self, settings: FetchSettings, resolver: Resolver = system_resolver) -> None:
        self._settings = settings
        self._resolver = resolver
        self._allowed = AllowedHosts(settings.allowed_hosts)
        self._authorization = {_origin(origin): str(secret(value)) for origin, value in settings.authorization.items()}
        try:
            context = tls_context(str(settings.ca_file.expanduser()) if settings.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"{settings.ca_file} holds no certificate.", "Give a PEM file of authorities (ingest.fetch.ca_file)."
            ) from error
        self._connections = Connections(context, settings.connect_seconds)
        self._gates = HostGates(settings.host_concurrency, settings.host_spacing_seconds)
        self._own_gates = HostGates(settings.concurrency, 0.0)
        self._robots = Robots(settings.user_agent, self._robots_text) if settings.robots else None
        self._stopping = threading.Event()

    def fetch(self, url: str) -> bytes:
        """A picture's bytes, 1 to `max_megabytes`. Raises PictureError, whatever answers, and OutOfResources."""
        settings = self._settings
        limits = _Limits(int(settings.max_megabytes * (1 << 20)), settings.seconds)
        parts: list[bytes] = []
        self._patiently(parse(url), limits, parts.append, parts.clear)
        data = b"".join(parts)
        if not data:
            raise PictureError("empty_file", "The answer is empty.", "Check the URL.")
        return data

    def save(self, url: str, file: IO[bytes]) -> None:
        """Writes a list or shard into a file. Raises PictureError, OutOfResources; SourceError: no room in the file."""
        limits = _Limits(int(self._settings.list_megabytes * (1 << 20)), self._settings.list_seconds)

        def restart() -> None:
            file.seek(0)
            file.truncate()

        def write(piece: bytes) -> None:
            try:
                file.write(piece)
            except OSError as error:
                raise SourceError(f"No room for what is fetched: {error.strerror}.", "Free some disk.") from error

        self._patiently(parse(url), limits, write, restart)
        file.flush()

    def stop(self) -> None:
        """Lets what is under way, or waits for its turn, fail soon, from any thread."""
        self._stopping.set()

    def close(self) -> None:
        self.stop()
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _patiently(self, address: WebAddress, limits: _Limits, sink: Sink, restart: Callable[[], object]) -> None:
        for number in range(1, self._settings.tries + 1):
            try:
                return self._follow(address, limits, sink)
            except Later as wait:
                seconds, error = wait.seconds, wait.error
            except PictureError as failed:
                if (short := OutOfResources.of(failed)) is not None:
                    raise short from failed
                if failed.code not in PASSING:
                    raise
                seconds, error = _FIRST_WAIT * 2 ** (number - 1), failed
            if number == self._settings.tries or seconds > self._settings.max_wait_seconds:
                raise error
            self._gate(address).pause(address.host, seconds)
            restart()
        return None

    def _follow(self, first: WebAddress, limits: _Limits, sink: Sink) -> None:
        """Follows redirects until there is a picture. Raises PictureError, Later."""
        address = first
        budget = Budget(time.monotonic() + limits.seconds, 2 * limits.max_bytes + _OVERHEAD, self._stopping)
        for _ in range(self._settings.max_redirects + 1):
            answer = self._ask(address, budget, limits, sink, is_first=address.origin == first.origin)
            if answer is None:
                return
            if answer.status not in _REDIRECTS:
                raise refused(answer, address)
            if not answer.location:
                raise PictureError("bad_response", "A redirect that leads nowhere.", "Check the URL.")
            address = parse(joined(str(address), answer.location))
        raise PictureError(
            "too_many_redirects", f"More than {self._settings.max_redirects} redirects.", "Give the picture's own URL."
        )

    def _ask(
        self, address: WebAddress, budget: Budget, limits: _Limits, sink: Sink, *, is_first: bool
    ) -> Answer | None:
        """One request -> None where its body went into the sink."""
        spacing = None
        if self._robots is not None:
            if not self._robots.allow(address):
                raise PictureError("robots_forbidden", f"{address.host} asks robots to leave this alone.", "Ask them.")
            spacing = max(self._robots.crawl_delay(address), self._settings.host_spacing_seconds)
        began = time.monotonic()
        with self._gate(address).through(address.host, self._stopping, spacing):
            if self._stopping.is_set():
                raise PictureError("fetch_timeout", "Fetching was stopped.", "Run it again.")
            budget.deadline += time.monotonic() - began  # waiting for one's turn is not the server's doing
            return self._exchange(address, budget, limits, sink, is_first=is_first)

    def _exchange(
        self, address: WebAddress, budget: Budget, limits: _Limits, sink: Sink, *, is_first: bool
    ) -> Answer | None:
        network, connection, response = self._answered(address, budget, self._headers(address, is_first))
        whole = False
        try:
            if response.status != 200:
                header = response.headers.get("Retry-After")
                return Answer(response.status, response.headers.get("Location"), retry_after(header))
            check_length(response, limits.max_bytes)
            try:
                read_body(response, limits.max_bytes, sink)
            except BROKEN as error:
                raise broken(error, budget, address) from error
            whole = True
            return None
        finally:
            if whole:
                self._connections.give_back(address, network, connection)
            else:
                response.close()
                connection.close()

    def _answered(
        self, address: WebAddress, budget: Budget, headers: Mapping[str, str]
    ) -> tuple[str, Connection, BaseHTTPResponse]:
        """The beginning of an answer, from the first of the host's addresses that can be connected."""
        left = min(self._settings.connect_seconds, max(0.0, budget.deadline - time.monotonic()))
        networks = resolve(address, self._allowed, self._resolver, left)
        network, connection, used = self._connected(address, networks, budget)
        try:
            try:
                return network, connection, _request(connection, address, headers)
            except (ConnectionError, http.client.RemoteDisconnected):
                # The server has closed it while it was idle, which is nobody's fault: once more on a new one.
                if not used:
                    raise
                connection.close()
                connection = self._connections.new(address, network, budget)
                return network, connection, _request(connection, address, headers)
        except BROKEN as error:
            connection.close()
            raise broken(error, budget, address) from error

    def _connected(
        self, address: WebAddress, networks: tuple[str, ...], budget: Budget
    ) -> tuple[str, Connection, bool]:
        reason: Exception | None = None
        for network in networks:
            try:
                return network, *self._connections.take(address, network, budget)
            except (ssl.SSLError, CertificateError) as error:
                raise tls_failed(error, address) from error
            except OverBudget as error:
                raise broken(error, budget, address) from error
            except _UNREACHABLE as error:
                reason = error
        raise PictureError(
            "host_unreachable", f"{address.host} cannot be connected ({said(reason)}).", "Try again later."
        ) from reason

    def _headers(self, address: WebAddress, is_first: bool) -> dict[str, str]:
        headers = {
            "Host": address.authority,
            "User-Agent": self._settings.user_agent,
            "Accept": "image/*, */*;q=0.5",
            "Accept-Encoding": "identity",
        }
        # Never behind a redirect from elsewhere: who sends us there must not choose what we ask with our rights.
        if is_first and address.origin in self._authorization:
            headers["Authorization"] = self._authorization[address.origin]
        return headers

    def _gate(self, address: WebAddress) -> HostGates:
        return self._own_gates if self._allowed.names(address.host, address.port) else self._gates

    def _robots_text(self, address: WebAddress) -> str | None:
        """Asked without regard to robots.txt. Redirects are followed; a 4xx means that there is none (RFC 9309)."""
        robots = parse(f"{address.origin}/robots.txt")
        parts: list[bytes] = []
        limits = _Limits(_ROBOTS_BYTES, self._settings.seconds)
        budget = Budget(time.monotonic() + limits.seconds, 2 * limits.max_bytes + _OVERHEAD, self._stopping)
        try:
            for _ in range(self._settings.max_redirects + 1):
                answer = self._exchange(robots, budget, limits, parts.append, is_first=robots.origin == address.origin)
                if answer is None:
                    return b"".join(parts).decode("utf-8", "replace")
                if answer.status in _REDIRECTS and answer.location:
                    robots = parse(joined(str(robots), answer.location))
                else:
                    return "" if 400 <= answer.status < 500 and answer.status != 429 else None
        except PictureError as error:
            if OutOfResources.of(error) is not None:
                raise  # it is not known what they say, and not to be remembered
            return None
        return None


def _request(connection: Connection, address: WebAddress, headers: Mapping[str, str]) -> BaseHTTPResponse:
    connection.request("GET", address.target, headers=headers, preload_content=False, decode_content=False)
    return connection.getresponse()


def _origin(text: str) -> str:
    try:
        return parse(text).origin
    except PictureError as error:
        raise SettingsError(
            f'ingest.fetch.authorization names "{text[:80]}", which is no origin.', "Write https://pictures.internal."
        ) from error
