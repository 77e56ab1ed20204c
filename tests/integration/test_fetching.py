"""Fetching by URL from real servers on loopback, the worst ones too: a picture within limits, or a stable code."""

import gzip
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dar_search.errors import PictureError
from dar_search.fetch_settings import FetchSettings
from dar_search.ingestion.failures import FAILURE_CODES
from dar_search.ingestion.fetching import Fetcher
from tests.pictures import jpeg, scene
from tests.web_servers import Site, answer, site

PICTURE = jpeg(scene())


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        running.answers["/a.jpg"] = [answer(PICTURE)]
        yield running


def settings(**changes: object) -> FetchSettings:
    own = {"allowed_hosts": ("127.0.0.1",), "seconds": 20.0, "tries": 1, "max_megabytes": 1.0}
    return FetchSettings.model_validate(own | changes)


def code(url: str, **changes: object) -> str:
    """The code that fetching a URL fails with."""
    with Fetcher(settings(**changes)) as fetcher, pytest.raises(PictureError) as caught:
        fetcher.fetch(url)
    assert caught.value.code in FAILURE_CODES
    assert str(caught.value).isprintable()
    return caught.value.code


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


def drip(piece: bytes, first: bytes = b"") -> "object":
    def answering(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)

    return answering


def flood(first: bytes, piece: bytes) -> "object":
    def answering(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)

    return answering


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
WORST = {
    "drips its body": (drip(b"x", HUGE.replace(b"99999999999", b"900000")), "fetch_timeout"),
    "drips its headers": (drip(b"X", b"HTTP/1.1 200 OK\r\nX-Long: "), "fetch_timeout"),
    "drips its status": (drip(b"1", b"HTTP/1.1 "), "fetch_timeout"),
    "drips chunks": (drip(b"1\r\nx\r\n", CHUNKED), "fetch_timeout"),
    "drips the size of a chunk": (drip(b"0", CHUNKED), "fetch_timeout"),
    "says nothing": (drip(b""), "fetch_timeout"),
    "continues for ever": (drip(b"HTTP/1.1 100 Continue\r\n\r\n"), "fetch_timeout"),
    "sends chunks for ever": (flood(CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"), "too_large"),
    "sends a body for ever": (flood(OPEN_ENDED, b"x" * 0x4000), "too_large"),
    "sends tiny chunks for ever": (flood(CHUNKED, b"1\r\nx\r\n" * 4_000), "too_large"),
    "sends the size of a chunk for ever": (flood(CHUNKED, b"0" * 0x4000), "connection_broken"),
    "sends a header for ever": (flood(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 0x4000), "bad_response"),
    "sends headers for ever": (flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000), "bad_response"),
    "says that it is too large": (HUGE, "too_large"),
    "says it in a number beyond all bounds": (HUGE.replace(b"99999999999", b"9" * 5_000), "too_large"),
    "says less than no bytes": (answer(b"x", Content_Length="-5"), "bad_response"),
    "says two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc", "bad_response"),
    "says more than it sends": (answer(b"x" * 9, Content_Length="10", Connection="close"), "connection_broken"),
    "ends within a chunk": (lambda connection: connection.sendall(CHUNKED + b"9\r\nabc"), "connection_broken"),
    "has a chunk without a size": (CHUNKED + b"xyz\r\n", "connection_broken"),
    "hangs up": (lambda connection: None, "connection_broken"),
    "speaks another language": (b"SSH-2.0-OpenSSH_9.2\r\n" * 50, "bad_response"),
    "has a status that is no number": (b"HTTP/1.1 abc OK\r\n\r\n", "bad_response"),
    "has a status beyond all bounds": (b"HTTP/1.1 99999999 OK\r\n\r\n", "bad_response"),
    "sends binary rubbish": (bytes(range(256)) * 400, "bad_response"),
    "is empty": (answer(b""), "empty_file"),
    "has no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "bad_response"),
    "sends a part": (answer(b"abc", "206 Partial Content"), "bad_response"),
    "switches protocols": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "bad_response"),
    "has it no more": (answer(b"", "410 Gone"), "url_not_found"),
    "does not let us": (answer(b"", "403 Forbidden"), "url_forbidden"),
    "asks who we are": (answer(b"", "401 Unauthorized"), "url_forbidden"),
    "is broken": (answer(b"", "500 Internal Server Error"), "server_error"),
    "is busy": (answer(b"", "503 Service Unavailable"), "server_busy"),
    "is busy for a year": (answer(b"", "429 Too Many Requests", Retry_After="31536000"), "server_busy"),
    "packs a bomb": (answer(gzip.compress(bytes(50 << 20)), Content_Encoding="gzip"), "too_large"),
    "packs a bomb in a bomb": (
        answer(gzip.compress(gzip.compress(bytes(50 << 20))), Content_Encoding="gzip, gzip"),
        "bad_response",
    ),
    "packs in an unknown way": (answer(b"x" * 50, Content_Encoding="br"), "bad_response"),
    "packs nothing": (answer(b"no gzip at all" * 5, Content_Encoding="gzip"), "bad_response"),
    "packs half": (answer(gzip.compress(PICTURE)[:-200], Content_Encoding="gzip"), "connection_broken"),
}


