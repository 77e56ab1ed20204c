"""What jobs over HTTP may read: only what `ingest.sources` names, whatever a source expands to, lists or links to."""

from __future__ import annotations

import ast
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dar_ingest.runtime import Runtime
from dar_ingest.serving import made
from werkzeug.test import Client, TestResponse

from dar_search.bootstrap import outside as outside_of
from dar_search.errors import PictureError, SettingsError, SourceNotAllowed
from dar_search.ingestion import sources as sources_package
from dar_search.ingestion.decoding.decoders import Decoders
from dar_search.ingestion.decoding.jobs import Decoded, Job, Undecodable
from dar_search.ingestion.jobs.data import JobSpec
from dar_search.ingestion.sources.allowance import Allowance
from dar_search.ingestion.sources.opening import open_source
from dar_search.ingestion.sources.outside import Outside
from dar_search.ingestion.sources.source import BadItem, SourceItem
from dar_search.preparation import Preparation
from dar_search.settings import Settings, load_settings
from dar_search.settings.fetch import FetchSettings
from dar_search.stores.sqlite.store import SQLiteStore
from tests.grid_encoder import GridEncoder
from tests.pictures import jpeg, photograph
from tests.web_servers import Site, answer, site

KEY = "a key that is long enough"
SECRET = "what the neighbour wrote"
PREPARATION = Preparation(32, 32, "squash")


def tar(path: Path, **pictures: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in pictures.items():
            at = path.parent / "member"
            at.write_bytes(data)
            shard.add(at, f"{name}.jpg")
            at.unlink()


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder `open`, and a neighbour that nobody may read, to which links lead."""
    mine, other = tmp_path / "open", tmp_path / "neighbour"
    for folder in (mine, mine / "sub", other):
        folder.mkdir()
    (mine / "a.jpg").write_bytes(jpeg(photograph(1, 64, 48)))
    (mine / "sub" / "b.jpg").write_bytes(jpeg(photograph(2, 64, 48)))
    (other / "secret.jpg").write_bytes(jpeg(photograph(3, 64, 48)))
    (other / "secret").write_bytes(jpeg(photograph(4, 64, 48)))
    (other / "a.txt").write_text(SECRET)
    (other / "list.jsonl").write_text('{"path": "secret.jpg"}\n')
    (mine / "link.jpg").symlink_to(other / "secret.jpg")
    (mine / "nameless").symlink_to(other / "secret")
    (mine / "nothing.jpg").symlink_to(other / "nothing.jpg")
    (mine / "linked").symlink_to(other)
    (mine / "a.txt").symlink_to(other / "a.txt")
    (mine / "inner.jpg").symlink_to("sub/b.jpg")
    return tmp_path


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as running:
        for path in ("/open/1.jpg", "/closed/2.jpg", "/open/%2E%2E/closed/2.jpg"):
            running.answers[path] = [answer(jpeg(photograph(5, 64, 48)))]
        yield running


Serve = Callable[..., "Service"]


class Service:
    """The service, with a worker beside it, and what its jobs did."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._running = made(settings, encoder=GridEncoder())
        self._client = Client(self._running.app)

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"X-DAR-Key": KEY, "Host": "localhost"} | options.pop("headers", {})
        return self._client.open(f"/_dar/v1{path}", method=method, headers=headers, **options)

    def asked(self, source: object, **options: Any) -> TestResponse:
        return self.call("POST", "/jobs", json={"index": "photos", "source": str(source), "options": options})

    def done(self, source: object, **options: Any) -> tuple[int, list[dict[str, str]]]:
        """Makes a job -> how many pictures it indexed, and its failures."""
        made_job = self.asked(source, **options)
        assert made_job.status_code == 201, made_job.text
        job = made_job.get_json()["id"]
        stream = self.call("GET", f"/jobs/{job}", headers={"Accept": "text/event-stream"}).get_data(as_text=True)
        last = json.loads(stream.strip().split("data: ")[-1])
        assert last["state"] == "done", last
        return last["indexed"], self.call("GET", f"/jobs/{job}/failures").get_json()["failures"]

    def close(self) -> None:
        self._running.close()


@pytest.fixture
def serve(world: Path) -> Iterator[Serve]:
    running: list[Service] = []

    def start(*sources: object, **more: Any) -> Service:
        ingest = {
            "sources": tuple(map(str, sources)), "sweep_seconds": 0.1, "beat_seconds": 0.5, "resend_seconds": 0.3,
            "decoders": 1, "fetch": {"allowed_hosts": ("127.0.0.1",), "tries": 1},
        }  # fmt: skip
        settings = load_settings(
            store=f"sqlite:{world / 'store.db'}", ingest=ingest, service={"keys": {"me": KEY}}, **more
        )
        running.append(Service(settings))
        return running[-1]

    yield start
    for one in running:
        one.close()  # again, where the test has closed it


