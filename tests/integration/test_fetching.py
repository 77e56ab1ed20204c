"""Fetching by URL from real servers on loopback: addresses checked and pinned, redirects checked, rights kept."""

import gzip
import socket
import threading
import zlib
from collections.abc import Iterator

import pytest

from dar_search.errors import OutOfResources, PictureError
from dar_search.ingestion.fetching.fetcher import Fetcher
from tests.fetched import PICTURE, code, settings
from tests.shortages import no_descriptors
from tests.web_servers import Site, answer, site


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        running.answers["/a.jpg"] = [answer(PICTURE)]
        yield running


def test_a_picture_is_fetched_and_the_connection_used_again(server: Site) -> None:
    with Fetcher(settings()) as fetcher:
        assert [fetcher.fetch(f"{server.url}/a.jpg") for _ in range(3)] == [PICTURE] * 3
    assert server.connections == 1
    path, headers = server.requests[0]
    assert path == "/a.jpg"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["user-agent"].startswith("dar-search/")
    assert headers["accept-encoding"] == "identity"


def test_loopback_is_refused_where_it_is_not_allowed(server: Site) -> None:
    assert code(f"{server.url}/a.jpg", allowed_hosts=()) == "address_refused"
    assert code(f"{server.url}/a.jpg", allowed_hosts=(f"127.0.0.1:{server.port + 1}",)) == "address_refused"
    assert code(f"http://localhost:{server.port}/a.jpg", allowed_hosts=()) == "address_refused"
    assert server.connections == 0


def test_an_allowed_name_may_lead_inside(server: Site) -> None:
    allowed = settings(allowed_hosts=("pictures.internal",))
    with Fetcher(allowed, resolver=lambda host, port: ["127.0.0.1"]) as fetcher:
        assert fetcher.fetch(f"http://Pictures.Internal.:{server.port}/a.jpg") == PICTURE
    assert server.requests[0][1]["host"] == f"pictures.internal:{server.port}"


def test_a_name_that_is_resolved_otherwise_a_moment_later_gains_nothing(server: Site) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.9"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with site("127.0.0.9", server.port) as inside, Fetcher(settings(), resolver=rebinding) as fetcher:
        inside.answers["/a.jpg"] = [answer(b"a secret")]
        url = f"http://rebinding.example:{server.port}/a.jpg"
        assert fetcher.fetch(url) == PICTURE
        assert asked == ["rebinding.example"]
        with pytest.raises(PictureError) as caught:
            fetcher.fetch(url)
        assert caught.value.code == "address_refused"
        assert inside.connections == 0


def test_one_answer_inside_among_public_ones_is_enough_to_refuse(server: Site) -> None:
    with (
        Fetcher(settings(allowed_hosts=()), resolver=lambda host, port: ["93.184.215.14", "127.0.0.1"]) as fetcher,
        pytest.raises(PictureError) as caught,
    ):
        fetcher.fetch(f"http://mixed.example:{server.port}/a.jpg")
    assert caught.value.code == "address_refused"
    assert server.connections == 0


def test_the_next_address_is_tried_where_the_first_cannot_be_connected(server: Site) -> None:
    allowed = settings(allowed_hosts=("127.0.0.0/8",))
    with Fetcher(allowed, resolver=lambda host, port: ["127.0.0.77", "127.0.0.1"]) as fetcher:
        assert fetcher.fetch(f"http://two.example:{server.port}/a.jpg") == PICTURE


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"elsewhere", status, Location=location)


def test_redirects_are_followed_and_counted(server: Site) -> None:
    server.answers |= {
        "/1": [redirect("/2", "301 Moved Permanently")],
        "/2": [redirect("3?x=%20#part", "307 Temporary Redirect")],
        "/3?x=%20": [redirect(f"{server.url}/a.jpg", "308 Permanent Redirect")],
        "/loop": [redirect("/loop")],
        "/nowhere": [answer(b"", "302 Found")],
    }
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(f"{server.url}/1") == PICTURE
    assert code(f"{server.url}/1", max_redirects=2) == "too_many_redirects"
    assert code(f"{server.url}/loop") == "too_many_redirects"
    assert code(f"{server.url}/nowhere") == "bad_response"


