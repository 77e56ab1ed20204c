"""opensearch-py's exceptions -> this project's errors, in one place.

`ERRORS` names every exception class of opensearchpy.exceptions; a test holds it complete. What a server's answer
means is decided by its status and the type of its root cause, since OpenSearch uses 403 for both a missing
permission and a full disk, and 429 for both an overload and a full disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from opensearchpy import exceptions as foreign
from urllib3.exceptions import ProxyError

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
from dar_search.stores.callers import caller_authorization
from dar_search.stores.opensearch.cluster.bounded_connections import AnswerTooLarge

_LONGEST_REASON = 300
_FULL_HINT = "Often the disk is full: free some, then lift the block (index.blocks.read_only_allow_delete: null)."
_LATER_HINT = "Try again later, or give the cluster more room."
# Seen of k-NN 2.19.1 and 3.5.0 in one cluster: each writes for the oldest version that it knows of just then, so that
# for a moment after a node came or went one reads otherwise than the other has written.
_MISREAD = r"unexpected byte \[|transport_serialization_exception|message not fully read"
_MISREAD_HINT = "While nodes of two versions work together this passes; else give all nodes one version."
_PROXY_HINT = "Check HTTPS_PROXY or opensearch.proxy (http://user:password@host:port), or name the cluster in NO_PROXY."
# What a server says of a part that it has not got -> the plugin that has it.
_MISSING_PARTS: Mapping[str, str] = {
    r"knn_vector|setting \[index\.knn|unknown query \[knn\]|script_lang not supported \[knn\]": "opensearch-knn",
    r"unknown query \[(hybrid|neural)\]|normalization-processor|score-ranker-processor": "opensearch-neural-search",
}


def mapped(error: Exception) -> DarError:
    """The error of this project that says what an opensearch-py exception means.

    StoreUnavailable is worth another try later; the others are not. Names no secret: opensearch-py's exceptions
    carry the server's answer or the network's error, never the request's headers.
    """
    for kind in type(error).__mro__:
        if kind in ERRORS:
            return ERRORS[kind](error)
    return StoreError(f"The OpenSearch client failed: {type(error).__name__}.")


def first_cause(info: Any) -> tuple[str, str]:
    """The type and the reason of the first root cause in a server's answer; ("", "") where there is none.

    A search that failed as a whole, on no shard in particular, lists no root cause: what it was caused by is one.

    Args:
        info: the answer's JSON, or its text where it is not JSON (a proxy's page).
    """
    if isinstance(info, Mapping):
        error = info.get("error", info)
        if isinstance(error, Mapping):
            roots = error.get("root_cause") or [_innermost(error) if "root_cause" in error else error]
            root = roots[0] if isinstance(roots, list) and isinstance(roots[0], Mapping) else error
            return str(root.get("type", "")), str(root.get("reason", ""))[:_LONGEST_REASON]
        return "", str(error)[:_LONGEST_REASON]
    if isinstance(info, str):
        title = re.search(r"<title>(.*?)</title>", info, re.DOTALL | re.IGNORECASE)
        return "", (title[1] if title else info).strip()[:_LONGEST_REASON]
    return "", ""


def _innermost(error: Mapping[str, Any]) -> Mapping[str, Any]:
    while isinstance(cause := error.get("caused_by"), Mapping):
        error = cause
    return error


def _improperly_configured(error: Any) -> DarError:
    return SettingsError(f"The connection to OpenSearch is set up wrongly: {error}.", "Check the opensearch settings.")


def _not_read(error: Any) -> DarError:
    if isinstance(error, AnswerTooLarge):
        return StoreError(f"The cluster's answer is too large: {error}.", "Ask for less at once.")
    return StoreError("The server's answer is not JSON.", "Is it OpenSearch, and is the path in the address right?")


def _defect(error: Any) -> DarError:
    return StoreError(f"The OpenSearch client was used wrongly: {type(error).__name__}.")


def _tls(error: Any) -> DarError:
    reason = str(error.info)
    if "WRONG_VERSION_NUMBER" in reason or "record layer failure" in reason:
        return StoreError("The cluster does not speak TLS on that port.", "Write http:// in the address.")
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        why = re.search(r"certificate verify failed: ([^(]+)", reason)
        hint = "Name the authority that signed it (opensearch.ca_file), and the host as the certificate does."
        return StoreError(f"The cluster's certificate is not trusted: {(why[1] if why else reason).strip()}.", hint)
    return StoreError(
        f"The TLS connection to the cluster failed: {reason[:_LONGEST_REASON]}.",
        "Check the certificates (opensearch.ca_file, opensearch.client_certificate).",
    )


def _timed_out(error: Any) -> DarError:
    return StoreUnavailable("The cluster did not answer in time.", "Try again, or raise opensearch.timeout.")


def _unreachable(error: Any) -> DarError:
    if isinstance(error.info, ProxyError):
        said = str(error.info.original_error)[:_LONGEST_REASON]
        return StoreUnavailable(f"The proxy before the cluster does not let it be reached: {said}.", _PROXY_HINT)
    reason = re.sub(r"^.*?: ", "", str(error.info), count=1)[:_LONGEST_REASON]
    return StoreUnavailable(f"The cluster cannot be reached: {reason}.", "Check that it runs, and its address.")


def _answered(error: Any) -> DarError:
    """A status code with the server's reason."""
    status = error.status_code
    # opensearch-py keeps an answer that is not JSON, such as a proxy's page, as the error and not as the info.
    kind, reason = first_cause(error.info or error.error)
    said = f"{kind}: {reason}".strip(": ") or f"status {status}"
    for wrong, make in _BY_TYPE.items():
        if kind == wrong:
            return make(said)
    if status == 401:
        return StoreForbidden(
            "The cluster does not accept these credentials.",
            "Check OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD, or the profile's."
            if caller_authorization() is None
            else "Check the header Authorization that was sent.",
        )
    if status == 403:
        return _forbidden(said)
    if status == 407:
        return StoreUnavailable("The proxy before the cluster asks for a user and a password.", _PROXY_HINT)
    if status == 500 and re.search(_MISREAD, said):
        return StoreUnavailable(f"Nodes of the cluster misread each other: {said}.", _MISREAD_HINT)
    if status == 413:
        return StoreError("The request is larger than the server takes.", "Raise the proxy's limit of a body (50 MB).")
    if status in (429, 502, 503, 504):
        return StoreUnavailable(f"The cluster is busy or not ready ({status}): {said}.", _LATER_HINT)
    if status == 400 and "plain HTTP request" in said:
        return StoreError("The cluster speaks TLS on that port.", "Write https:// in the address.")
    if status == 400 and "SSL certificate" in said:
        return StoreForbidden(
            "The cluster asks for a client certificate.",
            "Name one that it knows: opensearch.client_certificate and opensearch.client_key.",
        )
    for pattern, plugin in _MISSING_PARTS.items():
        if status == 400 and re.search(pattern, said):
            return FeatureMissing(f"The cluster lacks the plugin {plugin}: {said}.", "Install it on every node.")
    return StoreError(f"The cluster refused ({status}): {said}.")


