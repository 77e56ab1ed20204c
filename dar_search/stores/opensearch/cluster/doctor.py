"""What a cluster offers this project, what the caller may do there, and what to do about the rest.

Nothing is changed and no index is made: queries and processors are tried on an index pattern that matches nothing,
since OpenSearch reads them before it looks for indices.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException, OpenSearchException, RequestError

from dar_search.stores.opensearch.cluster.errors import mapped
from dar_search.stores.opensearch.cluster.faults import faults_of, version_number
from dar_search.stores.opensearch.cluster.features import NO_FAISS, NO_FAISS_ATTRIBUTE
from dar_search.stores.opensearch.cluster.forms import NODES, ROOT, Node
from dar_search.stores.opensearch.cluster.permissions import Permission, role, try_permissions

_LOWEST = (2, 19)
_SERVER_RRF_HAS_WEIGHTS, _SERVER_RRF_JOINS_SHARDS = (3, 1), (3, 5)
_INSTALL = "Install it on every node (bin/opensearch-plugin install {}), or use the full distribution."
_FAISS_UNKNOWN = (
    "not known until a faiss index is in use; a node without its native library ends when one is written to"
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One line of the report. note: nothing is broken, but something is missing that may be wanted."""

    subject: str
    status: Literal["ok", "note", "fail"]
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        version: as "2.19.1"; distribution: "opensearch".
        plugins: on every node; None where the caller may not ask.
        features: knn, lucene, faiss, hybrid, normalization, rrf, inline_pipeline: there, not there, or not known.
        permissions: each need, tried.
        observations: the same for people, in order.
        search_role, write_role: the smallest roles, as JSON for the security plugin.
    """

    version: str
    distribution: str
    plugins: frozenset[str] | None
    features: Mapping[str, bool | None]
    permissions: tuple[Permission, ...]
    observations: tuple[Observation, ...]
    search_role: str
    write_role: str


def examine(client: OpenSearch, index: str = "dar") -> Report:
    """Looks at a cluster through its client (`cluster.connection.connect`).

    Args:
        index: the index that is meant, for roles that name a pattern; it need not exist.

    Raises StoreUnavailable, StoreForbidden where the credentials are wrong, StoreError where it is no OpenSearch.
    """
    about = ROOT.read(_ask(client, "GET", "/") or {}).get("version", {})
    version = about.get("number", "")
    distribution = about.get("distribution", "" if not version else "elasticsearch")
    nodes = _nodes(client)
    plugins = _plugins(nodes)
    features = _features(client, nodes or [])
    permissions = try_permissions(client, index)
    roles = {
        writing: orjson.dumps(role(index, writing=writing), option=orjson.OPT_INDENT_2).decode()
        for writing in (False, True)
    }
    observations = (
        _server(version, distribution, nodes or []),
        *_offers(features, version),
        *_rights(permissions),
        *(_known_faults(version, plugins) if distribution == "opensearch" else ()),
    )
    return Report(version, distribution, plugins, features, permissions, observations, roles[False], roles[True])


def _features(client: OpenSearch, nodes: list[Node]) -> dict[str, bool | None]:
    knn = _reads(client, {"query": {"knn": {"none": {"vector": [1.0], "k": 1}}}})
    hybrid = {"query": {"hybrid": {"queries": [{"match_none": {}}], "pagination_depth": 1}}}
    fusions = {
        "normalization": {"normalization-processor": {"combination": {"technique": "arithmetic_mean"}}},
        "rrf": {"score-ranker-processor": {"combination": {"technique": "rrf"}}},
    }
    features: dict[str, bool | None] = {
        "knn": knn,
        "lucene": knn,
        "faiss": _faiss(client, nodes) if knn else knn,
        "hybrid": _reads(client, hybrid),
    }
    for name, processor in fusions.items():
        features[name] = _reads(
            client, {"query": {"match_none": {}}, "search_pipeline": {"phase_results_processors": [processor]}}
        )
    empty = {"query": {"match_none": {}}, "search_pipeline": {"phase_results_processors": []}}
    features["inline_pipeline"] = _reads(client, empty)
    return features


def _reads(client: OpenSearch, body: Mapping[str, Any]) -> bool | None:
    """Whether the server understands a search's body; None where the caller may not search."""
    pattern = f"dar-doctor-{secrets.token_hex(6)}-*"
    try:
        client.transport.perform_request("POST", f"/{pattern}/_search", body=body)
    except RequestError:
        return False
    except AuthorizationException:
        return None
    except OpenSearchException as error:
        raise mapped(error) from error
    return True


