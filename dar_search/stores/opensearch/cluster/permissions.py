"""Which permissions this project needs on a cluster, whether the caller has them, and the smallest roles.

A permission is tried with a request that changes nothing whoever sends it: it names an index that does not exist, or
has a value that is refused. The security plugin looks at the permission first and answers 403; any other answer means
that it was granted. The names are the security plugin's: OpenSearch's actions.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthenticationException, AuthorizationException, ConnectionError, TransportError

from dar_search.stores.opensearch.cluster.errors import first_cause, mapped

Body = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that this project does, and the request that tries whether it may.

    Attributes:
        purpose: what it is for, as a person reads it.
        cluster, index: the actions, of a role's cluster permissions and its index permissions.
        writing: only needed to write; searching does without.
        optional: without it something is guessed or left out, and the rest works.
        path: with {probe} for the name of an index that does not exist.
    """

    purpose: str
    method: str
    path: str
    body: Body = None
    cluster: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    writing: bool = False
    optional: bool = False


_BULK: tuple[Mapping[str, Any], ...] = ({"index": {"_index": "{probe}", "_id": "1"}}, {})
NEEDS = (
    Need("ask for the version", "GET", "/", cluster=("cluster:monitor/main",)),
    Need("see the cluster's health", "GET", "/_cluster/health", cluster=("cluster:monitor/health",)),
    Need("see the plugins", "GET", "/_nodes/plugins", cluster=("cluster:monitor/nodes/info",), optional=True),
    Need(
        *("read an index's own search pipeline", "GET", "/_search/pipeline/{probe}"),
        cluster=("cluster:admin/search/pipeline/get",),
        optional=True,
    ),
    Need("read an index's mapping", "GET", "/{probe}", index=("indices:admin/get",)),
    Need("search", "POST", "/{probe}/_search", {"size": 0}, index=("indices:data/read/search",)),
    Need(
        *("search with both legs at once", "POST", "/_msearch", ({"index": "{probe}"}, {"size": 0})),
        cluster=("indices:data/read/msearch",),
        index=("indices:data/read/search",),
    ),
    Need(
        *("read pictures by id", "POST", "/{probe}/_mget", {"ids": ["1"]}),
        cluster=("indices:data/read/mget",),
        index=("indices:data/read/mget*",),
    ),
    Need(
        *("list all ids", "POST", "/{probe}/_search/point_in_time?keep_alive=1s"),
        index=("indices:data/read/point_in_time/create", "indices:data/read/point_in_time/delete"),
        writing=True,
    ),
    Need(
        *("make an index", "PUT", "/{probe}", {"settings": {"index": {"number_of_shards": 0}}}),
        index=("indices:admin/create",),
        writing=True,
    ),
    Need(
        *("give an index its aliases", "POST", "/_aliases"),
        {"actions": [{"add": {"index": "{probe}", "alias": "{probe}-alias"}}]},
        index=("indices:admin/aliases",),
        writing=True,
    ),
    Need(
        *("add metadata fields", "PUT", "/{probe}/_mapping", {"properties": {}}),
        index=("indices:admin/mapping/put",),
        writing=True,
    ),
    Need(
        *("write and delete pictures", "POST", "/_bulk?require_alias=true", _BULK),
        cluster=("indices:data/write/bulk",),
        index=("indices:data/write/bulk*", "indices:data/write/index"),  # a delete leaves a grave: it is written too
        writing=True,
    ),
    Need(
        *("see how an index is refreshed", "GET", "/{probe}/_settings"),
        index=("indices:monitor/settings/get",),
        writing=True,
    ),
    Need(
        *("refresh seldom while much is written", "PUT", "/{probe}/_settings"),
        {"index": {"refresh_interval": "1s"}},
        index=("indices:admin/settings/update",),
        writing=True,
    ),
    Need("show what was written", "POST", "/{probe}/_refresh", index=("indices:admin/refresh*",), writing=True),
    Need("drop an index", "DELETE", "/{probe}", index=("indices:admin/delete",), writing=True),
)

