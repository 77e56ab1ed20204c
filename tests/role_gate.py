"""A proxy before a real node that lets pass what a role permits: the part of the security plugin, which is not here.

It knows which of OpenSearch's actions a request stands for, as far as this project sends such requests; any other is
refused. Actions that start with "cluster:" and the four that carry several requests are permissions on the cluster,
all others on each index that the request names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.forwarding_proxy import ForwardingProxy, answer

ON_CLUSTER = ("indices:data/write/bulk", "indices:data/read/mget", "indices:data/read/msearch")
Role = Mapping[str, Any]
Wanted = tuple[str, str]  # an action, and the index it is on ("": the cluster)

_INDEX = r"/(?P<index>[^/_][^/]*)"
_ON_INDEX = (
    ("GET|HEAD", "", ("indices:admin/get",)),
    ("DELETE", "", ("indices:admin/delete",)),
    ("PUT", "/_mapping", ("indices:admin/mapping/put",)),
    ("GET", "/_settings", ("indices:monitor/settings/get",)),
    ("PUT", "/_settings", ("indices:admin/settings/update",)),
    ("GET", "/_mapping", ("indices:admin/mappings/get",)),
    ("GET|POST", "/_search", ("indices:data/read/search",)),
    ("GET|POST", "/_count", ("indices:data/read/search",)),
    ("POST", "/_refresh", ("indices:admin/refresh", "indices:admin/refresh[s]")),
    ("POST", "/_search/point_in_time", ("indices:data/read/point_in_time/create",)),
    ("GET", "/_doc/[^/]+", ("indices:data/read/get",)),
    ("PUT", "/_doc/[^/]+", ("indices:data/write/bulk", "indices:data/write/bulk[s]", "indices:data/write/index")),
    ("POST", "/_mget", ("indices:data/read/mget", "indices:data/read/mget[shard]")),
)
_ON_ALL = (
    ("GET|HEAD", "/", "cluster:monitor/main"),
    ("GET", "/_cluster/health(/.*)?", "cluster:monitor/health"),
    ("GET", "/_cluster/state/.*", "cluster:monitor/state"),
    ("GET", "/_nodes/.*", "cluster:monitor/nodes/info"),
    ("GET", "/_search/pipeline/[^/]+", "cluster:admin/search/pipeline/get"),
)


class UnknownRequest(Exception):
    """A request of which the gate does not know what it stands for."""


class RoleGate(ForwardingProxy):
    """Forwards to `address` what the roles of the request's user permit.

    Args:
        users: name -> roles, as the security plugin's API takes them.
        user: whose requests these are.

    Attributes:
        granted: (action, index) that were asked for and permitted, by user.
        refused: (user, method, path, action) that were not.
        unknown: (method, path) that the gate cannot judge.
    """

    def __init__(self, address: str, users: Mapping[str, list[Role]], *, user: str = "") -> None:
        super().__init__(address)
        self._users, self._user = users, user
        self._points: dict[str, list[str]] = {}  # the indices of open points in time
        self.granted: dict[str, set[Wanted]] = {}
        self.refused: list[tuple[str, str, str, str]] = []
        self.unknown: list[tuple[str, str]] = []

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        self._pass(request, body, self._user, self._users.get(self._user, []))

    def _pass(self, request: BaseHTTPRequestHandler, body: bytes, user: str, roles: list[Role]) -> None:
        """Forwards a request of a user with these roles, or refuses it."""
        path = urlsplit(request.path).path
        try:
            wanted = list(self._wanted(request.command, path, body))
        except UnknownRequest:
            with self._lock:
                self.unknown.append((request.command, path))
            answer(request, 403, _forbidden("an action that the gate does not know"))
            return
        for action, index in wanted:
            if not any(permits(role, action, index) for role in roles):
                with self._lock:
                    self.refused.append((user, request.command, path, action))
                answer(request, 403, _forbidden(action))
                return
        with self._lock:
            self.granted.setdefault(user, set()).update(wanted)
        status, answered = self._forwarded(request, body)
        if path.endswith(("/point_in_time", "/_search")) and request.command == "POST" and b'"pit_id"' in answered:
            with self._lock:
                self._points[json.loads(answered)["pit_id"]] = [index for _, index in wanted]
        answer(request, status, answered)

    def _wanted(self, method: str, path: str, body: bytes) -> Iterator[Wanted]:
        """The actions of a request, each with its index. Raises UnknownRequest."""
        if method == "POST" and (found := re.fullmatch(r"(/(?P<index>[^/_][^/]*))?/_bulk", path)):
            yield from _bulk(body, unquote(found["index"] or ""))
        elif (method, path) in (("POST", "/_msearch"), ("GET", "/_msearch")):
            yield "indices:data/read/msearch", ""
            for line in body.splitlines()[::2]:
                yield from _each("indices:data/read/search", json.loads(line)["index"])
        elif (method, path) in (("POST", "/_search"), ("GET", "/_search")):
            for index in self._points[json.loads(body)["pit"]["id"]]:
                yield "indices:data/read/search", index
        elif (method, path) == ("DELETE", "/_search/point_in_time"):
            for point in json.loads(body)["pit_id"]:
                for index in self._points[point]:
                    yield "indices:data/read/point_in_time/delete", index
        elif (method, path) == ("POST", "/_aliases"):
            for action in json.loads(body)["actions"]:
                for about in action.values():
                    yield from _each("indices:admin/aliases", about["index"])
                    yield from _each("indices:admin/aliases", about["alias"])
        else:
            yield from _by_table(method, path, body)


def permits(role: Role, action: str, index: str) -> bool:
    """Whether a role permits an action; index "": on the cluster."""
    if not index:
        return any(_matches(action, pattern) for pattern in role["cluster_permissions"])
    return any(
        any(_matches(index, pattern) for pattern in rights["index_patterns"])
        and any(_matches(action, pattern) for pattern in rights["allowed_actions"])
        for rights in role["index_permissions"]
    )


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _by_table(method: str, path: str, body: bytes) -> Iterator[Wanted]:
    for methods, rest, action in _ON_ALL:
        if re.fullmatch(methods, method) and re.fullmatch(rest, path):
            yield action, ""
            return
    for methods, rest, actions in _ON_INDEX:
        found = re.fullmatch(_INDEX + rest, path)
        if found and re.fullmatch(methods, method):
            for action in actions:
                yield from _each(action, unquote(found["index"]).split(","))
            return
    found = re.fullmatch(_INDEX, path)
    if found is None or method != "PUT":
        raise UnknownRequest
    made = json.loads(body or b"{}")
    yield from _each("indices:admin/create", unquote(found["index"]))
    for alias in made.get("aliases", {}):
        yield from _each("indices:admin/aliases", [unquote(found["index"]), alias])


def _bulk(body: bytes, target: str) -> Iterator[Wanted]:
    yield "indices:data/write/bulk", ""
    lines = iter(body.splitlines())
    for line in lines:
        ((kind, about),) = json.loads(line).items()
        if kind != "delete":
            next(lines)
        action = {"create": "index"}.get(kind, kind)
        yield "indices:data/write/bulk[s]", about.get("_index", target)
        yield f"indices:data/write/{action}", about.get("_index", target)


def _each(action: str, indices: str | list[str]) -> Iterator[Wanted]:
    for index in [indices] if isinstance(indices, str) else indices:
        yield action, "" if action in ON_CLUSTER else index


def _forbidden(action: str) -> bytes:
    reason = f"no permissions for [{action}] and User [name=gate]"
    cause = {"type": "security_exception", "reason": reason}
    return json.dumps({"error": {"root_cause": [cause], **cause}, "status": 403}).encode()