def _faiss(client: OpenSearch, nodes: list[Node]) -> bool | None:
    """False where a node says that it lacks the native library, True where one has loaded it, else None: it is loaded
    at its first use, and trying that would end a node without it."""
    if any(node.get("attributes", {}).get(NO_FAISS_ATTRIBUTE) == NO_FAISS for node in nodes):
        return False
    stats = _ask(client, "GET", "/_plugins/_knn/stats?filter_path=nodes.*.faiss_initialized")
    loaded = NODES.read(stats or {}).get("nodes", {}).values()
    return True if any(node.get("faiss_initialized") for node in loaded) else None


def _nodes(client: OpenSearch) -> list[Node] | None:
    answer = _ask(client, "GET", "/_nodes/plugins?filter_path=nodes.*.version,nodes.*.plugins.name,nodes.*.attributes")
    return None if answer is None else list(NODES.read(answer).get("nodes", {}).values())


def _plugins(nodes: list[Node] | None) -> frozenset[str] | None:
    if not nodes:
        return None
    return frozenset.intersection(*(frozenset(row["name"] for row in node.get("plugins", ())) for node in nodes))


def _ask(client: OpenSearch, method: str, path: str) -> Any:
    """The answer's JSON, or None where the caller may not ask, or the server has no such path."""
    try:
        return client.transport.perform_request(method, path)
    except (AuthorizationException, RequestError):
        return None
    except OpenSearchException as error:
        raise mapped(error) from error


def _server(version: str, distribution: str, nodes: list[Node]) -> Observation:
    if distribution != "opensearch":
        said = f"{distribution or 'unknown'} {version}".strip()
        return Observation("server", "fail", f"{said} is no OpenSearch", "Give the address of an OpenSearch cluster.")
    if version_number(version) < _LOWEST:
        return Observation("server", "fail", f"OpenSearch {version}", "Update it to 2.19 or later.")
    found = sorted({node["version"] for node in nodes if "version" in node}, key=version_number)
    if len(found) > 1:
        return Observation("server", "note", f"nodes of OpenSearch {' and '.join(found)}", "End the upgrade.")
    return Observation("server", "ok", f"OpenSearch {version}")


def _offers(features: Mapping[str, bool | None], version: str) -> tuple[Observation, ...]:
    unknown = Observation("features", "note", "not known: you may not search here", "See the permissions below.")
    if features["knn"] is None:
        return (unknown,)
    knn_fix = _INSTALL.format("opensearch-knn")
    knn = Observation("k-NN", "ok", "there") if features["knn"] else Observation("k-NN", "fail", "missing", knn_fix)
    faiss = _faiss_observation(features["faiss"])
    on_server = bool(features["hybrid"] and features["normalization"] and features["inline_pipeline"])
    fusion = (
        Observation("score fusion", "ok", "done here; by hybrid where an index has a search pipeline of its own")
        if on_server
        else Observation(
            *("score fusion", "note", "done here; an index's own search pipeline sees two searches"),
            _INSTALL.format("opensearch-neural-search"),
        )
    )
    number = version_number(version)
    weights = "with weights" if number >= _SERVER_RRF_HAS_WEIGHTS else "without weights"
    by_shard = "" if number >= _SERVER_RRF_JOINS_SHARDS else ", by shard"
    rrf = f"on the server {weights}{by_shard}" if features["rrf"] else "not on the server"
    engines = (Observation("engine lucene", "ok", "there"), faiss) if features["knn"] else ()
    return (knn, *engines, fusion, Observation("RRF", "ok", f"{rrf}; done in the client"))


def _faiss_observation(there: bool | None) -> Observation:
    if there:
        return Observation("engine faiss", "ok", "there, its native library is loaded")
    if there is None:
        return Observation("engine faiss", "note", _FAISS_UNKNOWN, "Keep the engine lucene unless you know better.")
    return Observation(
        "engine faiss", "note", "missing: a node has no native library", "Keep lucene, or use the full distribution."
    )


def _rights(permissions: tuple[Permission, ...]) -> tuple[Observation, ...]:
    missing = [permission.need for permission in permissions if permission.granted is False]
    if not missing:
        unknown = sum(permission.granted is None for permission in permissions)
        said = "you may do all that is needed" if not unknown else f"{unknown} could not be tried: the cluster is busy"
        return (Observation("permissions", "ok" if not unknown else "note", said),)
    return tuple(
        Observation(
            "permission",
            "note" if need.optional or need.writing else "fail",
            f"you may not {need.purpose}{' (only needed to write)' if need.writing else ''}",
            f"Grant {', '.join((*need.cluster, *need.index))}; the smallest role is below.",
        )
        for need in missing
    )


def _known_faults(version: str, plugins: frozenset[str] | None) -> tuple[Observation, ...]:
    return tuple(
        Observation("known fault", "note", f"{fault.symptom} ({fault.source}); dar-search {fault.here}", fault.advice)
        for fault in faults_of(version, plugins)
    )
