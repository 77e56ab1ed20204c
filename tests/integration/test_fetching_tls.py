"""Over TLS the connection goes to the address that was checked, and the name is still what the certificate says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from dar_search.errors import PictureError, SettingsError
from dar_search.ingestion.fetching.fetcher import Fetcher
from dar_search.settings.fetch import FetchSettings
from tests.web_servers import Site, answer, site

PICTURE = b"a picture's bytes"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.example").configure_cert(context)
    with site(tls=context) as running:
        running.answers["/a.jpg"] = [answer(PICTURE)]
        yield running


def fetcher(ca_file: Path | None) -> Fetcher:
    settings = FetchSettings(allowed_hosts=("127.0.0.1",), ca_file=ca_file, tries=1)
    return Fetcher(settings, resolver=lambda host, port: ["127.0.0.1"])


def test_the_name_is_verified_although_the_connection_goes_to_an_address(server: Site, ca_file: Path) -> None:
    with fetcher(ca_file) as fetching:
        assert [fetching.fetch(f"https://pictures.example:{server.port}/a.jpg") for _ in range(2)] == [PICTURE] * 2
    assert server.connections == 1
    assert server.requests[0][1]["host"] == f"pictures.example:{server.port}"


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(server: Site, ca_file: Path, host: str) -> None:
    with fetcher(ca_file) as fetching, pytest.raises(PictureError) as caught:
        fetching.fetch(f"https://{host}:{server.port}/a.jpg")
    assert caught.value.code == "tls_failed"
    assert server.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(server: Site) -> None:
    with fetcher(None) as fetching, pytest.raises(PictureError) as caught:
        fetching.fetch(f"https://pictures.example:{server.port}/a.jpg")
    assert caught.value.code == "tls_failed"


def test_a_server_without_tls_is_no_server(ca_file: Path) -> None:
    def answer_without_tls(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)
            connection.sendall(answer(PICTURE, "400 Bad Request"))
            connection.recv(1 << 16)

    with socket.create_server(("127.0.0.1", 0)) as listening, fetcher(ca_file) as fetching:
        thread = threading.Thread(target=answer_without_tls, args=(listening,))
        thread.start()
        with pytest.raises(PictureError) as caught:
            fetching.fetch(f"https://pictures.example:{listening.getsockname()[1]}/a.jpg")
        thread.join()
    assert caught.value.code == "tls_failed"


def test_a_file_that_holds_no_authority_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match="ca_file"):
            fetcher(path)