@pytest.mark.parametrize("which", WORST)
def test_a_server_that(server: Site, which: str) -> None:
    given, expected = WORST[which]
    server.answers["/a"] = [given]  # type: ignore[list-item]
    seconds = 0.4 if expected == "fetch_timeout" else 20
    assert code(f"{server.url}/a", seconds=seconds) == expected
    server.answers["/a"] = [answer(PICTURE)]
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(f"{server.url}/a") == PICTURE


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


def test_a_busy_host_is_asked_again_when_it_says(server: Site) -> None:
    busy = answer(b"", "429 Too Many Requests", Retry_After="0")
    broken = answer(b"", "502 Bad Gateway")
    server.answers["/a"] = [busy, busy, answer(PICTURE)]
    server.answers["/b"] = [broken, answer(b"x" * 9, Content_Length="10", Connection="close"), answer(PICTURE)]
    with Fetcher(settings(tries=3)) as fetcher:
        assert fetcher.fetch(f"{server.url}/a") == PICTURE
        assert fetcher.fetch(f"{server.url}/b") == PICTURE
    assert [path for path, _ in server.requests] == ["/a"] * 3 + ["/b"] * 3
    server.answers["/a"] = [busy, busy, answer(PICTURE)]
    assert code(f"{server.url}/a", tries=2) == "server_busy"


def test_a_host_that_asks_for_a_pause_is_left_alone_by_all(server: Site) -> None:
    server.answers["/busy"] = [answer(b"", "503 Service Unavailable", Retry_After="1"), answer(PICTURE)]
    with Fetcher(settings(tries=2)) as fetcher:
        assert fetcher.fetch(f"{server.url}/busy") == PICTURE
        asked = len(server.requests)
        assert fetcher.fetch(f"{server.url}/a.jpg") == PICTURE
    assert asked == 2


def test_one_host_is_asked_a_few_at_a_time(server: Site) -> None:
    arrived = threading.Semaphore(0)
    go_on = threading.Event()

    def waiting(connection: socket.socket) -> None:
        arrived.release()
        go_on.wait(20)
        connection.sendall(answer(PICTURE, Connection="close"))

    server.answers["/slow"] = [waiting]
    polite = settings(host_concurrency=2, host_spacing_seconds=0)
    with Fetcher(polite) as fetcher, ThreadPoolExecutor(6) as threads:
        fetched = [threads.submit(fetcher.fetch, f"{server.url}/slow") for _ in range(6)]
        assert arrived.acquire(timeout=20)
        assert arrived.acquire(timeout=20)
        go_on.set()
        assert all(one.result() == PICTURE for one in fetched)
    assert server.most_inside == 2


@pytest.mark.parametrize("what", ["waits for a turn", "waits for a byte"])
def test_a_fetcher_that_is_stopped_lets_go_of_what(server: Site, what: str) -> None:
    arrived = threading.Event()

    def silent(connection: socket.socket) -> None:
        arrived.set()
        connection.recv(1)

    def busy(connection: socket.socket) -> None:
        connection.sendall(answer(b"", "503 Service Unavailable", Retry_After="500"))
        arrived.set()

    server.answers["/a"] = [busy if what == "waits for a turn" else silent]
    patient = settings(tries=2, seconds=1_000, max_wait_seconds=1_000)
    with Fetcher(patient) as fetcher, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(fetcher.fetch, f"{server.url}/a")
        assert arrived.wait(20)
        fetcher.stop()
        with pytest.raises(PictureError):
            waiting.result(timeout=60)


def test_robots_txt_is_kept_to_by_option(server: Site) -> None:
    rules = b"User-agent: *\nDisallow: /private/\n"
    server.answers |= {"/robots.txt": [answer(rules)], "/private/a.jpg": [answer(PICTURE)]}
    assert code(f"{server.url}/private/a.jpg", robots=True) == "robots_forbidden"
    with Fetcher(settings(robots=True)) as fetcher:
        assert [fetcher.fetch(f"{server.url}/a.jpg") for _ in range(2)] == [PICTURE] * 2
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(f"{server.url}/private/a.jpg") == PICTURE
    assert [path for path, _ in server.requests].count("/robots.txt") == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [("404 Not Found", ""), ("403 Forbidden", ""), ("500 Oops", "robots_forbidden"), ("429 Busy", "robots_forbidden")],
)
def test_a_missing_robots_txt_allows_all_and_one_that_cannot_be_had_forbids_all(
    server: Site, status: str, expected: str
) -> None:
    server.answers["/robots.txt"] = [answer(b"", status)]
    if expected:
        assert code(f"{server.url}/a.jpg", robots=True) == expected
    else:
        with Fetcher(settings(robots=True)) as fetcher:
            assert fetcher.fetch(f"{server.url}/a.jpg") == PICTURE


def test_no_turn_is_kept_for_hosts_that_nobody_asks_any_more() -> None:
    from dar_search.ingestion import politeness

    gates = politeness.HostGates(1, 0.0)
    for number in itertools.islice(itertools.count(), 3 * politeness._GATES):
        with gates.through(f"{number}.example", threading.Event()):
            pass
    assert len(gates._gates) <= politeness._GATES
