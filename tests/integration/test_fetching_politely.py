"""Hosts are asked again when they say, a few at a time, and not where robots.txt forbids it."""

import itertools
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dar_search.errors import PictureError
from dar_search.ingestion.fetching.fetcher import Fetcher
from tests.fetched import PICTURE, code, settings
from tests.web_servers import Site, answer, site


@pytest.fixture
def server() -> Iterator[Site]:
    with site() as running:
        running.answers["/a.jpg"] = [answer(PICTURE)]
        yield running


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
    from dar_search.ingestion.fetching import politeness

    gates = politeness.HostGates(1, 0.0)
    for number in itertools.islice(itertools.count(), 3 * politeness._GATES):
        with gates.through(f"{number}.example", threading.Event()):
            pass
    assert len(gates._gates) <= politeness._GATES
