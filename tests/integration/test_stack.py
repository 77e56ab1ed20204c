"""docker-compose.yml at work: its commands and its environment, as processes of this machine (see tests/stack.py).

A job ingests a gallery through the ingest service while each service is killed once; a dialogue then finds its picture
through the query service. A real node, Redis and nginx with TLS; least rights, held by a gate.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dar_search.demo.picture_files import GalleryFiles, draw_gallery
from dar_search.demo.replay import HeldOut, held_out
from dar_search.ingestion.sources.locations import file_uri, record_id
from dar_search.method.dialogues import as_json
from dar_search.settings import load_settings
from dar_search.stores.opensearch.cluster.connection import connect
from tests.compose_file import ROOT, filled_in, resolved
from tests.programs import needed
from tests.security_gate import SecurityGate
from tests.stack import Stack

PICTURES = 600
ADMIN = "Adm1n-of-the-test"
SERVICES = ("ingest", "worker", "query")
# Refused to the services' users, who have the rights to their own indices alone: all of them are not theirs to list.
# The node is asked whether it has just started where an index is not there yet; its first answer stands.
REFUSED = {("GET", "/*"), ("GET", "/_cluster/state/blocks")}


@dataclass(frozen=True)
class Ran:
    """What is left when the job is done.

    Attributes:
        before: the job when the first service was killed; job: at its end.
        node: the node itself, past nginx and gate.
    """

    stack: Stack
    gate: SecurityGate
    values: dict[str, str]
    files: GalleryFiles
    before: dict[str, Any]
    job: dict[str, Any]
    node: Any

    @property
    def index(self) -> str:
        return self.values["INDEX_NAME"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, opensearch_url: str) -> Iterator[Ran]:
    needed("nginx", "redis-server", "redis-cli", "openssl")
    folder = tmp_path_factory.mktemp("stack")
    files = draw_gallery(folder / "photos", PICTURES)
    own = uuid.uuid4().hex[:10]
    values = filled_in(OPENSEARCH_ADMIN_PASSWORD=ADMIN, INDEX_NAME=f"stack-{own}", PICTURES=str(files.folder))
    (folder / "compose").mkdir()
    services = resolved(values, folder / "compose")["services"]
    ledger = f"dar-ledger-{own}"  # the role's pattern, and a name of this test's own
    node = connect(opensearch_url, load_settings())
    with SecurityGate(opensearch_url, ADMIN) as gate:
        stack = Stack(services, folder / "run", files.folder, gate.url, {"DAR_INGEST__LEDGER_INDEX": ledger})
        try:
            stack.run_once("certificates")
            stack.start_nginx()
            stack.until(lambda: _answers(stack), "nginx does not answer", "nginx")
            stack.run_once("roles")
            stack.start("redis")
            stack.wait_for(("redis",))
            for name in SERVICES:
                stack.start(name)
            stack.wait_for(("ingest", "query"))
            before, job = _job_under_fire(stack, values, files)
            yield Ran(stack, gate, values, files, before, job, node)
        finally:
            stack.stop()
            node.indices.delete(index=f"{ledger}-*,{values['INDEX_NAME']}-*", ignore=404)
            node.close()


def _answers(stack: Stack) -> bool:
    try:
        return stack.cluster_status("admin", ADMIN) == 200
    except OSError:
        return False


def _job_under_fire(stack: Stack, values: dict[str, str], files: GalleryFiles) -> tuple[dict[str, Any], dict[str, Any]]:
    """Makes a job, kills each service once while it runs, starts it again as its restart policy would, waits."""
    key = values["INGEST_KEY"]
    body = {"index": values["INDEX_NAME"], "source": str(files.manifest)}
    status, made = stack.ask("ingest", "POST", "/_dar/v1/jobs", body, key=key)
    assert status == 201, (made, stack.tail("ingest"))
    path = f"/_dar/v1/jobs/{made['id']}"
    seen: dict[str, Any] = made

    def look() -> dict[str, Any]:
        nonlocal seen
        status, answer = stack.ask("ingest", "GET", path, key=key)
        seen = answer if status == 200 else seen
        return seen

    stack.until(lambda: look()["done"] > 0, "the job does not begin", "worker")
    before = seen
    for name in ("worker", "ingest", "query"):
        stack.kill(name)
        stack.start(name)
    stack.wait_for(("ingest",))
    stack.until(lambda: look()["state"] != "running", "the job does not end", "worker")
    stack.wait_for(SERVICES)
    return before, seen


def test_the_kills_came_while_the_job_ran_and_it_ended_whole(ran: Ran) -> None:
    assert ran.before["state"] == "running"
    assert 0 < ran.before["done"] < PICTURES
    ended = {name: ran.job[name] for name in ("state", "total", "done", "failed")}
    assert ended == {"state": "done", "total": PICTURES, "done": PICTURES, "failed": 0}


def test_nothing_is_lost_and_nothing_is_doubled(ran: Ran) -> None:
    ran.node.indices.refresh(index=ran.index)
    body = {"query": {"match_all": {}}, "_source": ["id"], "size": 10_000}
    hits = ran.node.search(index=ran.index, body=body)["hits"]["hits"]
    pictures = (os.path.realpath(path) for path in ran.files.pictures.glob("*.jpg"))
    expected = sorted(record_id(file_uri(os.fsencode(path))) for path in pictures)
    assert sorted(hit["_source"]["id"] for hit in hits) == expected
    assert len(expected) == PICTURES


def test_both_services_say_that_they_are_ready(ran: Ran) -> None:
    for name in ("ingest", "query"):
        ran.stack.until(lambda name=name: ran.stack.ask(name, "GET", "/_dar/ready")[0] == 200, "not ready", name)  # type: ignore[misc]


def subjects(ran: Ran) -> list[HeldOut]:
    return list(held_out(ran.files, 8))


def test_dialogues_find_their_pictures_through_the_query_service(ran: Ran) -> None:
    key = ran.values["QUERY_KEY"]
    ran.stack.until(lambda: ran.stack.ask("query", "GET", "/_dar/ready")[0] == 200, "it is not ready", "query")
    found = 0
    for subject in subjects(ran):
        body = {"dialogue": as_json(subject.dialogue), "size": 10, "deadline_ms": 30_000}
        status, answer = ran.stack.ask("query", "POST", "/_dar/v1/search", body, key=key)
        assert status == 200, answer
        assert {leg: about["status"] for leg, about in answer["legs"].items() if about["status"] != "ok"} == {}
        found += subject.target in [hit["id"] for hit in answer["hits"]]
    # By chance a dialogue's picture is among ten of 600 once in sixty times.
    assert found >= 6


def test_who_has_no_key_gets_nothing_from_either_service(ran: Ran) -> None:
    for name, path in (("ingest", "/_dar/v1/jobs"), ("query", "/_dar/v1/search")):
        for key in (None, "not-the-key-of-the-service"):
            status, problem = ran.stack.ask(name, "POST", path, {}, key=key)
            assert (status, problem["code"]) == (401, "unauthenticated")


def test_the_services_needed_no_more_than_the_least_rights(ran: Ran) -> None:
    assert ran.gate.unknown == []
    assert {(method, path) for _, method, path, _ in ran.gate.refused} <= REFUSED
    assert set(ran.gate.granted) == {"admin", "dar-query", "dar-ingest"}
    written = {user for user, asked in ran.gate.granted.items() if any("write" in action for action, _ in asked)}
    assert written == {"dar-ingest"}
    asked = {action for action, _ in ran.gate.granted["dar-ingest"]}
    assert {"indices:monitor/settings/get", "indices:admin/settings/update"} <= asked  # while the job loads


def test_the_users_step_put_roles_users_and_mappings_and_took_the_demonstration_users(ran: Ran) -> None:
    tables = ran.gate.tables
    assert set(tables["roles"]) == {path.stem for path in (ROOT / "opensearch" / "roles").glob("*.json")}
    assert tables["roles"]["dar-search"]["index_permissions"][0]["index_patterns"] == [f"{ran.index}*"]
    assert set(tables["internalusers"]) == {"admin", "dar-query", "dar-ingest", "dar-dashboards"}
    assert tables["rolesmapping"]["dar-ledger"] == {"users": ["dar-ingest"]}


def test_a_wrong_password_opens_no_door(ran: Ran) -> None:
    assert ran.stack.cluster_status("dar-query", ran.values["QUERY_PASSWORD"]) == 200
    assert ran.stack.cluster_status("dar-query", "wrong") == 401
    assert ran.stack.cluster_status("readall", "readall") == 401


def test_no_log_holds_a_secret(ran: Ran) -> None:
    secrets = [value for name, value in ran.values.items() if name.endswith(("PASSWORD", "KEY"))]
    for name in (*SERVICES, "redis", "nginx"):
        text = ran.stack.log(name).read_text("utf-8", "replace")
        assert [secret for secret in secrets if secret in text] == [], name


def test_every_metric_of_the_dashboard_is_told_by_a_service(ran: Ran) -> None:
    told = set()
    for name in ("ingest", "query"):
        for line in ran.stack.metrics(name).splitlines():
            # A counter by labels has no line of its own before it counts something; its type is told.
            words = line.split()
            told.add(words[2] if line.startswith("# TYPE") else line.split("{")[0].split(" ")[0])
    dashboard = json.loads((ROOT / "opensearch" / "grafana-dashboard.json").read_text("utf-8"))
    asked = _metrics_of(dashboard)
    assert asked
    assert asked - told == set()


def _metrics_of(dashboard: dict[str, Any]) -> set[str]:
    """The names in all expressions that are no functions, labels or durations."""
    found = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found |= set(re.findall(r"\b(?:dar|process|python)_[a-z_]+\b", target["expr"]))
    return found


def test_the_folder_of_the_stack_holds_a_key_that_only_the_node_reads(ran: Ran) -> None:
    key: Path = ran.stack.authority.parents[1] / "node" / "node.key"
    assert key.stat().st_mode & 0o077 == 0
    assert list(ran.stack.authority.parent.iterdir()) == [ran.stack.authority]
