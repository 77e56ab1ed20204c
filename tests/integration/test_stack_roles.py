"""The roles of opensearch/roles are what the store and the ledger need on a cluster: no less, and no more.

The node has no security plugin. A gate before a real node maps each request to the actions that it stands
for, and refuses what the role does not permit; the contract suite passes through it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dar_search.stores.opensearch.cluster.permissions import ledger_role, role
from tests.role_gate import Role, RoleGate, permits

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "opensearch" / "roles"
# What the suites themselves do beside the store: they list all indices and drop their ledgers.
LISTING: Role = {
    "cluster_permissions": [],
    "index_permissions": [{"index_patterns": ["*"], "allowed_actions": ["indices:admin/get"]}],
}
DROPPING: Role = {
    "cluster_permissions": ["cluster:monitor/main"],
    "index_permissions": [{"index_patterns": ["contract-ledger*"], "allowed_actions": ["indices:admin/delete"]}],
}
# The only thing that is asked for without a right to it: the store then takes the cluster's first answer.
ASKED_IN_VAIN = {("GET", "/_cluster/state/blocks")}
# Needs that no test of the contract has: an index with a search pipeline of its own; settings that change while a job
# loads, which test_stack sees.
NOT_IN_THE_SUITE = {
    "cluster:admin/search/pipeline/get",
    "indices:monitor/settings/get",
    "indices:admin/settings/update",
}
# Of the suites, those tests that send each kind of request.
STORE_TESTS = "comes_back or ids_come or delete_removes or decides_a_fields or handles_write or both_legs or settings"
LEDGER_TESTS = "kept_as_it_was or newest or counted or forgotten"


def test_the_files_are_the_roles_that_the_doctor_prints() -> None:
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in ROLES.glob("*.json")}
    del found["dar-dashboards"]  # of OpenSearch Dashboards, not of this project
    assert found == {
        "dar-search": role("photos", writing=False),
        "dar-ingest": role("photos", writing=True),
        "dar-ledger": ledger_role("dar-ledger"),
    }


def run_contract(gate: RoleGate, files: tuple[str, ...], tests: str) -> None:
    """Contract tests of the ordinary node, in a process of their own, through the gate; all of them: DAR_TORTURE=1."""
    which = "opensearch and not client and not three_nodes and not opensearch_3_5"
    if not os.environ.get("DAR_TORTURE"):
        which += f" and ({tests})"
    paths = [f"tests/contract/test_{file}.py" for file in files]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths, "-k", which],
        cwd=ROOT,
        env=os.environ | {"OPENSEARCH_URL": gate.url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def assert_fits(gate: RoleGate, user: str, held: Role) -> None:
    """Everything was permitted, and every permission of the role was needed."""
    assert gate.unknown == []
    assert {(method, path) for _, method, path, _ in gate.refused} <= ASKED_IN_VAIN
    needed = {action for action, _ in gate.granted[user]}
    (rights,) = held["index_permissions"]
    listed = {*held["cluster_permissions"], *rights["allowed_actions"]}
    unneeded = {
        pattern
        for pattern in listed
        if not any(permits(_only(pattern), action, index) for action in needed for index in ("", "x"))
    }
    assert unneeded <= NOT_IN_THE_SUITE


def _only(action: str) -> Role:
    return {
        "cluster_permissions": [action],
        "index_permissions": [{"index_patterns": ["*"], "allowed_actions": [action]}],
    }


def test_the_store_s_contract_passes_with_the_writing_role_and_needs_all_of_it(opensearch_url: str) -> None:
    held = role("contract", writing=True)
    with RoleGate(opensearch_url, {"dar-ingest": [held, LISTING]}, user="dar-ingest") as gate:
        run_contract(gate, ("image_index", "search"), STORE_TESTS)
        assert_fits(gate, "dar-ingest", held)


def test_the_ledger_s_contract_passes_with_its_role_and_needs_all_of_it(opensearch_url: str) -> None:
    held = ledger_role("contract-ledger")
    with RoleGate(opensearch_url, {"ledger": [held, DROPPING]}, user="ledger") as gate:
        run_contract(gate, ("ledger",), LEDGER_TESTS)
        assert_fits(gate, "ledger", held)


@pytest.mark.parametrize(
    ("action", "index", "allowed"),
    [
        ("indices:data/read/search", "photos", True),
        ("indices:data/read/search", "photos-000002", True),
        ("indices:data/read/search", "secrets", False),
        ("indices:data/write/index", "photos", False),
        ("indices:data/write/bulk", "", False),
        ("cluster:monitor/state", "", False),
    ],
)
def test_the_query_service_s_role_reads_its_index_and_nothing_else(action: str, index: str, allowed: bool) -> None:
    held = json.loads((ROLES / "dar-search.json").read_text("utf-8"))
    assert permits(held, action, index) is allowed
