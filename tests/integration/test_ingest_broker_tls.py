"""A real Redis and a real RabbitMQ over TLS: who vouches for their certificate, and for which name, is checked."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kombu.pools
import numpy as np
import pytest
import trustme
from dar_ingest.tasks import celery_app, sender

from dar_search.data import Imagination
from dar_search.errors import ServiceUnreachable
from dar_search.ingestion.jobs.data import HEAD
from dar_search.models.imaginers.redis_cache import RedisImaginationCache
from dar_search.settings import load_settings
from tests.brokers import Certificate, RabbitServer, RedisServer

pytestmark = pytest.mark.timeout(120)
SERVERS = {"rediss": RedisServer, "amqps": RabbitServer}


@dataclass(frozen=True)
class Place:
    """A broker with a certificate for localhost, which is not one for 127.0.0.1."""

    scheme: str
    port: int
    ca_file: Path

    def address(self, host: str = "localhost", options: str = "") -> str:
        path = "guest:guest@{}:{}//" if self.scheme == "amqps" else "{}:{}/0"
        return f"{self.scheme}://{path.format(host, self.port)}{options}"


@pytest.fixture(scope="module", params=list(SERVERS))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    certificate = Certificate(folder, trustme.CA(), "localhost")
    server = SERVERS[request.param](folder, certificate)
    yield Place(request.param, server.tls_port, certificate.authority)
    server.close()


def carries(address: str, ca_file: Path | None = None) -> bool:
    """Whether a message goes to that broker and comes back from it, with the settings' own ways."""
    app = celery_app(load_settings(ingest={"broker": address, "broker_ca_file": ca_file, "queue": "mine"}))
    try:
        sender(app)("a job", HEAD)
        with app.connection_for_read() as connection, connection.SimpleQueue("mine") as queue:
            message = queue.get(timeout=10)
            message.ack()
            return bool(message.payload[0] == ["a job", HEAD])
    finally:
        app.close()
        kombu.pools.reset()  # it keeps connections by address, whatever is checked


def test_a_broker_is_trusted_for_the_authority_that_the_settings_name(place: Place) -> None:
    """kombu alone asks for 127.0.0.1 where an amqps:// address says localhost."""
    assert carries(place.address(), place.ca_file)


def test_the_address_may_name_the_authority(place: Place) -> None:
    assert carries(place.address(options=f"?ssl_ca_certs={place.ca_file}"))


def test_a_certificate_that_nobody_vouches_for_is_refused_with_what_to_do(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnreachable, match="broker_ca_file"):
        carries(place.address())
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(ServiceUnreachable, match="certificate"):
        carries(place.address(), other)


def test_a_certificate_of_another_name_is_refused(place: Place) -> None:
    """kombu takes amqps:// with a trusted certificate of any name."""
    with pytest.raises(ServiceUnreachable, match="certificate"):
        carries(place.address("127.0.0.1"), place.ca_file)


def test_only_the_address_itself_turns_the_checks_off(place: Place) -> None:
    assert carries(place.address(options="?ssl_cert_reqs=none"))
    assert carries(place.address("127.0.0.1", "?ssl_check_hostname=false"), place.ca_file)


@pytest.mark.parametrize("scheme", ["rediss", "amqps"])
def test_no_password_is_sent_to_a_server_that_is_not_trusted(scheme: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("somebody.else.example").configure_cert(context)
    heard: list[bytes] = []
    broken_off: list[OSError] = []

    def listen(listening: socket.socket) -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return  # the test is over
            try:
                with context.wrap_socket(plain, server_side=True) as said:
                    heard.append(said.recv(65_536))
            except OSError as error:
                broken_off.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=listen, args=(listening,), daemon=True)
        thread.start()
        with pytest.raises(ServiceUnreachable):
            carries(f"{scheme}://me:the-password@127.0.0.1:{listening.getsockname()[1]}/0")
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert broken_off
    assert not any(heard)


def test_the_imagination_cache_checks_the_same(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path, trustme.CA(), "localhost")
    server = RedisServer(tmp_path, certificate)
    kept = Imagination("k", np.eye(1, 64, dtype=np.float32)[0], "a prompt", 0)
    try:
        for host, options, trusted in [
            ("localhost", f"?ssl_ca_certs={certificate.authority}", True),
            ("localhost", "", False),
            ("127.0.0.1", f"?ssl_ca_certs={certificate.authority}", False),
            ("127.0.0.1", "?ssl_cert_reqs=none", True),
        ]:
            cache = RedisImaginationCache(f"rediss://{host}:{server.tls_port}/0{options}", seconds=5)
            cache.put([kept])
            assert ("k" in cache.get(["k"])) is trusted, (host, options)
            cache.close()
    finally:
        server.close()
