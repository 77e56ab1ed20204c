"""Hostile URLs: each is refused with a stable code before anything is connected."""

import socket
from collections.abc import Sequence

import pytest

from dar_search.errors import PictureError
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.fetching.fetcher import Fetcher
from dar_search.ingestion.fetching.pinned_connections import Connections
from dar_search.ingestion.fetching.web_addresses import parse, refuse_login
from dar_search.settings.fetch import FetchSettings

INSIDE = {
    "inside.example": ["10.0.0.7"],
    "mixed.example": ["93.184.215.14", "192.168.0.1"],
    "six.example": ["2606:4700::1111", "fd00::1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "public.example": ["93.184.215.14"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "empty.example": [],
    "xn--bcher-kva.example": ["10.0.0.7"],
    "user.127.0.0.1.nip.example": ["127.0.0.1"],
}
HOSTILE = {
    # other kinds
    "file:///etc/passwd": "unsupported_address",
    "FILE://localhost/etc/passwd": "unsupported_address",
    "ftp://public.example/a.jpg": "unsupported_address",
    "gopher://127.0.0.1:6379/_FLUSHALL": "unsupported_address",
    "dict://127.0.0.1:11211/stats": "unsupported_address",
    "javascript:alert(1)": "unsupported_address",
    "data:image/png;base64,iVBORw0KGgo=": "unsupported_address",
    "jar:http://public.example!/a": "unsupported_address",
    "ldap://127.0.0.1/": "unsupported_address",
    "unix:/var/run/docker.sock": "unsupported_address",
    # addresses inside, in all their spellings
    "http://127.0.0.1/": "address_refused",
    "http://127.1/": "address_refused",
    "http://2130706433/": "address_refused",
    "http://0x7f000001/": "address_refused",
    "http://0177.0.0.1/": "address_refused",
    "http://0/": "address_refused",
    "http://0.0.0.0:9200/": "address_refused",
    "http://[::]/": "address_refused",
    "http://[::1]:9200/_search": "address_refused",
    "http://[::ffff:127.0.0.1]/": "address_refused",
    "http://[::ffff:7f00:1]/": "address_refused",
    "http://[::127.0.0.1]/": "address_refused",
    "http://[64:ff9b::10.0.0.1]/": "address_refused",
    "http://[64:ff9b:1::10.0.0.1]/": "address_refused",
    "http://[2002:7f00:1::]/": "address_refused",
    "http://[2001:0:7f00:1::]/": "address_refused",
    "http://[fe80::1]/": "address_refused",
    "http://169.254.169.254/latest/meta-data/": "address_refused",
    "http://100.100.100.200/latest/meta-data/": "address_refused",
    "http://168.63.129.16/machine": "address_refused",
    "http://[fd00:ec2::254]/latest/meta-data/": "address_refused",
    "http://224.0.0.1/": "address_refused",
    "http://255.255.255.255/": "address_refused",
    # names that lead inside
    "http://localhost:9200/": "address_refused",
    "http://LOCALHOST./": "address_refused",
    "https://localhost.localdomain/": "address_refused",
    "http://inside.example/a.jpg": "address_refused",
    "http://mixed.example/a.jpg": "address_refused",
    "https://six.example/a.jpg": "address_refused",
    "http://nat64.example/a.jpg": "address_refused",
    "http://metadata.google.internal/computeMetadata/v1/": "address_refused",
    "http://user.127.0.0.1.nip.example/": "address_refused",
    # what two readers could read differently
    "http://public.example@127.0.0.1/": "bad_url",
    "http://user:password@public.example/": "bad_url",
    "http://127.0.0.1\\@public.example/": "bad_url",
    "http://public.example\\.inside.example/": "bad_url",
    "http://public.example#@127.0.0.1/": "connected",
    "http://public.example\t.evil/": "bad_url",
    "http://public.example\r\nHost: 127.0.0.1/": "bad_url",
    "http://public.example/a b": "bad_url",
    "http://public.example/\x00": "bad_url",
    "http://[fe80::1%25eth0]/": "bad_url",
    "http://[::1/": "bad_url",
    "http:///etc/passwd": "bad_url",
    "http:/public.example/": "bad_url",
    "http://": "bad_url",
    "": "bad_url",
    "//public.example/a.jpg": "bad_url",
    "http://public.example:0/": "bad_url",
    "http://public.example:99999/": "bad_url",
    "http://public.example:-80/": "bad_url",
    "http://public%2eexample/": "connected",
    "http://１２７.0.0.1/": "bad_url",
    "http://bücher.example/": "address_refused",
    "http://ⓛocalhost/": "bad_url",
    f"http://{'a' * 64}.example/": "bad_url",
    f"http://{'a.' * 200}example/": "bad_url",
    "http://..public.example/": "bad_url",
    "http://-/": "bad_url",
    f"http://public.example/{'a' * 9_000}": "bad_url",
    # ports of other services
    "http://public.example:22/": "port_refused",
    "https://public.example:25/": "port_refused",
    "http://empty.example/": "host_unknown",
}


def resolver(host: str, port: int) -> Sequence[str]:
    """Known names, and numbers as the system reads them; no name server is asked."""
    if host in INSIDE:
        return INSIDE[host]
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(answer[4][0]) for answer in answers]


