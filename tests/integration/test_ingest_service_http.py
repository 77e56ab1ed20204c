"""The ingest service over HTTP: its app with all layers, a real store, real decoders, and a worker beside it."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dar_ingest import service as service_module
from dar_ingest.runtime import Runtime
from dar_ingest.service import IngestService
from dar_ingest.serving import made
from werkzeug.test import Client, TestResponse

from dar_search.answering import probing
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ports import SearchRequest
from dar_search.serving.runner import Served
from dar_search.settings import load_settings
from dar_search.stores.sqlite.ledger import SQLiteLedger
from dar_search.stores.sqlite.store import SQLiteStore
from tests.grid_encoder import GridEncoder
from tests.pictures import COLOURS, encoded, scene

KEY = "a key that is long enough"


def picture(number: int) -> bytes:
    colours = tuple((r, (g + 40 * number) % 256, b) for r, g, b in COLOURS)
    return encoded(scene(colours, 32, 24), "PNG")  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def served(tmp_path: Path, photos: Path) -> Iterator[Served]:
    ingest: dict[str, Any] = {
        "sources": (str(photos),), "sweep_seconds": 0.1, "beat_seconds": 0.5, "resend_seconds": 0.3, "decoders": 1,
        "upload_pictures": 3, "body_megabytes": 1, "exclude": ("never/",),
    }  # fmt: skip
    settings = load_settings(store=f"sqlite:{tmp_path / 'store.db'}", ingest=ingest, service={"keys": {"me": KEY}})
    running = made(settings, encoder=GridEncoder())
    yield running
    running.close()


@pytest.fixture
def client(served: Served) -> Client:
    return Client(served.app)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(tmp_path / "store.db")
    yield opened
    opened.close()


def call(client: Client, method: str, path: str, **options: Any) -> TestResponse:
    headers = {"X-DAR-Key": KEY, "Host": "localhost"} | options.pop("headers", {})
    return client.open(f"/_dar/v1{path}", method=method, headers=headers, **options)


def made_job(client: Client, source: Path, **more: Any) -> dict[str, Any]:
    answer = call(client, "POST", "/jobs", json={"index": "photos", "source": str(source), **more})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.get_json()
    assert answer.headers["Location"].endswith(f"/_dar/v1/jobs/{job['id']}")
    return job


def events(answer: TestResponse) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in answer.get_data(as_text=True).strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_job_runs_to_its_end_and_tells_its_progress_as_events(
    client: Client, photos: Path, store: SQLiteStore
) -> None:
    job = made_job(client, photos)
    stream = call(client, "GET", f"/jobs/{job['id']}", headers={"Accept": "text/event-stream"})
    told = events(stream)
    assert {name for name, _ in told} == {"progress"}
    last = told[-1][1]
    assert (last["state"], last["indexed"], last["failed"], last["done"], last["total"]) == ("done", 5, 1, 6, 6)
    assert last["failures"] == {"not_a_picture": 1}
    assert last["rate"] > 0
    assert last["seconds_left"] is None
    assert store.open("photos").count() == 5
    listed = call(client, "GET", "/jobs?limit=5").get_json()["jobs"]
    assert [one["id"] for one in listed] == [job["id"]]
    assert call(client, "GET", "/jobs?running=true").get_json()["jobs"] == []


def test_a_job_counts_what_it_leaves_out_and_keeps_what_it_is_to_leave_out(
    client: Client, photos: Path, tmp_path: Path
) -> None:
    (photos / "raw.nef").write_bytes(b"x")
    (photos / "0.json").write_text('{"n": NaN}')
    (photos / "old").mkdir()
    (photos / "old" / "a.png").write_bytes(picture(7))
    job = made_job(client, photos, options={"exclude": ["old/", "bad.*"]})
    last = events(call(client, "GET", f"/jobs/{job['id']}", headers={"Accept": "text/event-stream"}))[-1][1]
    assert (last["state"], last["indexed"], last["failed"]) == ("done", 5, 0)
    assert {code: one["count"] for code, one in last["skipped"].items()} == {"other_kind": 1, "excluded": 2}
    assert last["skipped"]["other_kind"]["kinds"] == {".nef": 1}
    assert last["warnings"]["bad_metadata"]["kinds"] == {"n": 1}
    with closing(SQLiteLedger(tmp_path / "store.db")) as ledger:  # the settings' patterns, and its own
        assert ledger.job(job["id"]).spec.options == {"exclude": ["never/", "old/", "bad.*"]}
    assert call(client, "GET", f"/jobs/{job['id']}").get_json()["skipped"] == last["skipped"]


@pytest.mark.parametrize("options", [{"exclude": 5}, {"exclude": ["!"]}, {"include_hidden": "yes"}, {"nosuch": True}])
def test_an_option_of_a_source_that_is_none_is_refused(client: Client, photos: Path, options: dict[str, Any]) -> None:
    answer = call(client, "POST", "/jobs", json={"index": "photos", "source": str(photos), "options": options})
    assert answer.status_code == 400, answer.text


def test_failures_are_listed_and_done_again_after_the_mend(client: Client, photos: Path) -> None:
    job = made_job(client, photos)
    events(call(client, "GET", f"/jobs/{job['id']}", headers={"Accept": "text/event-stream"}))
    page = call(client, "GET", f"/jobs/{job['id']}/failures").get_json()
    assert [(one["code"], one["replayable"]) for one in page["failures"]] == [("not_a_picture", True)]
    assert page["after"] is None
    (photos / "bad.jpg").write_bytes(picture(9))
    answer = call(client, "POST", f"/jobs/{job['id']}/retry", json={"codes": ["not_a_picture"]}).get_json()
    assert answer["retried"] == 1
    last = events(call(client, "GET", f"/jobs/{job['id']}", headers={"Accept": "text/event-stream"}))[-1][1]
    assert (last["state"], last["indexed"], last["failed"], last["failures"]) == ("done", 6, 0, {})


@pytest.mark.parametrize("name", ["/srv/\0", "file:///srv/%00", "a\0b", "https://x/\0"])
@pytest.mark.parametrize("options", [{}, {"follow_links": True}])
def test_a_source_that_can_be_no_name_is_refused(client: Client, name: str, options: dict[str, Any]) -> None:
    answer = call(client, "POST", "/jobs", json={"index": "photos", "source": name, "options": options})
    assert answer.status_code == 400, answer.text


def test_a_job_is_paused_resumed_and_cancelled(client: Client, photos: Path) -> None:
    job = made_job(client, photos)
    last = events(call(client, "GET", f"/jobs/{job['id']}", headers={"Accept": "text/event-stream"}))[-1][1]
    assert last["state"] == "done"
    for action in ("pause", "resume", "cancel"):
        answer = call(client, "POST", f"/jobs/{job['id']}/{action}")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "job_ended")


def test_an_ended_job_is_forgotten_and_a_running_one_is_not(client: Client, photos: Path) -> None:
    job = made_job(client, photos)
    events(call(client, "GET", f"/jobs/{job['id']}", headers={"Accept": "text/event-stream"}))
    assert call(client, "DELETE", f"/jobs/{job['id']}").get_json() == {"deleted": 1}
    answer = call(client, "DELETE", f"/jobs/{job['id']}")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "job_not_found")


def test_uploaded_pictures_are_searchable_when_it_answers(client: Client, store: SQLiteStore) -> None:
    form = {
        "index": "uploads",
        "image": [
            (io.BytesIO(picture(1)), "one.png"),
            (io.BytesIO(picture(2)), "two.png"),
            (io.BytesIO(b"x"), "bad.png"),
        ],
        "caption": ["a red roof", "a boat", ""],
        "metadata": ['{"year": 1999}', "", ""],
    }
    answer = call(client, "POST", "/images", data=form)
    body = answer.get_json()
    assert (answer.status_code, body["indexed"], body["failed"]) == (200, 2, 1), answer.text
    assert body["images"][2]["failure"]["code"] == "not_a_picture"
    index = store.open("uploads")
    (hit,) = index.search(SearchRequest(text="roof")).hits
    assert hit.id == body["images"][0]["id"]
    assert hit.metadata == {"year": 1999.0}
    again = call(client, "POST", "/images", data={"index": "uploads", "image": (io.BytesIO(picture(1)), "x.png")})
    assert again.get_json()["images"][0]["id"] == hit.id
    assert index.count() == 2


def test_uploads_keep_whole_numbers_and_refuse_those_beyond_64_bits(client: Client, store: SQLiteStore) -> None:
    given = ['{"post": 1746714878034235397, "year": 2001, "whole": 2.0}', '{"post": 18446744073709551617}']
    files = [(io.BytesIO(picture(1)), "one.png"), (io.BytesIO(picture(2)), "two.png")]
    body = call(client, "POST", "/images", data={"index": "uploads", "image": files, "metadata": given}).get_json()
    assert (body["indexed"], body["failed"]) == (1, 1)
    assert body["images"][1]["failure"]["code"] == "bad_metadata"
    (record,) = store.open("uploads").get([body["images"][0]["id"]]).values()
    assert repr(sorted(record.metadata.items())) == "[('post', 1746714878034235397), ('whole', 2.0), ('year', 2001)]"
    url = '{"url": "http://127.0.0.1:9/x.png", "metadata": {"post": 18446744073709551617}}'
    picked = f'{{"index": "uploads", "images": [{url}]}}'
    headers = {"Content-Type": "application/json"}
    (image,) = call(client, "POST", "/images", data=picked, headers=headers).get_json()["images"]
    assert image["failure"]["code"] == "bad_metadata"


def test_a_picture_by_its_url_is_fetched_safely(client: Client) -> None:
    body = {"index": "uploads", "images": [{"url": "http://127.0.0.1:9/secret.png"}]}
    answer = call(client, "POST", "/images", json=body).get_json()
    assert (answer["indexed"], answer["failed"]) == (0, 1)
    assert answer["images"][0]["failure"]["code"] == "address_refused"


def test_a_deleted_picture_is_gone_and_may_come_back_later(client: Client, store: SQLiteStore) -> None:
    def put() -> None:
        form = {"index": "uploads", "image": (io.BytesIO(picture(1)), "a.png"), "id": "my/own id"}
        assert call(client, "POST", "/images", data=form).get_json()["indexed"] == 1

    put()
    for expected in (1, 0):
        answer = call(client, "DELETE", "/images/my/own%20id?index=uploads")
        assert answer.get_json() == {"deleted": expected}, answer.text
    assert store.open("uploads").count() == 0
    put()
    assert store.open("uploads").count() == 1


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/jobs/nosuch", {}, 404, "job_not_found"),
        ("POST", "/jobs", {"json": {"index": "photos", "source": "/etc"}}, 400, "not_allowed"),
        ("POST", "/jobs", {"json": {"index": "photos", "source": "http://169.254.169.254/"}}, 400, "not_allowed"),
        ("POST", "/jobs", {"json": {"index": "photos", "source": "opensearch:secret"}}, 400, "not_allowed"),
        ("POST", "/jobs", {"json": {"index": "photos"}}, 400, "bad_request"),
        ("POST", "/jobs", {"data": b"{"}, 415, "unsupported_media_type"),
        ("POST", "/images", {"json": {"index": "photos", "images": []}}, 400, "bad_request"),
        ("POST", "/images", {"json": [1]}, 400, "bad_request"),
        ("POST", "/images", {"data": {"index": "photos"}}, 415, "unsupported_media_type"),
        ("DELETE", "/images/x?index=nosuch", {}, 404, "index_not_found"),
        ("GET", "/jobs?limit=0", {}, 400, "bad_request"),
        ("GET", "/nothing", {}, 404, "route_not_found"),
    ],
)
def test_what_cannot_be_done_is_a_problem_with_its_code(
    client: Client, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    answer = call(client, method, path, **options)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code), answer.text
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]


def test_too_many_and_too_large_uploads_are_refused(client: Client) -> None:
    many = {"index": "uploads", "image": [(io.BytesIO(picture(1)), f"{n}.png") for n in range(4)]}
    assert call(client, "POST", "/images", data=many).get_json()["code"] == "bad_request"
    large = call(client, "POST", "/images", data=b"x" * (2 << 20), content_type="multipart/form-data; boundary=y")
    assert large.status_code == 413


def test_without_a_key_only_health_answers(client: Client) -> None:
    assert client.get("/_dar/v1/jobs", headers={"Host": "localhost"}).status_code == 401
    assert client.get("/_dar/health", headers={"Host": "localhost"}).get_json()["alive"] is True


def test_it_is_ready_when_all_its_parts_are(client: Client) -> None:
    for _ in range(200):
        answer = client.get("/_dar/ready", headers={"Host": "localhost"})
        if answer.status_code == 200:
            break
    assert answer.get_json()["parts"] == dict.fromkeys(("encoder", "decoders", "store", "ledger"), "ok")


def test_the_metrics_count_jobs_that_are_not_ended(client: Client, served: Served, photos: Path) -> None:
    made_job(client, photos)
    registry = served.metrics.registry
    assert registry.get_sample_value("dar_jobs", {"state": "paused"}) == 0.0


def test_a_count_that_takes_long_makes_nobody_unready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(service_module, "_COUNTED", 1)
    with closing(Runtime(load_settings(store=f"sqlite:{tmp_path / 'store.db'}"), encoder=GridEncoder())) as runtime:
        ledger, job = runtime.ledger, runtime.ledger.job
        for _ in range(2):
            ledger.create(JobSpec("photos", str(tmp_path), runtime.store.address))
        runtime.store.create("photos", GridEncoder.provenance)
        service = IngestService(runtime, lambda job, shard: None)
        value = service.metrics.registry.get_sample_value
        monkeypatch.setattr(ledger, "job", lambda id: (go_on.wait(), job(id))[1])
        monkeypatch.setattr(probing, "PROBE_SECONDS", 0.3)
        with closing(service):
            for _ in range(5):
                assert value("dar_job_items", {"result": "indexed"}) is None
            monkeypatch.setattr(probing, "PROBE_SECONDS", 30.0)
            assert service.readiness()["ledger"] == "ok"
            assert value("dar_jobs", {"state": "running"}) == 2
            go_on.set()
            while value("dar_job_items", {"result": "indexed"}) is None:
                pass


def test_every_route_of_the_document_answers_without_a_defect(client: Client) -> None:
    document = client.get("/_dar/openapi/openapi.json", headers={"X-DAR-Key": KEY, "Host": "localhost"})
    paths = document.get_json()["paths"]
    assert len(paths) == 11
    for path, methods in paths.items():
        for method in methods:
            url = path.replace("{job}", "nosuch").replace("{id}", "nosuch")
            answer = client.open(url, method=method.upper(), headers={"X-DAR-Key": KEY, "Host": "localhost"})
            assert answer.status_code < 500 or url == "/_dar/ready", f"{method} {url}: {answer.text}"


def test_metadata_of_a_form_is_limited_as_all_json_is_over_all_pictures(client: Client) -> None:
    def sent(metadata: str, pictures: int = 3) -> TestResponse:
        files = [(io.BytesIO(picture(1)), f"{n}.png") for n in range(pictures)]
        return call(client, "POST", "/images", data={"index": "p", "image": files, "metadata": [metadata] * pictures})

    assert sent('{"a": 1}').status_code == 200
    many = '{"a": [' + "[]," * 40_000 + "[]]}"
    assert sent(many, pictures=1).get_json()["failed"] == 1  # it is read, and is no metadata that can be kept
    assert "100,000 values" in sent(many).get_json()["message"]
    assert sent('{"a": ' + "[" * 100 + "]" * 100 + "}").get_json()["message"].startswith("The JSON nests deeper")
    for refused in (sent("{}", pictures=40), sent(f'{{"a": "{"b" * 500_000}"}}', pictures=1)):
        assert refused.status_code == 413  # of these the form is not read to its end
        assert refused.get_json()["message"] == "The form has a text of more than 500,000 bytes, or more than 25 parts."
