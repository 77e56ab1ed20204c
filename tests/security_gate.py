"""A gate (see `role_gate`) whose users and roles come as the security plugin takes them: from its administrator."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.forwarding_proxy import answer
from tests.role_gate import Role, RoleGate

API = "/_plugins/_security/api/"
ADMIN = "admin"
EVERYTHING: Role = {
    "cluster_permissions": ["*"],
    "index_permissions": [{"index_patterns": ["*"], "allowed_actions": ["*"]}],
}


class SecurityGate(RoleGate):
    """Begins with its administrator and one demonstration user; roles, mappings and users come by the API.

    Attributes:
        tables: "roles", "rolesmapping", "internalusers" -> name -> what was put there.
    """

    def __init__(self, address: str, admin_password: str) -> None:
        super().__init__(address, {})
        self.tables: dict[str, dict[str, Any]] = {
            "roles": {},
            "rolesmapping": {},
            "internalusers": {ADMIN: {"password": admin_password}, "readall": {"password": "readall"}},
        }

    def _handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        user = self._signed_in(request.headers.get("Authorization") or "")
        if user is None:
            answer(request, 401, b'"Unauthorized"')
        elif request.path.startswith(API):
            self._administer(request, body, user)
        else:
            self._pass(request, body, user, self._roles_of(user))

    def _signed_in(self, authorization: str) -> str | None:
        kind, _, token = authorization.partition(" ")
        if kind != "Basic":
            return None
        name, _, password = base64.b64decode(token).decode().partition(":")
        known = self.tables["internalusers"].get(name)
        return name if known is not None and known["password"] == password else None

    def _roles_of(self, user: str) -> list[Role]:
        if user == ADMIN:
            return [EVERYTHING]
        held = [name for name, mapping in self.tables["rolesmapping"].items() if user in mapping["users"]]
        return [self.tables["roles"][name] for name in held]

    def _administer(self, request: BaseHTTPRequestHandler, body: bytes, user: str) -> None:
        table, _, name = request.path.removeprefix(API).partition("/")
        if user != ADMIN:
            answer(request, 403, b'{"status":"FORBIDDEN"}')
        elif request.command == "PUT":
            self.tables[table][name] = json.loads(body)
            answer(request, 201, b'{"status":"CREATED"}')
        elif name == "kibanaserver":
            answer(request, 403, b'{"status":"FORBIDDEN","message":"Resource is reserved."}')
        elif self.tables[table].pop(name, None) is None:
            answer(request, 404, b'{"status":"NOT_FOUND"}')
        else:
            answer(request, 200, b'{"status":"OK"}')
