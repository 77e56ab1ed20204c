"""The content key of an imagination: what it was made from, so that the same is never imagined twice."""

from __future__ import annotations

import hashlib
import json


def imagination_id(*parts: object) -> str:
    """32 hex digits of SHA-256 over the parts (model revision, prompt, seed, steps, size, ...), in order."""
    content = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:32]