def test_each_redirect_is_checked_like_the_first_url(server: Site) -> None:
    with site("127.0.0.9") as inside:
        targets = {
            inside.url: "address_refused",
            f"//127.0.0.9:{inside.port}/": "address_refused",
            f"http://2130706441:{inside.port}/": "address_refused",
            f"http://[::ffff:127.0.0.9]:{inside.port}/": "address_refused",
            "http://169.254.169.254/latest/meta-data/": "address_refused",
            "http://[64:ff9b::a9fe:a9fe]/": "address_refused",
            "file:///etc/passwd": "unsupported_address",
            "gopher://127.0.0.1/": "unsupported_address",
            "http://user:password@127.0.0.1/": "bad_url",
            "http://127.0.0.1:22/": "bad_url" if server.port == 22 else "host_unreachable",
        }
        for target, expected in targets.items():
            server.answers |= {"/start": [redirect("/chain")], "/chain": [redirect(target)]}
            assert code(f"{server.url}/start") == expected, target
        assert inside.connections == 0


def test_rights_go_to_their_own_origin_alone(server: Site) -> None:
    with site() as other:
        other.answers = {"/a.jpg": [answer(PICTURE)], "/back": [redirect(f"{server.url}/a.jpg")]}
        server.answers |= {"/away": [redirect(f"{other.url}/a.jpg")], "/within": [redirect("/a.jpg")]}
        mine = settings(authorization={server.url: "Bearer sup3rsecret"})
        with Fetcher(mine) as fetcher:
            for url in (f"{server.url}/away", f"{server.url}/within", f"{other.url}/back"):
                assert fetcher.fetch(url) == PICTURE
        sent = [(path, headers.get("authorization")) for path, headers in server.requests]
        bearer = "Bearer sup3rsecret"
        assert sent == [("/away", bearer), ("/within", bearer), ("/a.jpg", bearer), ("/a.jpg", None)]
        assert all("authorization" not in headers for _, headers in other.requests)


def test_what_is_left_over_of_an_answer_is_not_the_next_one(server: Site) -> None:
    server.answers["/a"] = [answer(PICTURE) + answer(b"smuggled")]
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(f"{server.url}/a") == PICTURE
        assert fetcher.fetch(f"{server.url}/a.jpg") == PICTURE


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
def test_a_packed_answer_is_unpacked(server: Site, encoding: str) -> None:
    packed = zlib.compress(PICTURE) if encoding == "deflate" else gzip.compress(PICTURE)
    server.answers["/a"] = [answer(packed, Content_Encoding=encoding)]
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(f"{server.url}/a") == PICTURE


def test_a_server_that_cannot_be_connected_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: refused
        assert code(f"http://127.0.0.1:{bound.getsockname()[1]}/") == "host_unreachable"


def test_a_name_that_nobody_has_and_one_that_nobody_answers_for(server: Site) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror("Name or service not known")

    never = threading.Event()

    def silent(host: str, port: int) -> list[str]:
        never.wait()
        return []

    for resolver, expected in ((unknown, "host_unknown"), (silent, "fetch_timeout"), (lambda *_: [], "host_unknown")):
        with (
            Fetcher(settings(connect_seconds=0.2), resolver=resolver) as fetcher,
            pytest.raises(PictureError) as caught,
        ):
            fetcher.fetch("http://nobody.example/")
        assert caught.value.code == expected
    never.set()


def test_without_descriptors_a_host_that_is_known_is_not_called_unknown(server: Site) -> None:
    with Fetcher(settings(allowed_hosts=("localhost", "127.0.0.1"))) as fetcher:
        for host in ("localhost", "127.0.0.1"):
            with no_descriptors(), pytest.raises(OutOfResources, match="Too many open files"):
                fetcher.fetch(f"http://{host}:{server.port}/a.jpg")
