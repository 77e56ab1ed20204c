"""Where an endpoint is and how to ask it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from dar_search.errors import SettingsError

#: What is the request itself, and no option of it.
_NOT_EXTRA = ("model", "messages", "stream")


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Where the endpoint is and how to ask it.

    Attributes:
        url: up to and with the version, such as http://localhost:11434/v1; with "?api-version=..." for Azure.
        model: its name there.
        key: sent as "Authorization: Bearer ...", or alone in another header that key_header names (Azure: api-key).
        seconds: the longest that one reformulation may take, with all its tries.
        tries: how often a busy or failing endpoint is asked.
        most_tokens: of the answer, for each prompt, and of what a thinking model thinks before it.
        structured: ask for an answer that keeps to the JSON schema; given up where the endpoint does not know it.
        extra: further members of the request, such as {"reasoning_effort": "low"} or
            {"chat_template_kwargs": {"enable_thinking": false}}; they replace the project's own.
    """

    url: str
    model: str
    key: SecretStr | None = None
    seconds: float = 20.0
    tries: int = 3
    prompts: int = 1
    most_tokens: int = 400
    structured: bool = True
    key_header: str = "Authorization"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("The endpoint's address is no http(s) URL.", "Such as http://localhost:11434/v1.")
        version_alone = re.fullmatch(r"(api-version=[\w.-]+)?", parts.query)
        if parts.username or parts.password or parts.fragment or not version_alone:
            raise SettingsError(
                "The endpoint's address holds more than host and path.", "Give the key as its own setting."
            )
        if not self.model or self.seconds <= 0 or self.tries < 1 or self.prompts < 1 or self.most_tokens < 1:
            raise SettingsError("The endpoint needs a model's name, a time limit and at least one try.")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", self.key_header):
            raise SettingsError("The endpoint's key_header is no header's name.", "Such as Authorization or api-key.")
        key = self.key.get_secret_value() if self.key else ""
        if not key.isascii() or not key.isprintable():
            raise SettingsError("The endpoint's key has characters that no header takes.", "Copy it again.")
        if taken := [name for name in _NOT_EXTRA if name in self.extra]:
            raise SettingsError(f"extra cannot replace {taken[0]}.", "It has options of the request alone.")

    @property
    def address(self) -> str:
        """Where completions are asked for."""
        parts = urllib.parse.urlsplit(self.url)
        # Some copy the whole of it from a page.
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        return parts._replace(path=f"{path}/chat/completions").geturl()

    @property
    def limit(self) -> int:
        """The most tokens of an answer: the user's own in `extra`, or `most_tokens` for each prompt."""
        own = self.extra.get("max_completion_tokens", self.extra.get("max_tokens"))
        return own if isinstance(own, int) else self.most_tokens * self.prompts
