"""Callers' keys, in the service's own header: Authorization is the cluster's.

Only digests of the keys are kept. A presented key is compared with every digest in constant time, so that an answer's
time tells neither how much of a key is right nor whose it is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Container, Iterable, Mapping

from pydantic import SecretStr

from dar_search.errors import SettingsError, Unauthenticated
from dar_search.serving import problems, wsgi
from dar_search.settings import secret
from dar_search.settings.cluster_access import Secret

HEADER = "X-DAR-Key"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_SHORTEST = 16


class KeyRing:
    """The keys that a service takes, by name. Empty: everybody may ask."""

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        """keys: as in `service.keys`. Raises SettingsError for a key that is too short to be one."""
        self._digests: dict[str, bytes] = {}
        for name, value in keys.items():
            text = secret(value) or ""
            match = _DIGEST.fullmatch(text)
            if match is None and len(text) < _SHORTEST:
                raise SettingsError(
                    f'The service key "{name[:40]}" has fewer than {_SHORTEST} characters.',
                    "Make one with: openssl rand -hex 24",
                )
            self._digests[name] = bytes.fromhex(match[1]) if match else hashlib.sha256(text.encode()).digest()

    def __bool__(self) -> bool:
        return bool(self._digests)

    def owner(self, presented: str) -> str | None:
        """The name of the key, None where it is nobody's. Takes as long for one as for the other."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found: str | None = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


def hashed(key: str) -> str:
    """A key as it may stand in a settings file: "sha256:..."."""
    return "sha256:" + hashlib.sha256(SecretStr(key).get_secret_value().encode()).hexdigest()


class KeyCheck:
    """Lets pass whoever has a key; and everybody to the open paths (health)."""

    def __init__(self, app: wsgi.Application, ring: KeyRing, open_paths: Container[str]) -> None:
        self._app, self._ring, self._open = app, ring, open_paths

    def __call__(self, environ: wsgi.Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        presented = environ.pop("HTTP_X_DAR_KEY", "")  # nothing behind this layer sees a key
        if self._ring:
            owner = self._ring.owner(presented)
            if owner is not None:
                environ[wsgi.KEY_NAME] = owner
            elif environ.get("PATH_INFO", "") not in self._open:
                message = "The key is not one of the service's." if presented else "The request has no key."
                return problems.refuse(
                    environ, start_response, Unauthenticated(message, f"Send the key in the header {HEADER}.")
                )
        return self._app(environ, start_response)
