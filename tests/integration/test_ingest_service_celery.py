"""Workers behind a real Redis and a real RabbitMQ: killed, emptied, restarted. The ledger is the truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dar_ingest.tasks import LOOK_AT_SHARD, celery_app, sender

from dar_search.ingestion.jobs.data import HEAD, JobSpec
from dar_search.ingestion.sources.locations import record_id
from dar_search.settings import load_settings
from dar_search.stores.sqlite.ledger import SQLiteLedger
from tests.brokers import Broker, RabbitServer, RedisServer
from tests.ingest_child import open_index
from tests.pictures import COLOURS, encoded, scene

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
PICTURES = 160


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PICTURES):
        colours = tuple((r, (g + number) % 256, (b + number * 7) % 256) for r, g, b in COLOURS)
        (folder / f"{number:03}.png").write_bytes(encoded(scene(colours, 16, 12), "PNG"))  # type: ignore[arg-type]
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(params=[RedisServer, RabbitServer])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    running: Broker = request.param(tmp_path)
    yield running
    running.close()


class Place:
    """A store with its ledger, and workers at it."""

    def __init__(self, folder: Path, server: Broker) -> None:
        self.path = folder / "store.db"
        self.index = open_index(self.path)
        self.ledger = SQLiteLedger(self.path)
        self._server = server

    def create(self, photos: Path) -> str:
        return self.ledger.create(JobSpec("photos", str(photos), f"sqlite:{self.path}")).id

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        variables = {
            "DAR_STORE": f"sqlite:{self.path}",
            "DAR_INGEST__BROKER": self._server.url,
            "DAR_INGEST__SOURCES": '["*"]',
            "DAR_INGEST__BEAT_SECONDS": "0.3",
            "DAR_INGEST__LEASE_SECONDS": "2",
            "DAR_INGEST__RESEND_SECONDS": "1",
            "DAR_INGEST__SWEEP_SECONDS": "0.3",
            "DAR_INGEST__DECODERS": "1",
            "DAR_INGEST__BATCH_SIZE": "8",
        }
        command = [sys.executable, "-m", "tests.celery_child", *arguments]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | variables
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                    process.communicate()

    def assert_all_in(self, job: str, photos: Path) -> None:
        found = self.ledger.job(job)
        assert (found.state, found.settled, dict(found.codes)) == ("done", PICTURES + 1, {"not_a_picture": 1})
        expected = {record_id((photos / f"{number:03}.png").resolve().as_uri()) for number in range(PICTURES)}
        assert set(self.index.ids()) == expected


@pytest.fixture
def place(tmp_path: Path, server: Broker) -> Iterator[Place]:
    made = Place(tmp_path, server)
    yield made
    made.ledger.close()


def wait_for(process: subprocess.Popen[str], what: str, times: int = 1) -> None:
    assert process.stdout is not None
    while times:
        line = process.stdout.readline()
        assert line, "the worker ended"
        times -= line.strip() == what


def go_on(process: subprocess.Popen[str]) -> None:
    """It was held."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return process.returncode


def test_a_killed_worker_and_an_emptied_broker_lose_nothing(place: Place, server: Broker, photos: Path) -> None:
    job = place.create(photos)
    with place.worker() as first:
        wait_for(first, "recorded", 2)
        first.kill()
        first.communicate()
    server.lose_everything()
    with place.worker() as second:
        wait_for(second, "ending")
        second.send_signal(signal.SIGTERM)
        out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    place.assert_all_in(job, photos)
    assert int(out.split()[-1]) <= PICTURES - 32, "what was recorded was encoded again"


def test_the_broker_is_restarted_under_a_worker_and_the_job_ends(place: Place, server: Broker, photos: Path) -> None:
    job = place.create(photos)
    with place.worker() as process:
        wait_for(process, "recorded")
        server.stop()
        server.start()
        wait_for(process, "ending")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    place.assert_all_in(job, photos)


def test_no_message_waits_for_the_end_of_the_work_and_another_worker_can_have_the_next(
    place: Place, server: Broker, photos: Path
) -> None:
    """RabbitMQ closes the channel of a message that is not acknowledged in half an hour, of one that waits at a busy
    worker too. Source: `consumer_timeout`, https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
    """
    first_job = place.create(photos)
    with place.worker("hold", "claimed") as busy:
        wait_for(busy, "claimed")
        app = celery_app(load_settings(ingest={"broker": server.url}))
        for number in range(3):
            sender(app)("no such job", number)
        app.close()
        assert server.unacknowledged() == 0
        with place.worker() as other:
            second_job = place.create(photos)
            wait_for(other, "ending")
            assert end(other) == 0
        assert server.unacknowledged() == 0
        go_on(busy)
        wait_for(busy, "ending")
        assert end(busy) == 0
    place.assert_all_in(first_job, photos)
    place.assert_all_in(second_job, photos)


