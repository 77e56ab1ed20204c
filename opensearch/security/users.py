"""Puts the roles of a folder, and the users that have them, onto a cluster with the security plugin.

    python users.py ROLES_FOLDER

Needs Python alone. The environment says the rest: OPENSEARCH_URL, OPENSEARCH_CA_FILE, OPENSEARCH_ADMIN_PASSWORD (of
"admin"), INDEX_NAME, and the users' passwords: QUERY_PASSWORD, INGEST_PASSWORD and, if there shall be such a user,
DASHBOARDS_PASSWORD. Run it as often as you like: the last run holds.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

API = "/_plugins/_security/api"
# user -> (the variable with the password, the roles)
USERS = {
    "dar-query": ("QUERY_PASSWORD", ("dar-search",)),
    "dar-ingest": ("INGEST_PASSWORD", ("dar-ingest", "dar-ledger")),
    "dar-dashboards": ("DASHBOARDS_PASSWORD", ("dar-dashboards",)),
}
OPTIONAL = ("DASHBOARDS_PASSWORD",)
# The image's demonstration users, whose passwords everybody knows. The plugin refuses to give up the last one.
DEMONSTRATION = ("kibanaro", "logstash", "readall", "snapshotrestore", "anomalyadmin", "kibanaserver")


class Cluster:
    """The security plugin's API, asked as its administrator."""

    def __init__(self, url: str, ca_file: str | None, password: str) -> None:
        parts = urlsplit(url)
        host, port = str(parts.hostname), parts.port or 9200
        if parts.scheme == "https":
            trusted = ssl.create_default_context(cafile=ca_file)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=60, context=trusted
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=60)
        token = base64.b64encode(f"admin:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    def send(self, method: str, path: str, body: Any = None, allowed: tuple[int, ...] = ()) -> int:
        """The answer's status. Exits where it is neither well nor allowed; never says what was sent."""
        content = None if body is None else json.dumps(body)
        self._connection.request(method, API + path, content, self._headers)
        answer = self._connection.getresponse()
        told = answer.read(2000).decode("utf-8", "replace")
        if answer.status >= 300 and answer.status not in allowed:
            sys.exit(f"{method} {API}{path}: {answer.status} {told}")
        return answer.status

    def close(self) -> None:
        self._connection.close()


def roles(folder: Path, index: str) -> dict[str, Any]:
    """The roles by name, those for the index "photos" made for another."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    for role in found.values():
        for permissions in role["index_permissions"]:
            permissions["index_patterns"] = [
                f"{index}*" if pattern == "photos*" else pattern for pattern in permissions["index_patterns"]
            ]
    return found


def main(folder: str) -> None:
    passwords = {variable: os.environ.get(variable, "") for variable, _ in USERS.values()}
    for variable, password in passwords.items():
        if not password and variable not in OPTIONAL:
            sys.exit(f"{variable} is not set.")
    cluster = Cluster(
        os.environ["OPENSEARCH_URL"], os.environ.get("OPENSEARCH_CA_FILE"), os.environ["OPENSEARCH_ADMIN_PASSWORD"]
    )
    try:
        for name, role in roles(Path(folder), os.environ.get("INDEX_NAME") or "photos").items():
            cluster.send("PUT", f"/roles/{name}", role)
            holders = [user for user, (variable, held) in USERS.items() if name in held and passwords[variable]]
            if holders:
                cluster.send("PUT", f"/rolesmapping/{name}", {"users": holders})
        for user, (variable, _) in USERS.items():
            if passwords[variable]:
                cluster.send("PUT", f"/internalusers/{user}", {"password": passwords[variable]})
        for user in DEMONSTRATION:
            # 404: there is none; 403: it is reserved, and only the server's own configuration changes it.
            if cluster.send("DELETE", f"/internalusers/{user}", allowed=(403, 404)) == 403:
                sys.stdout.write(f'The demonstration user "{user}" is reserved, and stays.\n')
    finally:
        cluster.close()
    sys.stdout.write("The roles and users are there.\n")


if __name__ == "__main__":
    main(sys.argv[1])
