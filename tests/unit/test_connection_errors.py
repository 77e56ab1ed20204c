"""opensearch-py's exceptions become this project's errors, every one of them."""

import inspect
import ssl
from typing import Any

import pytest
from opensearchpy import exceptions as foreign

from dar_search.errors import (
    DarError,
    FeatureMissing,
    IndexExists,
    IndexNotFound,
    SettingsError,
    StoreError,
    StoreForbidden,
    StoreUnavailable,
)
from dar_search.stores.opensearch.cluster.errors import ERRORS, first_cause, mapped


def test_the_map_names_every_exception_of_opensearch_py_and_no_other() -> None:
    defined = {
        member
        for _, member in inspect.getmembers(foreign, inspect.isclass)
        if issubclass(member, Exception) and not issubclass(member, Warning) and member.__module__ == foreign.__name__
    }
    assert defined >= {foreign.TransportError, foreign.SSLError, foreign.OpenSearchDslException}
    assert set(ERRORS) == defined


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_exception_becomes_a_one_line_error(kind: type[Exception]) -> None:
    error = mapped(kind("N/A", "several\nlines", OSError("no route\nto host")))
    assert isinstance(error, DarError)
    assert "\n" not in str(error)


def test_an_exception_of_a_later_version_is_still_an_error_of_the_store() -> None:
    later = type("Later", (foreign.TransportError,), {})
    assert isinstance(mapped(later(503, "unavailable", {})), StoreUnavailable)
    assert isinstance(mapped(KeyError("x")), StoreError)


def answer(kind: str, reason: str = "because") -> dict[str, Any]:
    return {"error": {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason}}


def failed_whole(cause: str) -> dict[str, Any]:
    """What a search answers that failed on no shard in particular, as from a node whose neighbour was killed."""
    caused = {"type": cause, "reason": "[node-1] because"}
    failed = {"root_cause": [], "type": "search_phase_execution_exception", "reason": "", "phase": "fetch"}
    return {"error": failed | {"grouped": True, "failed_shards": [], "caused_by": caused}}


@pytest.mark.parametrize(
    ("status", "info", "expected"),
    [
        (404, answer("index_not_found_exception"), IndexNotFound),
        (404, {"found": False}, StoreError),
        (404, answer("search_context_missing_exception", "No search context found for id [7]"), StoreUnavailable),
        (400, answer("resource_already_exists_exception"), IndexExists),
        (400, answer("parsing_exception", "unknown query [hybrid]"), FeatureMissing),
        (400, answer("parsing_exception", "unknown query [knn]"), FeatureMissing),
        (
            400,
            answer("mapper_parsing_exception", "No handler for type [knn_vector] declared on field [v]"),
            FeatureMissing,
        ),
        (400, answer("illegal_argument_exception", "Invalid processor type normalization-processor"), FeatureMissing),
        (400, answer("parsing_exception", "unknown query [foo]"), StoreError),
        (401, "Unauthorized", StoreForbidden),
        (
            403,
            answer("security_exception", "no permissions for [indices:data/read/search] and User [x]"),
            StoreForbidden,
        ),
        (403, answer("cluster_block_exception", "index [a] blocked by: [FORBIDDEN/8/index write]"), StoreUnavailable),
        (429, answer("cluster_block_exception", "flood stage, read-only-allow-delete block"), StoreUnavailable),
        (429, answer("circuit_breaking_exception"), StoreUnavailable),
        (429, answer("rejected_execution_exception"), StoreUnavailable),
        (413, "<html><head><title>413 Request Entity Too Large</title></head></html>", StoreError),
        (500, answer("null_pointer_exception"), StoreError),
        (500, answer("node_disconnected_exception"), StoreUnavailable),
        (500, failed_whole("node_not_connected_exception"), StoreUnavailable),
        (500, answer("illegal_state_exception", "unexpected byte [0xf1]"), StoreUnavailable),
        (500, answer("transport_serialization_exception", "Failed to deserialize response"), StoreUnavailable),
        (500, answer("illegal_state_exception", "no index uuid"), StoreError),
        (500, failed_whole("null_pointer_exception"), StoreError),
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", StoreUnavailable),
        (503, answer("cluster_manager_not_discovered_exception"), StoreUnavailable),
        (504, "", StoreUnavailable),
    ],
)
def test_a_status_and_its_cause_decide(status: int, info: Any, expected: type[DarError]) -> None:
    kind = foreign.HTTP_EXCEPTIONS.get(status, foreign.TransportError)
    # As opensearch-py raises it: JSON is the info, anything else the error.
    raised = kind(status, "x", info) if isinstance(info, dict) else kind(status, info, None)
    assert type(mapped(raised)) is expected


def test_a_full_disk_says_what_to_do_and_a_missing_permission_which() -> None:
    full = mapped(foreign.TransportError(429, "x", answer("cluster_block_exception", "read-only-allow-delete block")))
    assert "disk" in full.hint
    reason = "no permissions for [indices:data/write/bulk] and User [name=ann, backend_roles=[]]"
    forbidden = mapped(foreign.AuthorizationException(403, "x", answer("security_exception", reason)))
    assert "indices:data/write/bulk" in forbidden.message
    assert "ann" not in str(forbidden)


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1)", "ca_file"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)", "http://"),
        ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] bad certificate (_ssl.c:1)", "client_certificate"),
    ],
)
def test_a_failed_handshake_says_what_to_set_and_is_not_tried_again(reason: str, hint: str) -> None:
    error = mapped(foreign.SSLError("N/A", reason, ssl.SSLError(reason)))
    assert not isinstance(error, StoreUnavailable)
    assert hint in error.hint


def test_a_wrong_setup_of_the_client_is_a_wrong_setting() -> None:
    assert isinstance(mapped(foreign.ImproperlyConfigured("no hosts")), SettingsError)


@pytest.mark.parametrize(
    ("info", "cause"),
    [
        ({"error": {"root_cause": [], "type": "t", "reason": "r"}}, ("t", "r")),
        (
            {"error": {"root_cause": [], "type": "t", "caused_by": {"type": "u", "caused_by": {"type": "v"}}}},
            ("v", ""),
        ),
        ({"error": {"type": "t", "reason": "r", "caused_by": {"type": "u"}}}, ("t", "r")),  # of a bulk's item
        ({"error": "text"}, ("", "text")),
        ({"error": {"root_cause": ["odd"], "type": "t", "reason": "r"}}, ("t", "r")),
        ({"error": {"root_cause": [{"type": "t"}]}}, ("t", "")),
        ({"error": {"reason": "x" * 5000}}, ("", "x" * 300)),
        ("<TITLE>\n 502 </TITLE> much more", ("", "502")),
        (b"bytes", ("", "")),
        (None, ("", "")),
        ([1], ("", "")),
    ],
)
def test_any_answer_has_a_cause_or_none(info: Any, cause: tuple[str, str]) -> None:
    assert first_cause(info) == cause
