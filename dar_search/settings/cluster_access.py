"""How to reach an OpenSearch cluster: credentials, certificates, limits; and profiles, which name such sets.

A secret stands in a file as itself, or as `{ env = "NAME" }` or `{ file = "PATH" }`, which say where it is. A file
with a literal secret that everybody can read is refused.

    [profiles.prod]
    hosts = ["https://search-1.example.org:9200", "https://search-2.example.org:9200/prefix"]
    ca_file = "/etc/ssl/example.pem"
    username = "dar"
    password = { env = "PROD_PASSWORD" }
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from dar_search.errors import SettingsError

PROFILE = "profile:"
_EVERYBODY_READS = 0o004
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")  # tells nobody the key
_IDENTITY = (
    *("username", "password", "api_key", "bearer_token", "aws_region", "aws_profile"),
    *("client_certificate", "client_key", "client_key_password"),
)
_KEYS = "keys"  # a table of them: a service's callers
SECRETS = frozenset({"password", "api_key", "bearer_token", "client_key_password", "key", _KEYS})


class SecretReference(BaseModel):
    """Where a secret is: in an environment variable or a file (its text, less the line's end)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError('a secret is text, { env = "NAME" } or { file = "PATH" }')
        return self


Secret = SecretStr | SecretReference


class ClusterAccess(BaseModel):
    """How to reach a cluster, beyond its address. At most one way to say who you are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str | None = Field(None, description="Basic authentication.")
    password: Secret | None = None
    api_key: Secret | None = Field(None, description='Sent as "Authorization: ApiKey ...".')
    bearer_token: Secret | None = Field(None, description='Sent as "Authorization: Bearer ...".')
    aws_region: str | None = Field(None, description="Signs requests for Amazon OpenSearch Service in this region.")
    aws_service: Literal["es", "aoss"] = Field("es", description="es: managed clusters; aoss: serverless.")
    aws_profile: str | None = Field(None, description="Of the AWS configuration; unset: its default chain.")
    ca_file: Path | None = Field(None, description="The authorities to trust (PEM); unset: the system's.")
    client_certificate: Path | None = Field(None, description="PEM, with the key in it or in client_key.")
    client_key: Path | None = None
    client_key_password: Secret | None = None
    verify_certificates: bool = Field(True, description="false: anybody in between can read and change everything.")
    proxy: Secret | None = Field(
        None, description="http(s)://user:password@host:port; none: a direct way; unset: HTTPS_PROXY and the like."
    )
    timeout: float = Field(30, gt=0, le=3600, description="Seconds that an answer may take.")
    connect_timeout: float = Field(5, gt=0, le=600, description="Seconds that a connection may take.")
    compress: bool = Field(False, description="Send and ask for gzip: worth it on a slow network.")
    pool_size: int = Field(16, ge=1, le=1000, description="Connections kept open to each host.")

    def anonymous(self) -> Self:
        """The same way without saying who one is: for a cluster that is not the one that this was written for."""
        return self.model_copy(update=dict.fromkeys(_IDENTITY))

    def check(self) -> None:
        """Raises SettingsError for parts that exclude or miss each other."""
        ways = ("username", "api_key", "bearer_token", "aws_region")
        chosen = [name for name in ways if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise SettingsError(f"{' and '.join(chosen)} exclude each other.", "Keep one way to say who you are.")
        if (self.username is None) != (self.password is None):
            raise SettingsError("A username and a password come together.", "Give both (OPENSEARCH_USERNAME, ...).")
        if self.client_key and not self.client_certificate:
            raise SettingsError("A client_key comes with a client_certificate.", "Give both.")


class Profile(ClusterAccess):
    """A named cluster. hosts: its nodes' addresses, http(s)://host:port/prefix."""

    hosts: tuple[str, ...] = Field(min_length=1)


def access_to(address: str, access: ClusterAccess, profiles: Path) -> ClusterAccess:
    """How an address is reached: as its profile says, where it names one. Raises SettingsError as `read_profile`."""
    return read_profile(profiles, address.removeprefix(PROFILE)) if address.startswith(PROFILE) else access


def read_profile(path: Path, name: str) -> Profile:
    """The profile of that name in a TOML file. Raises SettingsError, which says what is wrong and where."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f'There is no profile "{name}": {path} does not exist.', "Write the profile there, or give an address."
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", "Check the file's permissions.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}.", "It has tables such as [profiles.prod].") from error
    refuse_exposed_secrets(path, values)
    profiles = values.get("profiles")
    if not isinstance(profiles, Mapping) or not isinstance(profiles.get(name), Mapping):
        names = list(profiles) if isinstance(profiles, Mapping) else []
        near = difflib.get_close_matches(name, names, 1)
        hint = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(names) or 'none'}."
        raise SettingsError(f'There is no profile "{name}" in {path}.', hint)
    try:
        return Profile.model_validate(profiles[name])
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in wrong["loc"][:1])
        reason = wrong["msg"].removeprefix("Value error, ")
        if wrong["type"] == "extra_forbidden":
            reason = f"there is no such setting; there are {', '.join(Profile.model_fields)}"
        raise SettingsError(
            f'The profile "{name}" in {path}{f", {field}" if field else ""}: {reason}.', "Correct the file."
        ) from None


def refuse_exposed_secrets(path: Path, values: Mapping[str, Any]) -> None:
    """Raises SettingsError if a file's values have a literal secret and everybody on this machine can read it."""
    exposed = next(_literal_secrets(values), None)
    if exposed and path.stat().st_mode & _EVERYBODY_READS:
        raise SettingsError(
            f"{path} has a {exposed} in it, and everybody can read the file.",
            f'chmod 600 "{path}", or write {exposed} = {{ env = "NAME" }} or {{ file = "PATH" }}.',
        )


def _literal_secrets(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _literal_secrets(value)
            if name == _KEYS and any(isinstance(one, str) and not _DIGEST.fullmatch(one) for one in value.values()):
                yield "service key"
        elif isinstance(value, str) and (name in SECRETS or (name == "proxy" and "@" in value)):
            yield name