def test_rows_of_an_allowed_list_are_read_as_far_as_they_are_allowed_themselves(
    serve: Serve, world: Path, web: Site
) -> None:
    outside = {
        "absolute": str(world / "neighbour" / "secret.jpg"),
        "climbing": "../neighbour/secret.jpg",
        "uri": (world / "neighbour" / "secret.jpg").as_uri(),
        "link": "link.jpg",
        "by a linked folder": "linked/secret.jpg",
        "nothing there": "../neighbour/nothing.jpg",
        "a link to nothing": "nothing.jpg",
        "no folder there": "../nowhere/secret.jpg",
        "no permission": "/proc/1/environ",
        "web": f"{web.url}/closed/2.jpg",
        "web in disguise": f"{web.url}/open/%2e%2e/closed/2.jpg",
        "web, climbing": f"{web.url}/open/../closed/2.jpg",
    }
    others = {
        "data:image/png;base64,aGVsbG8=": "unsupported_address",
        "opensearch:secret/1?field=x&number=0": "unsupported_address",
        "ftp://host/secret.jpg": "unsupported_address",
        "~/secret.jpg": "file_missing",  # a name like another here, and ".." means what is written
        "linked/../neighbour/secret.jpg": "file_missing",
    }
    inside = ["a.jpg", "sub/../inner.jpg", (world / "open" / "sub" / "b.jpg").as_uri(), f"{web.url}/open/1.jpg"]
    rows = [*outside.values(), *others, *inside]
    listing = world / "open" / "list.jsonl"
    listing.write_text("".join(json.dumps({"path": row, "id": str(n)}) + "\n" for n, row in enumerate(rows)))
    service = serve(world / "open", f"{web.url}/open/")
    indexed, failures = service.done(listing)
    assert indexed == len(inside)
    assert [one["code"] for one in failures] == [*["not_allowed"] * len(outside), *others.values()]
    assert len({one["message"] for one in failures[: len(outside)]}) == 1, "it tells what is there"
    assert [path for path, _ in web.requests] == ["/open/1.jpg"]
    service.close()
    assert serve("*").done(listing)[0] == 8  # the same list, where everything is allowed


def test_a_pattern_of_shards_leads_nowhere_else(serve: Serve, world: Path) -> None:
    for number in range(2):
        tar(world / "open" / "a" / f"x-{number:03}.tar", **{f"mine{number}": jpeg(photograph(10 + number, 64, 48))})
        tar(world / "neighbour" / f"x-{number:03}.tar", **{f"other{number}": jpeg(photograph(20 + number, 64, 48))})
    (world / "open" / "a" / "x-002.tar").symlink_to(world / "neighbour" / "x-000.tar")
    service = serve(world / "open")
    pattern = f"{world}/open/{{a,../neighbour}}/x-{{000..003}}.tar"
    indexed, failures = service.done(pattern)
    assert indexed == 2
    codes = {one["source"].removeprefix(f"{world.as_uri()}/open"): one["code"] for one in failures}
    assert codes == {
        "/a/x-002.tar": "not_allowed",  # where the link leads is not told
        "/a/x-003.tar": "file_missing",
        **{f"/../neighbour/x-00{number}.tar": "not_allowed" for number in range(4)},
    }
    told = {one["message"] for one in failures if one["code"] == "not_allowed"}
    assert len(told) == 1, "it tells which shards are there"
    for outside in (f"{world}/open/{{../neighbour}}/x-{{000..001}}.tar", f"{world}/open/{{../neighbour/x-000}}.tar"):
        assert_refused(service.asked(outside))


def test_links_and_sidecars_of_an_allowed_folder_lead_nowhere_else(serve: Serve, world: Path) -> None:
    service = serve(world / "open")
    indexed, failures = service.done(world / "open", follow_links=True)
    links = ("link.jpg", "nameless", "nothing.jpg", "linked")
    assert indexed == 3  # and the link that stays inside
    codes = {one["source"].rpartition("/")[2]: one["code"] for one in failures}
    assert codes == dict.fromkeys(links, "not_allowed")
    with closing(SQLiteStore(world / "store.db")) as store:
        index = store.open("photos")
        assert SECRET not in str(index.get(list(index.ids())))
    assert {one["code"] for one in service.done(world / "open")[1]} == {"link_outside"}


