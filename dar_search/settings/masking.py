"""Text for a log, without what looks like a secret: passwords, tokens, keys, credentials in addresses."""

from __future__ import annotations

import re

_SECRETS = (
    (re.compile(r"//[^/\s@]+@"), "//***@"),
    # Of "Proxy-Authorization" the last word: a word begins after the hyphen.
    (re.compile(r"(?i)\b(authorization|x-dar-key)(['\"]?\s*[:=]\s*['\"]?)(\w+\s+)?[^\s'\",]+"), r"\1\2***"),
    (
        re.compile(r"(?i)\b(\w*(?:password|passwd|secret|token|api[_-]?key))(['\"]?\s*[:=]\s*['\"]?)[^\s'\",&]+"),
        r"\1\2***",
    ),
)


def masked(text: str) -> str:
    """`text` without what looks like a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