def test_a_connection_that_is_lost_during_the_work_is_made_anew_after_it(
    place: Place, server: Broker, photos: Path
) -> None:
    job = place.create(photos)
    with place.worker("hold", "claimed") as process:
        wait_for(process, "claimed")
        server.close_connections()
        go_on(process)
        wait_for(process, "ending")
        later_job = place.create(photos)
        wait_for(process, "ending")
        assert end(process) == 0
    place.assert_all_in(job, photos)
    place.assert_all_in(later_job, photos)


@pytest.mark.parametrize("server", [RabbitServer], indirect=True)
@pytest.mark.parametrize("at", ["claimed", "ending"])
def test_a_queue_that_is_deleted_is_made_anew(place: Place, server: RabbitServer, photos: Path, at: str) -> None:
    """The message is there before the worker: Celery takes it in another way then, and drops what goes wrong."""
    app = celery_app(load_settings(ingest={"broker": server.url}))
    sender(app)(place.create(photos), HEAD)
    app.close()
    with place.worker("hold", at) as process:
        wait_for(process, at)
        server.delete_queue()
        go_on(process)
        later_job = place.create(photos)
        wait_for(process, "ending", 2 if at == "claimed" else 1)
        assert end(process) == 0
    place.assert_all_in(later_job, photos)


@pytest.mark.parametrize("server", [RabbitServer], indirect=True)
def test_a_queue_that_is_deleted_under_an_idle_worker_is_made_anew(
    place: Place, server: RabbitServer, photos: Path
) -> None:
    with place.worker() as process:
        server.wait_for_consumer()
        server.delete_queue()
        job = place.create(photos)
        wait_for(process, "ending")
        assert end(process) == 0
    place.assert_all_in(job, photos)


def test_a_worker_that_is_killed_right_after_it_took_a_message_loses_nothing(
    place: Place, server: Broker, photos: Path
) -> None:
    job = place.create(photos)
    with place.worker("hold", "claimed") as first:
        wait_for(first, "claimed")
        assert server.unacknowledged() == 0
        first.kill()
        first.communicate()
    with place.worker() as second:
        wait_for(second, "ending")
        assert end(second) == 0
    place.assert_all_in(job, photos)


@pytest.mark.parametrize("server", [RedisServer], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_was_told_to_end_says_that_all_is_well(place: Place, photos: Path, number: int) -> None:
    job = place.create(photos)
    with place.worker() as process:
        wait_for(process, "ending")
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 0
    place.assert_all_in(job, photos)


@pytest.mark.parametrize("server", [RedisServer], indirect=True)
def test_a_worker_that_nobody_told_to_end_says_so_by_its_exit_status(place: Place, photos: Path) -> None:
    place.create(photos)
    with place.worker("leave", "claimed") as process:
        process.communicate(timeout=60)
    assert process.returncode not in (None, 0)


@pytest.mark.parametrize("server", [RedisServer], indirect=True)
def test_a_worker_told_to_stop_gives_its_shards_back(place: Place, photos: Path) -> None:
    job = place.create(photos)
    with place.worker("recorded") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    found = place.ledger.job(job)
    assert place.ledger.held(job) == []
    assert found.state == "running"
    assert 0 < found.settled < PICTURES
    assert all(place.ledger.claim(job, shard, "other").losses == 0 for shard in place.ledger.open_shards(job))  # type: ignore[union-attr]


def test_a_message_carries_a_job_and_a_shard_and_goes_to_the_one_queue(server: Broker) -> None:
    settings = load_settings(ingest={"broker": server.url, "queue": "mine"})
    app = celery_app(settings)
    sender(app)("a job", HEAD)
    with app.connection() as connection, connection.SimpleQueue("mine") as queue:
        message = queue.get(timeout=10)
        message.ack()
        assert message.headers["task"] == LOOK_AT_SHARD
        assert message.payload[0] == ["a job", HEAD]
        with pytest.raises(queue.Empty):
            queue.get(block=False)
    app.close()
