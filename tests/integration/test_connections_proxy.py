"""A cluster, a query service and an endpoint behind a forwarding proxy; the node and nginx behind it are real."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from dar_search.client import DarClient
from dar_search.data import Dialogue
from dar_search.errors import DarError, ModelFailed, ServiceUnreachable, SettingsError, StoreUnavailable
from dar_search.models import catalogue
from dar_search.models.reformulators.endpoint_reformulator import EndpointOptions, EndpointReformulator
from dar_search.settings.proxies import named_proxy, proxy_for
from dar_search.stores.opensearch.cluster.connection import proxies
from tests.chat_server import chat_server
from tests.cluster_connections import connected, nginx_needed, refusal, settings
from tests.nginx import PASSWORD, USER, Doors
from tests.web_proxy import WebProxy, unused, web_proxy

CLUSTER = "cluster.internal:9200"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
pytestmark = pytest.mark.usefixtures("nothing_from_outside")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _before(url: str, login: str = ""):  # type: ignore[no-untyped-def]
    parts = urlsplit(url)
    return web_proxy({CLUSTER: ("127.0.0.1", int(parts.port or 0))}, login)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_cluster_is_reached_through_the_proxy_of_the_environment(
    opensearch_url: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with _before(opensearch_url) as proxy:
        # With the scheme and without it, as people write it.
        monkeypatch.setenv(variable, proxy.address if variable.isupper() else f"http://{proxy.address}")
        with connected(f"http://{CLUSTER}") as client:
            assert client.info()["version"]["distribution"] == "opensearch"
            assert client.indices.exists(index="none-such-here") is False
        assert proxies(f"http://{CLUSTER}", settings()) == [f"http://{proxy.address}"]
        assert proxies(opensearch_url, settings()) == []
        assert set(proxy.asked) == {CLUSTER}


@nginx_needed
def test_tls_goes_through_the_proxys_tunnel_and_the_clusters_certificate_is_verified(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"https://{CLUSTER}"
    with _before(doors.password) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with connected(address, ca_file=str(doors.ca_file), username=USER, password=PASSWORD) as client:
            assert client.info()["version"]["number"]
        assert set(proxy.asked) == {CLUSTER}
        assert "not trusted" in refusal(address, username=USER, password=PASSWORD).message
        with connected(address, verify_certificates=False, username=USER, password=PASSWORD) as client:
            assert client.info()["version"]["number"]  # and warnings are errors here
        # A name that the certificate has not.
        proxy.names = {"other.internal:9200": proxy.names[CLUSTER]}
        wrong = refusal("https://other.internal:9200", ca_file=str(doors.ca_file), username=USER, password=PASSWORD)
        assert "certificate" in f"{wrong.message} {wrong.hint}"


@pytest.mark.parametrize("setting", ["opensearch.proxy", "HTTP_PROXY"])
def test_a_proxys_login_is_sent_to_it_and_stands_in_no_error(
    opensearch_url: str, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    def through(proxy: WebProxy, login: str) -> dict[str, str]:
        address = f"http://{login}@{proxy.address}"
        monkeypatch.setenv("HTTP_PROXY", address if setting == "HTTP_PROXY" else "http://127.0.0.1:9")
        return {"proxy": address} if setting == "opensearch.proxy" else {}

    with _before(opensearch_url, login="me:s3cret/odd@") as proxy:
        with connected(f"http://{CLUSTER}", **through(proxy, "me:s3cret%2Fodd%40")) as client:
            assert client.info()["version"]["number"]
        error = refusal(f"http://{CLUSTER}", **through(proxy, "me:wr0ng"))
        assert isinstance(error, StoreUnavailable)
        assert "asks for a user and a password" in error.message
        assert proxy.refused
    gone = refusal(f"http://{CLUSTER}", **through(proxy, "me:wr0ng"))
    assert "proxy" in gone.message
    assert "NO_PROXY" in gone.hint
    for said in (str(error), str(gone), repr(gone.__cause__)):
        assert "wr0ng" not in said


@nginx_needed
def test_a_tunnel_that_the_proxy_refuses_is_said(doors: Doors) -> None:
    with _before(doors.password, login="me:right") as proxy:
        error = refusal(f"https://{CLUSTER}", ca_file=str(doors.ca_file), proxy=f"http://{proxy.address}")
    assert isinstance(error, StoreUnavailable)
    assert "407" in error.message
    assert "opensearch.proxy" in error.hint


def test_no_proxy_none_and_this_machine_are_asked_directly(
    opensearch_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with connected(opensearch_url) as client:  # on loopback
        assert client.info()["version"]["number"]
    with connected(opensearch_url, proxy="http://127.0.0.1:9") as client:
        assert client.info()["version"]["number"]
    assert "proxy" in refusal("http://cluster.invalid:9200").message
    assert "proxy" not in refusal("http://cluster.invalid:9200", proxy="none").message
    monkeypatch.setenv("NO_PROXY", "localhost,.invalid")
    assert "proxy" not in refusal("http://cluster.invalid:9200").message


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "http://search.example.org", False),
        ("example.org", "http://search.example.org", True),
        (".example.org", "http://search.example.org", True),
        ("other.org", "http://search.example.org", False),
        ("search.example.org:9200", "http://search.example.org:9200", True),
        ("search.example.org:9201", "http://search.example.org:9200", False),
        ("*", "http://search.example.org", True),
        ("10.0.0.0/8, x.org", "http://10.1.2.3:9200", True),
        ("10.0.0.0/8", "http://11.1.2.3:9200", False),
        ("fd00::/8", "http://[fd00::1]:9200", True),
        ("10.1.2.3", "http://10.1.2.3:9200", True),
        ("", "http://localhost:9200", True),
        ("", "http://127.8.9.10", True),
        ("", "http://[::1]:9200", True),
        ("", "http://0.0.0.0:9200", True),
        ("", "http://127.1:9200", True),
        ("", "http://2130706433:9200", True),
        ("", "http://localhost.:9200", True),
        ("", "http://10.1:9200", False),
        ("search.example.org:80", "http://search.example.org", True),
        ("search.example.org:81", "http://search.example.org", False),
        ("example.org", "http://search.example.org.:9200", True),
        ("example.org.", "http://search.example.org", True),
        ("", "https://search.example.org", True),  # HTTP_PROXY is for http alone
    ],
)
def test_no_proxy_reads_names_ports_and_networks(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(url) is None) == direct


def test_no_proxy_alone_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert named_proxy("https://huggingface.co") is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    assert named_proxy("https://huggingface.co") == "proxy:3128"


@pytest.mark.parametrize("proxy", ["socks5://me:s3cret@proxy:1080", "http://", "ftp://proxy", "http://proxy:port"])
def test_a_proxy_that_cannot_be_asked_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    for made in (
        lambda: proxy_for("http://search.example.org"),
        lambda: catalogue.reformulator("endpoint:m", options={"url": "http://search.example.org/v1"}),
        lambda: DarClient("http://search.example.org"),
    ):
        with pytest.raises(SettingsError, match="no http") as caught:
            made()
        assert "NO_PROXY" in caught.value.hint
        assert "s3cret" not in str(caught.value)


def test_an_endpoint_and_a_service_are_asked_through_the_proxy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"text": "a red car"})
    with chat_server(lambda handler: handler.complete(answer)) as server:
        names = {"llm.internal": ("127.0.0.1", server.server_address[1]), "dar.internal": unused()}
        with web_proxy(names) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
            options = EndpointOptions("http://llm.internal/v1", "m")
            assert EndpointReformulator(options).reformulate(Dialogue("a car")).text == "a red car"
            with DarClient("http://dar.internal", tries=1) as client, pytest.raises(DarError, match="502"):
                client.search(["a car"])
            assert proxy.asked == ["llm.internal", "dar.internal"]
    # The proxy itself is gone now.
    with pytest.raises(ModelFailed) as failed:
        EndpointReformulator(EndpointOptions("http://llm.internal/v1", "m", tries=1)).reformulate(Dialogue("a car"))
    with DarClient("http://dar.internal", tries=1) as client, pytest.raises(ServiceUnreachable) as unreachable:
        client.search(["a car"])
    for error in (failed.value, unreachable.value):
        assert "NO_PROXY" in error.hint
