"""Connections to a real node, straight and through a real nginx."""

from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from opensearchpy.exceptions import OpenSearchException

from dar_search.errors import SettingsError, StoreError, StoreForbidden, StoreUnavailable
from dar_search.settings import load_settings
from dar_search.stores.node.process import ReservedPort
from dar_search.stores.opensearch.cluster.connection import connect, mapped
from tests.cluster_connections import connected, nginx_needed, refusal, settings
from tests.nginx import PASSWORD, TOKEN, USER, Doors

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


def test_a_plain_address_is_enough(opensearch_url: str) -> None:
    with connected(opensearch_url) as client:
        assert client.info()["version"]["distribution"] == "opensearch"


@nginx_needed
def test_tls_with_a_password_from_each_place_where_it_may_stand(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = {"ca_file": str(doors.ca_file)}
    with connected(doors.password, **ca, username=USER, password=PASSWORD) as client:
        assert client.info()["version"]["number"]
    inside = doors.password.replace("https://", f"https://{USER}:{quote(PASSWORD, safe='')}@")
    with connected(inside, **ca) as client:
        assert client.info()["version"]["number"]
    monkeypatch.setenv("OPENSEARCH_URL", doors.password)
    monkeypatch.setenv("OPENSEARCH_USERNAME", USER)
    monkeypatch.setenv("OPENSEARCH_PASSWORD", PASSWORD)
    monkeypatch.setenv("DAR_OPENSEARCH__CA_FILE", str(doors.ca_file))
    chosen = load_settings()
    client = connect(chosen.store, chosen)
    assert client.info()["version"]["number"]
    client.close()


@nginx_needed
def test_a_profile_names_a_cluster_with_all_that_it_takes(
    doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    profiles = tmp_path / "dar-search" / "profiles.toml"
    profiles.parent.mkdir(exist_ok=True)
    profiles.write_text(
        f'[profiles.prod]\nhosts = ["{doors.password}"]\nca_file = "{doors.ca_file}"\nusername = "{USER}"\n'
        f'password = {{ file = "{tmp_path / "secret"}" }}\n'
    )
    monkeypatch.setenv("DAR_PROFILE", "prod")
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:1")
    chosen = load_settings()
    assert chosen.store == "profile:prod"
    client = connect(chosen.store, chosen)
    assert client.info()["version"]["number"]
    client.close()


@nginx_needed
def test_a_wrong_password_is_forbidden(doors: Doors) -> None:
    error = refusal(doors.password, ca_file=str(doors.ca_file), username=USER, password="wrong")
    assert isinstance(error, StoreForbidden)
    assert "OPENSEARCH_PASSWORD" in error.hint


@nginx_needed
def test_a_certificate_of_an_unknown_authority_is_refused_and_the_hint_names_the_setting(doors: Doors) -> None:
    error = refusal(doors.password, username=USER, password=PASSWORD)
    assert isinstance(error, StoreError)
    assert not isinstance(error, StoreUnavailable)
    assert "not trusted" in error.message
    assert "ca_file" in error.hint


@nginx_needed
def test_a_certificate_for_another_name_is_refused(doors: Doors) -> None:
    error = refusal(doors.password.replace("localhost", "127.0.0.1"), ca_file=str(doors.ca_file))
    assert "not trusted" in error.message


@nginx_needed
def test_verification_can_be_turned_off_and_is_warned_of(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    with connected(doors.password, verify_certificates=False, username=USER, password=PASSWORD) as client:
        assert client.info()["version"]["number"]
    assert "not verified" in caplog.text


@nginx_needed
def test_tls_on_a_plain_port_and_plain_on_a_tls_port_say_which_to_write(doors: Doors, opensearch_url: str) -> None:
    assert "http://" in refusal(doors.prefix.replace("http://", "https://")).hint
    assert "https://" in refusal(doors.password.replace("https://", "http://")).hint


@nginx_needed
def test_a_client_certificate_opens_and_its_lack_does_not(doors: Doors) -> None:
    ca = {"ca_file": str(doors.ca_file)}
    files = {"client_certificate": str(doors.client_certificate), "client_key": str(doors.client_key)}
    with connected(doors.certificate, **ca, **files) as client:
        assert client.info()["version"]["number"]
    error = refusal(doors.certificate, **ca)
    assert isinstance(error, StoreForbidden)
    assert "client_certificate" in error.hint


@nginx_needed
def test_a_key_with_a_password_is_opened_and_never_asked_for_on_the_terminal(doors: Doors, tmp_path: Path) -> None:
    key = load_pem_private_key(doors.client_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"opens the key")))
    files = {
        "ca_file": str(doors.ca_file),
        "client_certificate": str(doors.client_certificate),
        "client_key": str(locked),
    }
    with connected(doors.certificate, **files, client_key_password="opens the key") as client:
        assert client.info()["version"]["number"]
    for password in ({}, {"client_key_password": "wrong"}):
        with pytest.raises(SettingsError, match="client certificate"):
            connect(doors.certificate, settings(**files, **password))


@nginx_needed
def test_a_token_and_an_api_key_go_into_the_header(doors: Doors) -> None:
    with connected(doors.token, bearer_token=TOKEN) as client:
        assert client.info()["version"]["number"]
    with connected(doors.api_key, api_key=TOKEN) as client:
        assert client.info()["version"]["number"]
    assert isinstance(refusal(doors.token, bearer_token="another"), StoreForbidden)


@nginx_needed
def test_a_path_prefix_stands_before_every_path(doors: Doors) -> None:
    for address in (doors.prefix, doors.prefix + "/"):
        with connected(address) as client:
            assert client.cluster.health()["status"] in ("green", "yellow")


@nginx_needed
def test_a_proxy_that_takes_small_bodies_alone_is_named(doors: Doors) -> None:
    with connected(doors.small) as client, pytest.raises(OpenSearchException) as caught:
        client.transport.perform_request("POST", "/_bulk", body=b"x" * 4000)
    assert "larger than" in mapped(caught.value).message


def test_a_host_that_is_gone_is_passed_over(opensearch_url: str) -> None:
    gone = ReservedPort()  # bound, and nobody listens
    try:
        addresses = f"http://127.0.0.1:{gone.number},{opensearch_url}"
        with connected(addresses) as client:
            for _ in range(4):
                assert client.info()["version"]["number"]
        error = refusal(f"http://127.0.0.1:{gone.number}")
        assert isinstance(error, StoreUnavailable)
        assert "refused" in error.message
    finally:
        gone.close()
