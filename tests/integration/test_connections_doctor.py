"""The doctor before a real node and a real nginx, and the roles that it prints."""

import zipfile

import pytest
from opensearchpy.exceptions import OpenSearchException

from dar_search.errors import StoreForbidden
from dar_search.settings import load_settings
from dar_search.settings.cluster_access import ClusterAccess
from dar_search.stores.node import read_coordinates
from dar_search.stores.node.home import prepared_home
from dar_search.stores.opensearch.cluster.connection import mapped
from dar_search.stores.opensearch.cluster.doctor import examine
from dar_search.stores.opensearch.cluster.faults import faults_of
from dar_search.stores.opensearch.cluster.permissions import NEEDS, role
from tests.cluster_connections import connected, nginx_needed
from tests.nginx import Doors

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


def test_the_doctor_finds_everything_on_a_full_node(opensearch_with_neural_search: str) -> None:
    with connected(opensearch_with_neural_search) as client:
        before = client.transport.perform_request("GET", "/_cat/indices?format=json")
        report = examine(client, "photos")
        after = client.transport.perform_request("GET", "/_cat/indices?format=json")
    assert report.distribution == "opensearch"
    found = {name: report.features[name] for name in ("knn", "lucene", "hybrid", "normalization", "rrf")}
    assert found == dict.fromkeys(found, True)
    assert report.features["inline_pipeline"] is True
    assert report.plugins is not None
    assert {"opensearch-knn", "opensearch-neural-search"} <= report.plugins
    assert all(permission.granted for permission in report.permissions)
    assert [line for line in report.observations if line.status == "fail"] == []
    known = [line.detail for line in report.observations if line.subject == "known fault"]
    assert known == [
        f"{fault.symptom} ({fault.source}); dar-search {fault.here}"
        for fault in faults_of(report.version, report.plugins)
    ]
    assert any("field alias" in detail for detail in known)
    assert {row["index"] for row in before} == {row["index"] for row in after}


def test_the_doctor_names_missing_plugins_and_the_fix(
    opensearch_without_neural_search: str, opensearch_without_knn: str
) -> None:
    with connected(opensearch_without_neural_search) as client:
        report = examine(client)
    assert (report.features["knn"], report.features["hybrid"], report.features["normalization"]) == (True, False, False)
    (fusion,) = [line for line in report.observations if line.subject == "score fusion"]
    assert (fusion.status, "opensearch-neural-search" in fusion.fix) == ("note", True)
    assert report.features["faiss"] is False  # a local node says so of itself
    with connected(opensearch_without_knn) as client:
        report = examine(client)
    assert (report.features["knn"], report.features["faiss"]) == (False, False)
    (knn,) = [line for line in report.observations if line.status == "fail"]
    assert (knn.subject, "opensearch-knn" in knn.fix) == ("k-NN", True)


@nginx_needed
def test_the_doctor_says_which_permissions_are_missing(doors: Doors) -> None:
    with connected(doors.forbidding["no_writing"]) as client:
        report = examine(client, "photos")
    refused = {permission.need.purpose for permission in report.permissions if permission.granted is False}
    assert refused == {
        "read an index's mapping",
        "make an index",
        "give an index its aliases",
        "write and delete pictures",
        "drop an index",
    }
    lines = {line.detail: line for line in report.observations if line.subject == "permission"}
    make = lines["you may not make an index (only needed to write)"]
    assert (make.status, "indices:admin/create" in make.fix) == ("note", True)
    assert lines["you may not read an index's mapping"].status == "fail"


@nginx_needed
def test_the_doctor_goes_on_where_it_may_not_ask(doors: Doors) -> None:
    with connected(doors.forbidding["no_asking"]) as client:
        report = examine(client)
    assert report.plugins is None
    assert report.features["knn"] is True
    assert {line.status for line in report.observations if line.subject == "permission"} == {"note"}
    with connected(doors.forbidding["no_search"]) as client:
        report = examine(client)
    assert report.features["knn"] is None
    assert "search" in {permission.need.purpose for permission in report.permissions if permission.granted is False}


@nginx_needed
def test_a_missing_permission_is_named_by_the_error(doors: Doors) -> None:
    with connected(doors.forbidding["no_search"]) as client, pytest.raises(OpenSearchException) as caught:
        client.search(index="photos", body={})
    error = mapped(caught.value)
    assert isinstance(error, StoreForbidden)
    assert "indices:data/read/search" in error.message
    assert "dar-reader" not in error.message


@nginx_needed
def test_the_doctor_refuses_wrong_credentials_at_once(doors: Doors) -> None:
    with connected(doors.token, bearer_token="wrong") as client, pytest.raises(StoreForbidden):
        examine(client)


def test_every_way_of_access_has_a_setting_that_profiles_share() -> None:
    assert set(ClusterAccess.model_fields) <= set(type(load_settings().opensearch).model_fields)


def test_every_action_of_a_role_is_one_of_the_server_s_own() -> None:
    coordinates = read_coordinates()
    plugins = coordinates.plugins_named(tuple(coordinates.plugins))
    home = prepared_home(coordinates, plugins, thai=True)
    named = {action.rstrip("*") for need in NEEDS for action in (*need.cluster, *need.index)}
    with zipfile.ZipFile(home / "lib" / f"opensearch-{coordinates.version}.jar") as archive:
        for entry in archive.namelist():
            if "Action" in entry and entry.endswith(".class") and named:
                content = archive.read(entry)
                # A constant of a class file is its length in two bytes, then its text.
                named -= {name for name in named if len(name).to_bytes(2, "big") + name.encode() in content}
    assert named == set()


def test_roles_hold_what_the_needs_ask_for_and_no_wildcard_for_everything() -> None:
    reading, writing = role("photos", writing=False), role("photos", writing=True)
    (rights,) = writing["index_permissions"]
    assert rights["index_patterns"] == ["photos*"]
    for need in NEEDS:
        assert set(need.cluster) <= set(writing["cluster_permissions"])
        assert set(need.index) <= set(rights["allowed_actions"])
    names = {*reading["cluster_permissions"], *reading["index_permissions"][0]["allowed_actions"]}
    assert not [name for name in names if "write" in name or "create" in name or "delete" in name]
    assert "*" not in {*rights["allowed_actions"], *writing["cluster_permissions"]}