def _forbidden(said: str) -> DarError:
    permission = re.search(r"no permissions for \[([^\]]*)\]", said)
    if permission:
        return StoreForbidden(
            f"You lack a permission on this cluster: {permission[1]}.",
            "`dar doctor` prints the smallest role that is enough.",
        )
    return StoreForbidden(f"The cluster forbids it: {said}.", "`dar doctor` prints the smallest role that is enough.")


def _blocked(said: str) -> DarError:
    return StoreUnavailable(f"The cluster blocks it: {said}.", _FULL_HINT if "read-only" in said else _LATER_HINT)


def _node_lost(said: str) -> DarError:
    return StoreUnavailable(f"A node of the cluster went away: {said}.", _LATER_HINT)


_BY_TYPE: Mapping[str, Callable[[str], DarError]] = {
    "index_not_found_exception": lambda said: IndexNotFound(f"The cluster has no such index ({said})."),
    "resource_already_exists_exception": lambda said: IndexExists(f"The index is there already ({said})."),
    "cluster_block_exception": _blocked,
    "index_closed_exception": lambda said: StoreError("The index is closed.", "Open it (POST /NAME/_open)."),
    "rejected_execution_exception": lambda said: StoreUnavailable(f"The cluster is overloaded: {said}.", _LATER_HINT),
    "opensearch_rejected_execution_exception": lambda said: StoreUnavailable(
        f"The cluster is overloaded: {said}.", _LATER_HINT
    ),
    "circuit_breaking_exception": lambda said: StoreUnavailable(f"The cluster lacks memory: {said}.", _LATER_HINT),
    "cluster_manager_not_discovered_exception": lambda said: StoreUnavailable("The cluster has no manager.", said),
    # A node went away in the midst of it: said with status 500, and right again once its copies have taken over.
    "node_disconnected_exception": _node_lost,
    "node_not_connected_exception": _node_lost,
    "node_closed_exception": _node_lost,
    "no_node_available_exception": _node_lost,
    "no_shard_available_action_exception": _node_lost,
    "search_context_missing_exception": _node_lost,  # between a search's two phases; or a point in time has expired
}

ERRORS: Mapping[type[Exception], Callable[[Any], DarError]] = {
    foreign.ImproperlyConfigured: _improperly_configured,
    foreign.SerializationError: _not_read,
    foreign.SSLError: _tls,
    foreign.ConnectionTimeout: _timed_out,
    foreign.ConnectionError: _unreachable,
    foreign.AuthenticationException: _answered,
    foreign.AuthorizationException: _answered,
    foreign.ConflictError: _answered,
    foreign.NotFoundError: _answered,
    foreign.RequestError: _answered,
    foreign.TransportError: _answered,
    foreign.IllegalOperation: _defect,
    foreign.UnknownDslObject: _defect,
    foreign.ValidationException: _defect,
    foreign.OpenSearchDslException: _defect,
    foreign.OpenSearchException: _defect,
}