@pytest.fixture(scope="module")
def fetcher() -> Fetcher:
    return Fetcher(FetchSettings(tries=1), resolver)


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_before_anything_is_connected(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    connected: list[tuple[str, str]] = []

    def connect(self: Connections, address: object, network: str, budget: object) -> None:
        connected.append((str(address), network))
        raise OSError("nothing is connected here")

    monkeypatch.setattr(Connections, "new", connect)
    with pytest.raises(PictureError) as caught:
        fetcher.fetch(url)
    if HOSTILE[url] == "connected":  # it only looks hostile: one reading of it is what is asked
        assert connected == [("http://public.example/", "93.184.215.14")]
        return
    assert connected == []
    assert caught.value.code == HOSTILE[url]
    assert caught.value.code in FAILURE_CODES
    assert str(caught.value).isprintable()


def test_there_are_at_least_fifty_of_them() -> None:
    assert len(HOSTILE) >= 50


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a?b=c#d", "https://example.org/a?b=c"),
        ("http://example.org:8080/ä/%e4.jpg", "http://example.org:8080/%C3%A4/%E4.jpg"),
        ("http://example.org?x=1", "http://example.org/?x=1"),
        ("http://[2606:4700::1111]:81/a", "http://[2606:4700::1111]:81/a"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_a_url_is_taken_apart_as_it_will_be_asked_for(url: str, expected: str) -> None:
    assert str(parse(url)) == expected


@pytest.mark.parametrize(
    "url",
    ["https://bucket.example//logo@2x.png", "https://b.example/a//IMG@2x.jpg", "https://x.example/fit/https://@cdn/a.jpg",
     "https://x.example?of=//me@y", "https://x.example/me:you@y//me:you@z/a.jpg"],
)  # fmt: skip
def test_an_at_sign_in_a_path_is_no_login(url: str) -> None:
    refuse_login(url)
    assert parse(url).host in ("bucket.example", "b.example", "x.example")


@pytest.mark.parametrize(
    "url",
    ["https://me:hush@b.example//logo@2x.png", "https://hush@b.example/", "https://:hush@b.example/", "https://me:hu/sh@b.example/",
     "https://me:hu?sh@b.example/", "https://me:hu sh@b.example/", "HTTPS://me:hush@b.example:x/", "https://me:hush@/"],
)  # fmt: skip
def test_a_login_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(PictureError) as caught:
        refuse_login(url)
    assert (caught.value.code, "hu" in str(caught.value)) == ("bad_url", False)