# What the ledger of jobs does with its own index (`ledger`).
LEDGER_NEEDS = (
    Need("read the ledger's mapping", "GET", "/{probe}/_mapping", index=("indices:admin/mappings/get",)),
    Need(
        *("make the ledger's index, with its alias", "PUT", "/{probe}-000001"),
        index=("indices:admin/create", "indices:admin/aliases"),
        writing=True,
    ),
    Need("read a row", "GET", "/{probe}/_doc/1", index=("indices:data/read/get",)),
    Need(
        *("change a row", "PUT", "/{probe}/_doc/1"),
        cluster=("indices:data/write/bulk",),
        index=("indices:data/write/index", "indices:data/write/bulk*"),
        writing=True,
    ),
    Need(
        *("remove an old job's rows", "POST", "/{probe}/_bulk?require_alias=true", _BULK),
        cluster=("indices:data/write/bulk",),
        index=("indices:data/write/delete",),
        writing=True,
    ),
    Need("see every change", "POST", "/{probe}/_refresh", index=("indices:admin/refresh*",)),
    Need("look for jobs and shards", "POST", "/{probe}/_search", index=("indices:data/read/search",)),
)


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether a need is met; None: the cluster's answer does not say."""

    need: Need
    granted: bool | None


def try_permissions(client: OpenSearch, index: str) -> tuple[Permission, ...]:
    """Tries every need. Raises StoreForbidden for wrong credentials, StoreUnavailable.

    Args:
        index: where a pattern of roles has to fit, the index that is meant, such as "photos"; nothing is done to it.
    """
    probe = f"{index}-dar-doctor-{secrets.token_hex(6)}"
    return tuple(Permission(need, _granted(client, need, probe)) for need in NEEDS)


def role(index: str, *, writing: bool) -> Mapping[str, Any]:
    """The smallest role of the security plugin that is enough, for its API: PUT _plugins/_security/api/roles/NAME."""
    return _role([need for need in NEEDS if writing or not need.writing], index)


def ledger_role(index: str) -> Mapping[str, Any]:
    """The smallest role that is enough for a ledger in an index of this name, in the same form."""
    return _role(LEDGER_NEEDS, index)


def _role(needs: Sequence[Need], index: str) -> Mapping[str, Any]:
    return {
        "cluster_permissions": sorted({action for need in needs for action in need.cluster}),
        "index_permissions": [
            {
                "index_patterns": [f"{index}*"],
                "allowed_actions": sorted({action for need in needs for action in need.index}),
            }
        ],
    }


def _granted(client: OpenSearch, need: Need, probe: str) -> bool | None:
    body = _encoded(need.body, probe)
    kind = {"content-type": "application/x-ndjson"} if isinstance(need.body, tuple) else None
    try:
        answer = client.transport.perform_request(
            need.method, need.path.replace("{probe}", probe), body=body, headers=kind
        )
    except AuthenticationException as error:
        raise mapped(error) from error
    except AuthorizationException as error:
        # 403 is also the answer of a block on the whole cluster, which says nothing of permissions.
        return None if first_cause(error.info)[0] == "cluster_block_exception" else False
    except ConnectionError as error:
        raise mapped(error) from error
    except TransportError as error:
        # A refusal for another reason comes after the permission; an overload says nothing about it.
        return None if error.status_code == 429 or error.status_code >= 500 else True
    return not _forbids(answer)


def _forbids(answer: Any) -> bool:
    """Whether a part of an answer that is well as a whole (a bulk item, one of several searches) is forbidden."""
    return '"security_exception"' in json.dumps(answer)


def _encoded(body: Body, probe: str) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, Mapping):
        return orjson.dumps(body).replace(b"{probe}", probe.encode())
    return b"".join(orjson.dumps(line) + b"\n" for line in body).replace(b"{probe}", probe.encode())
