"""Text for a log, without what looks like a secret: passwords, tokens, keys, credentials in addresses."""

from __future__ import annotations

import re

_SECRETS = (
    # Up to the last "@" before the path: a password may have one in it.
    (re.compile(r"//[^/?#\s\"'<>]*@"), "//***@"),
    # Of "Proxy-Authorization" the last word: a word begins after the hyphen.
    (re.compile(r"(?i)\b(authorization|x-dar-key)(['\"]?\s*[:=]\s*['\"]?)(\w+\s+)?[^\s'\",]+"), r"\1\2***"),
    (
        re.compile(r"(?i)\b(\w*(?:password|passwd|secret|token|api[_-]?key))(['\"]?\s*[:=]\s*['\"]?)[^\s'\",&]+"),
        r"\1\2***",
    ),
)
# No logins, though there may be an "@": a file, a name of a profile, an index.
_NAME = re.compile(r"sqlite:.*|(profile|opensearch):[^,/]*", re.DOTALL)
_LOGIN = re.compile(r"(^|//)[^/?#]*@")
# A password with a "/" in it makes no address; what would be its port is no number.
_UNCLEAR_LOGIN = re.compile(r"//[^/@:\[]+:(?!\d*(?:[/?#,]|$)).*@", re.DOTALL)


def masked(text: str) -> str:
    """`text` without what looks like a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def mask(address: str) -> str:
    """An address, such as a store's, without the user and password in it."""
    if _NAME.fullmatch(address):
        return address
    return _UNCLEAR_LOGIN.sub("//***@", _LOGIN.sub(r"\1***@", address))


def shown(address: str) -> str:
    """An address for a message, whatever it is: its beginning, without the user and password in it."""
    return mask(address[:1_000])[:200]


def has_login(address: str) -> bool:
    """Whether a store's address, or one of several with commas between, has a user or password in it, or seems to."""
    return mask(address) != address
