"""Connections to a real node, straight and through a real nginx; a recording server where only headers matter."""

import gzip
import hashlib
import hmac
import json
import logging
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException

from dar_search.cluster_access import ClusterAccess
from dar_search.errors import DarError, SettingsError, StoreError, StoreForbidden, StoreUnavailable
from dar_search.settings import Settings, load_settings
from dar_search.stores.node import read_coordinates
from dar_search.stores.node.home import prepared_home
from dar_search.stores.node.process import ReservedPort
from dar_search.stores.opensearch_connection import connect, mapped
from dar_search.stores.opensearch_doctor import examine
from dar_search.stores.opensearch_permissions import NEEDS, role
from tests.nginx import PASSWORD, TOKEN, USER, Doors, find_nginx, nginx_before

nginx_needed = pytest.mark.skipif(
    find_nginx() is None and "DAR_TEST_REQUIRE_ALL" not in os.environ, reason="nginx is not installed"
)
FORBIDDEN = {
    "no_writing": ("~ ^/(_bulk|_aliases|[^_/][^/]*)$", "indices:admin/create"),
    "no_asking": ("~ ^/_nodes", "cluster:monitor/nodes/info"),
    "no_search": ("~ _search$", "indices:data/read/search"),
}


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("OPENSEARCH_URL", "OPENSEARCH_USERNAME", "OPENSEARCH_PASSWORD", "DAR_CONFIG", "DAR_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def doors(opensearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with nginx_before(opensearch_url, tmp_path_factory.mktemp("nginx"), FORBIDDEN) as doors:
        yield doors


def settings(**access: Any) -> Settings:
    return load_settings(opensearch=access)


@contextmanager
def connected(address: str, **access: Any) -> Iterator[OpenSearch]:
    client = connect(address, settings(**access))
    try:
        yield client
    finally:
        client.close()


def refusal(address: str, **access: Any) -> DarError:
    """How a request through this connection fails."""
    with connected(address, **access) as client, pytest.raises(OpenSearchException) as caught:
        client.info()
    return mapped(caught.value)


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


class _Recorder(BaseHTTPRequestHandler):
    """Answers every request, and keeps what it was."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append({"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body})
        content = b'{"ok":true}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    seen: list[dict[str, Any]] = []
    handler = type("Handler", (_Recorder,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_bodies_are_compressed_only_when_asked(recorder: tuple[str, list[dict[str, Any]]]) -> None:
    url, seen = recorder
    for compress in (True, False):
        with connected(url, compress=compress) as client:
            client.transport.perform_request("POST", "/_search", body={"query": {"match_all": {}}})
    first, second = seen
    assert first["headers"]["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(first["body"])) == json.loads(second["body"]) == {"query": {"match_all": {}}}
    assert "content-encoding" not in second["headers"]


def expected_signature(request: dict[str, Any], host: str, secret: str, region: str, service: str) -> str:
    """AWS Signature Version 4, as its specification describes it, computed apart from botocore."""
    headers = {name.lower(): value for name, value in request["headers"].items()} | {"host": host}
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    parts = urlsplit(request["path"])
    query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
    canonical = "\n".join(
        [
            request["method"],
            quote(parts.path),
            query,
            *(f"{name}:{headers[name].strip()}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request["body"]).hexdigest(),
        ]
    )
    stamp = headers["x-amz-date"]
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("service", ["es", "aoss"])
@pytest.mark.parametrize("compress", [False, True])
def test_aws_requests_carry_the_signature_that_the_specification_says(
    recorder: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, service: str, compress: bool
) -> None:
    url, seen = recorder
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    with connected(url, aws_region="eu-west-1", aws_service=service, compress=compress) as client:
        client.transport.perform_request("POST", "/photos/_search", params={"size": "3"}, body={"query": {}})
    (request,) = seen
    authorization = request["headers"]["Authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert f"/eu-west-1/{service}/aws4_request" in authorization
    assert request["headers"]["X-Amz-Security-Token"] == "session-token"
    host = urlsplit(url).netloc
    assert authorization.split("Signature=")[1] == expected_signature(
        request, host, "wJalrXUtnFEMI/K7MDENG", "eu-west-1", service
    )


@nginx_needed
def test_no_secret_shows_in_logs_errors_or_representations(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    inside = doors.token.replace("http://", "http://me:sup3rsecret-in-address@")
    ways: list[tuple[str, dict[str, Any], str]] = [
        (doors.token, {"bearer_token": "sup3rsecret-bearer"}, "sup3rsecret"),
        (doors.api_key, {"api_key": "sup3rsecret-key"}, "sup3rsecret"),
        (doors.token, {"username": "me", "password": "sup3rsecret-password"}, "sup3rsecret"),
        (inside, {}, "sup3rsecret"),
        ("http://me:sup3rsecret@127.0.0.1:1", {}, "sup3rsecret"),
    ]
    for address, access, hidden in ways:
        chosen = load_settings(store=address, opensearch=access)
        client = connect(address, chosen)
        with pytest.raises(OpenSearchException) as caught:
            client.transport.perform_request("POST", "/_search", body={"query": {"match_all": {}}})
        shown = [repr(chosen), repr(client), repr(client.transport.connection_pool.connections), str(chosen)]
        shown += [chosen.model_dump_json(), str(caught.value), repr(caught.value), str(mapped(caught.value))]
        client.close()
        assert hidden not in "\n".join(shown)
    assert "401" in caplog.text  # the requests were logged
    assert "sup3rsecret" not in caplog.text


def test_the_client_connects_no_sooner_than_it_must() -> None:
    connect("http://192.0.2.1:9200", settings(connect_timeout=0.1)).close()


def test_the_doctor_finds_everything_on_a_full_node(opensearch_url: str) -> None:
    with connected(opensearch_url) as client:
        before = client.transport.perform_request("GET", "/_cat/indices?format=json")
        report = examine(client, "photos")
        after = client.transport.perform_request("GET", "/_cat/indices?format=json")
    assert report.distribution == "opensearch"
    found = {name: report.features[name] for name in ("knn", "lucene", "hybrid", "normalization", "rrf")}
    assert found == dict.fromkeys(found, True)
    assert report.features["inline_pipeline"] is True
    assert report.plugins is not None
    assert {"opensearch-knn", "opensearch-neural-search"} <= report.plugins
    assert all(permission.granted for permission in report.permissions)
    assert [line for line in report.observations if line.status == "fail"] == []
    assert {row["index"] for row in before} == {row["index"] for row in after}


def test_the_doctor_names_missing_plugins_and_the_fix(
    opensearch_without_neural_search: str, opensearch_without_knn: str
) -> None:
    with connected(opensearch_without_neural_search) as client:
        report = examine(client)
    assert (report.features["knn"], report.features["hybrid"], report.features["normalization"]) == (True, False, False)
    (fusion,) = [line for line in report.observations if line.subject == "score fusion"]
    assert (fusion.status, "opensearch-neural-search" in fusion.fix) == ("note", True)
    assert report.features["faiss"] is False  # a local node says so of itself
    with connected(opensearch_without_knn) as client:
        report = examine(client)
    assert (report.features["knn"], report.features["faiss"]) == (False, False)
    (knn,) = [line for line in report.observations if line.status == "fail"]
    assert (knn.subject, "opensearch-knn" in knn.fix) == ("k-NN", True)


@nginx_needed
def test_the_doctor_says_which_permissions_are_missing(doors: Doors) -> None:
    with connected(doors.forbidding["no_writing"]) as client:
        report = examine(client, "photos")
    refused = {permission.need.purpose for permission in report.permissions if permission.granted is False}
    assert refused == {
        "read an index's mapping",
        "make an index",
        "give an index its aliases",
        "write and delete pictures",
        "drop an index",
    }
    lines = {line.detail: line for line in report.observations if line.subject == "permission"}
    make = lines["you may not make an index (only needed to write)"]
    assert (make.status, "indices:admin/create" in make.fix) == ("note", True)
    assert lines["you may not read an index's mapping"].status == "fail"


@nginx_needed
def test_the_doctor_goes_on_where_it_may_not_ask(doors: Doors) -> None:
    with connected(doors.forbidding["no_asking"]) as client:
        report = examine(client)
    assert report.plugins is None
    assert report.features["hybrid"] is True
    assert {line.status for line in report.observations if line.subject == "permission"} == {"note"}
    with connected(doors.forbidding["no_search"]) as client:
        report = examine(client)
    assert report.features["knn"] is None
    assert "search" in {permission.need.purpose for permission in report.permissions if permission.granted is False}


@nginx_needed
def test_a_missing_permission_is_named_by_the_error(doors: Doors) -> None:
    with connected(doors.forbidding["no_search"]) as client, pytest.raises(OpenSearchException) as caught:
        client.search(index="photos", body={})
    error = mapped(caught.value)
    assert isinstance(error, StoreForbidden)
    assert "indices:data/read/search" in error.message
    assert "dar-reader" not in error.message


@nginx_needed
def test_the_doctor_refuses_wrong_credentials_at_once(doors: Doors) -> None:
    with connected(doors.token, bearer_token="wrong") as client, pytest.raises(StoreForbidden):
        examine(client)


def test_every_way_of_access_has_a_setting_that_profiles_share() -> None:
    assert set(ClusterAccess.model_fields) <= set(type(load_settings().opensearch).model_fields)


def test_every_action_of_a_role_is_one_of_the_server_s_own() -> None:
    coordinates = read_coordinates()
    plugins = coordinates.plugins_named(tuple(coordinates.plugins))
    home = prepared_home(coordinates, plugins, thai=True)
    named = {action.rstrip("*") for need in NEEDS for action in (*need.cluster, *need.index)}
    with zipfile.ZipFile(home / "lib" / f"opensearch-{coordinates.version}.jar") as archive:
        for entry in archive.namelist():
            if "Action" in entry and entry.endswith(".class") and named:
                content = archive.read(entry)
                # A constant of a class file is its length in two bytes, then its text.
                named -= {name for name in named if len(name).to_bytes(2, "big") + name.encode() in content}
    assert named == set()


def test_roles_hold_what_the_needs_ask_for_and_no_wildcard_for_everything() -> None:
    reading, writing = role("photos", writing=False), role("photos", writing=True)
    (rights,) = writing["index_permissions"]
    assert rights["index_patterns"] == ["photos*"]
    for need in NEEDS:
        assert set(need.cluster) <= set(writing["cluster_permissions"])
        assert set(need.index) <= set(rights["allowed_actions"])
    names = {*reading["cluster_permissions"], *reading["index_permissions"][0]["allowed_actions"]}
    assert not [name for name in names if "write" in name or "create" in name or "delete" in name]
    assert "*" not in {*rights["allowed_actions"], *writing["cluster_permissions"]}