def test_a_source_that_is_not_allowed_is_refused_whether_it_is_there_or_not(
    serve: Serve, world: Path, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world / "open" / "~"  # a folder of that name must not stand for a home
    home.mkdir()
    monkeypatch.setenv("HOME", str(world / "neighbour"))
    monkeypatch.chdir(world / "open")
    service = serve(world / "open", f"{web.url}/open/")
    refused = [
        *(world / "neighbour", world / "nowhere", world / "neighbour" / "list.jsonl", world / "neighbour" / "no.jsonl"),
        *(f"{world}/open/../neighbour", f"{world}/open/linked", (world / "neighbour").as_uri(), world),
        *(f"{world}/neighbour/../open/../neighbour", "~", "~/list.jsonl", f"{world}/opener", "/", "/proc/self/fd/0"),
        *(f"{web.url}/closed/list.jsonl", f"{web.url}/open/../closed/list.jsonl", f"{web.url}/open"),
        *("opensearch:photos", "http://open/", "HTTPS://x/", f"http://me:hush@127.0.0.1:{web.port}/open/list.jsonl"),
    ]
    answers = [service.asked(source) for source in refused]
    for answered in answers:
        assert_refused(answered)
    assert len({answered.get_json()["message"] for answered in answers}) == 1, "it tells what is there"
    assert web.requests == []
    # Nothing is told by a detour through what is not allowed either.
    detours = [service.asked(f"{world}/{name}/../open/sub").status_code for name in ("neighbour", "nowhere")]
    assert detours == [201, 201]


def assert_refused(answered: TestResponse) -> None:
    assert (answered.status_code, answered.get_json()["code"]) == (400, "not_allowed"), answered.text
    assert "ingest.sources" in answered.get_json()["hint"]


def test_a_worker_reads_what_its_own_settings_allow_whoever_made_the_job(world: Path) -> None:
    def settings(*sources: Path) -> Settings:
        ingest = {"sources": tuple(map(str, sources)), "decoders": 1}
        return load_settings(store=f"sqlite:{world / 'store.db'}", ingest=ingest)

    def worked(*sources: Path) -> Any:
        with closing(Runtime(settings(*sources), encoder=GridEncoder())) as runtime:
            runtime.ledger.resume(job)
            runtime.worker().work(job)
            return runtime.ledger.job(job)

    with closing(Runtime(settings(), encoder=GridEncoder())) as runtime:
        job = runtime.ledger.create(JobSpec("photos", str(world / "open" / "sub"), runtime.store.address)).id
        runtime.ledger.pause(job, "not yet")
    for sources in ((), (world / "neighbour",)):
        found = worked(*sources)
        assert (found.state, found.items) == ("running", 0)  # another worker may have it
        assert "ingest.sources" in found.reason
    found = worked(world / "open")
    assert (found.state, found.indexed, found.reason) == ("done", 1, "")


def test_a_decoder_opens_what_is_allowed_and_tells_nothing_of_the_rest(world: Path) -> None:
    paths = [world / "open" / "a.jpg", world / "neighbour" / "secret.jpg", world / "neighbour" / "no.jpg"]
    items = [SourceItem(path.name, path.as_uri(), bytes(path)) for path in paths]
    items.append(SourceItem("packed", "x", bytes(paths[1]), length=9, at="packed:"))
    jobs = [Job(item) for item in items] + [Job(items[1], data=paths[1].read_bytes())]  # the last was fetched
    with Outside(allowance=Allowance.named([str(world / "open")])) as reach:
        outcomes = list(Decoders(PREPARATION, processes=1, outside=reach).decode(jobs))
    assert {one.job.item.id for one in outcomes if isinstance(one, Decoded)} == {"a.jpg", "secret.jpg"}
    assert {one.job.item.id: one.code for one in outcomes if isinstance(one, Undecodable)} == {
        "secret.jpg": "not_allowed",
        "no.jpg": "not_allowed",
        "packed": "not_allowed",
    }


def test_what_takes_a_place_between_the_look_and_the_opening_is_not_read(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the path sees the old folder; what is opened lies elsewhere."""
    allowance = Allowance.named([str(world / "open")])
    (world / "open" / "list.jsonl").write_text('{"path": "a.jpg"}')
    listing = open_source(world / "open" / "list.jsonl", outside=Outside(allowance=allowance))
    (world / "open" / "list.jsonl").unlink()
    (world / "open" / "list.jsonl").symlink_to(world / "neighbour" / "list.jsonl")
    with pytest.raises(SourceNotAllowed):
        list(listing.items())
    source = open_source(world / "open" / "sub", outside=Outside(allowance=allowance))
    (world / "open" / "sub").rename(world / "open" / "before")
    (world / "open" / "sub").symlink_to(world / "neighbour")
    with pytest.raises(SourceNotAllowed):
        list(source.items())
    monkeypatch.setattr(Allowance, "covers", lambda self, path: True)
    with pytest.raises(SourceNotAllowed):
        list(source.items())
    swapped = bytes(world / "open" / "sub" / "secret.jpg")
    for away in (False, True):
        if away:  # a system without /proc
            monkeypatch.setattr(os, "readlink", _no_proc(os.readlink))
        with pytest.raises(PictureError) as caught:
            allowance.opened(swapped)
        assert caught.value.code == "not_allowed"
        os.close(allowance.opened(bytes(world / "open" / "before" / "b.jpg")))


def _no_proc(readlink: Callable[..., Any]) -> Callable[..., Any]:
    def read(path: Any, **options: Any) -> Any:
        if os.fsencode(path).startswith(b"/proc/"):
            raise FileNotFoundError(path)
        return readlink(path, **options)

    return read


def test_nothing_of_a_source_is_opened_but_through_the_allowance() -> None:
    """A kind of source that opened a file by itself would read whatever its caller names."""
    openings = ("open", "os.open", "io.open", "os.listdir", "os.walk", "Path.open")
    found = []
    for path in Path(sources_package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in openings:
                found.append((path.name, name))
            if isinstance(node, ast.Attribute) and node.attr in ("read_bytes", "read_text", "iterdir", "glob", "rglob"):
                found.append((path.name, node.attr))
    assert found == [("allowance.py", "os.open")]


@pytest.mark.parametrize(
    ("sources", "allowed", "refused"),
    [
        (["https://"], ["https://a.example/x", "HTTPS://b.example:8443"], ["http://a.example/x", "opensearch:a"]),
        (
            ["https://a.example/p/"],
            ["https://A.example/p/x", "https://a.example:443/p/x?q=%2e%2e"],
            ["https://a.example/", "https://a.example.org/p/x", "https://a.example/p/%2e%2E/x", "https://a.example/q/x",
             "https://a.example/p/..%5cx", "https://a.example/p/a%2F..%2F..%2Fx", "https://me:hush@a.example/p/x", "https://a.example/p/../x"],
        ),
        (["https://a.example/p//@x/"], ["https://a.example/p//@x/y@2x.png"], ["https://a.example/p/"]),
        (["https://a.example"], ["https://a.example/%2e%2e/x"], ["https://a.example.org/"]),
        (["https://a.example/list.jsonl"], ["https://a.example/list.jsonl"], ["https://a.example/list.jsonl2"]),
        (["opensearch:a@b", "profile:me@home"], ["opensearch:a@b", "profile:me@home"], ["opensearch:b"]),
        (["opensearch:products"], ["opensearch:products"], ["opensearch:products2", "opensearch:products,secret"]),
        ([], [], ["https://a.example/", "opensearch:x", "profile:x"]),
    ],
)  # fmt: skip
def test_addresses_are_compared_as_they_will_be_asked(
    sources: list[str], allowed: list[str], refused: list[str]
) -> None:
    allowance = Allowance.named(sources)
    assert [one for one in allowed if not allowance.names(one)] == []
    assert [one for one in refused if allowance.names(one)] == []


@pytest.mark.parametrize(
    "address",
    ["https://me:hush@a.example/", "", " ", "file://elsewhere/x", "https:///", "https://a.example/p/%2e%2e/",
     "photos:2024", "opensearch:", "FILE://elsewhere/x"],
)  # fmt: skip
def test_an_allowed_address_that_is_none_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(SettingsError, match=r"ingest\.sources") as caught:
        Allowance.named([address])
    assert "hush" not in str(caught.value)
    assert f'"{address.replace("me:hush", "***")}"' in caught.value.message


@pytest.mark.parametrize("scheme", ["file:", "FILE:", "File://", "file://localhost"])
def test_a_folder_by_its_uri_is_one_wherever_it_is_written(world: Path, scheme: str) -> None:
    for entry, asked in ((f"{scheme}{world}/open", f"{world}/open"), (f"{world}/open", f"{scheme}{world}/open")):
        with Outside(allowance=Allowance.named([entry])) as reach:
            assert open_source(asked, outside=reach).origin == (world / "open").as_uri()
    with pytest.raises(SourceNotAllowed):
        open_source(f"{scheme}{world}/neighbour", outside=Outside(allowance=Allowance.named([f"{world}/open"])))


def test_a_caller_does_not_choose_whom_the_service_tells_its_password(serve: Serve, web: Site) -> None:
    """Neither over HTTP, nor where the operator has named the other cluster, nor behind a redirect."""
    no_index = answer(b"{}", Content_Type="application/json")
    web.answers["/old/_settings/index.number_of_shards?flat_settings=true"] = [no_index]
    here = "http://127.0.0.1:1"
    access = {"username": "me", "password": "hush-of-the-service"}
    service = serve("opensearch:old", "http://", f"{web.url}/open/", opensearch=access)
    options = {"field": "image"}
    for store in (
        web.url,
        f"{web.url}/open",
        f"{here},{web.url}",
        "profile:prod",
        "http://",
        f"http://a:b@127.0.0.1:{web.port}",
    ):
        refused = service.asked("opensearch:old", **options, source_store=store)
        assert refused.status_code == 400, refused.text
    assert web.requests == []
    everything = serve("*", opensearch=access)
    typed = everything.asked("opensearch:old", **options, source_store=f"http://a:hush@127.0.0.1:{web.port}")
    assert (typed.status_code, typed.get_json()["code"]) == (400, "bad_source")
    assert "hush" not in typed.text
    assert web.requests == []
    for named in (serve("opensearch:old", web.url, opensearch=access), everything):
        asked = named.asked("opensearch:old", **options, source_store=web.url)
        assert asked.status_code == 201, asked.text
    assert web.requests
    assert not [headers for _, headers in web.requests if "authorization" in headers]


def test_the_settings_login_goes_to_the_hosts_of_the_settings_store_alone(
    web: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/x"
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[profiles.old]\nhosts = ["{web.url}"]\nbearer_token = "of-the-profile"\n')
    profiles.chmod(0o600)

    def sent(store: str, asked: str) -> str | None:
        web.requests.clear()
        web.answers[path] = [answer(b"{}", Content_Type="application/json")]
        settings = load_settings(store=store, opensearch={"bearer_token": "hush"}, profiles_file=profiles)
        with outside_of(settings) as reach:
            reach.cluster(asked).read("GET", path)
        ((_, headers),) = web.requests
        return headers.get("authorization")

    assert sent("http://127.0.0.1:1", web.url) is None
    assert f"{web.url} is asked without the settings' login" in caplog.text
    assert sent(f"sqlite:{tmp_path / 'x.db'}", web.url) is None
    assert sent("profile:old", web.url) is None
    assert sent(web.url, "") == "Bearer hush"
    assert sent(f"http://127.0.0.1:1,{web.url}", f"{web.url}/") == "Bearer hush"
    assert sent("http://127.0.0.1:1", "profile:old") == "Bearer of-the-profile"
    with site() as elsewhere:
        web.answers[path] = [answer(b"", "307 Temporary Redirect", Location=f"{elsewhere.url}{path}")]
        settings = load_settings(store=web.url, opensearch={"bearer_token": "hush"})
        with outside_of(settings) as reach, pytest.raises(Exception, match="307"):
            reach.cluster("").read("GET", path)
        assert elsewhere.requests == []


def test_a_list_on_the_web_names_what_is_allowed_too(web: Site, world: Path) -> None:
    rows = [f"{web.url}/closed/2.jpg", "1.jpg", "https://me:hush@a.example/1.jpg"]
    web.answers["/open/list.jsonl"] = [answer("".join(json.dumps({"path": row}) + "\n" for row in rows).encode())]
    allowance = Allowance.named([f"{web.url}/open/"])
    with Outside(FetchSettings(allowed_hosts=("127.0.0.1",), tries=1), allowance=allowance) as reach:
        closed, open_, login = open_source(f"{web.url}/open/list.jsonl", outside=reach).items()
        assert isinstance(open_, SourceItem)
        assert reach.picture(open_)
        assert isinstance(closed, SourceItem)
        with pytest.raises(PictureError) as caught:
            reach.picture(closed)
        assert caught.value.code == "not_allowed"
    assert isinstance(login, BadItem)
    assert "hush" not in str(login)
    assert [path for path, _ in web.requests] == ["/open/list.jsonl", "/open/1.jpg"]
