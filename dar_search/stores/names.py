"""Names of indices: one rule for every store, so that a name that one store takes works in the other.

It is OpenSearch's own rule, made a little stricter: room for a suffix such as "-000001", and nothing unprintable.
"""

from __future__ import annotations

from dar_search.errors import RequestError

MAX_NAME_BYTES = 200
_FORBIDDEN = frozenset('\\/*?"<>| ,#:')
_HINT = 'Use lower-case letters, digits, "-", "_" and ".", such as "my-photos".'


def check_name(name: str) -> str:
    """The name itself, if an index may have it. Raises RequestError.

    Lower case; not "." or ".."; no "_", "-" or "+" at its start; none of \\ / * ? " < > | space , # : and nothing
    unprintable; 1 to 200 bytes of UTF-8.
    """
    problem = _problem(name)
    if problem:
        raise RequestError(f'An index cannot be named "{repr(name[:60])[1:-1]}": {problem}.', _HINT)
    return name


def _problem(name: str) -> str:
    if not name or name in {".", ".."}:
        return "a name has at least one letter or digit"
    if not name.isprintable():
        return "it has a character that cannot be printed"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    if name != name.lower():
        return "names are lower case"
    if name[0] in "_-+":
        return f'it starts with "{name[0]}"'
    bad = next((character for character in name if character in _FORBIDDEN), None)
    return "" if bad is None else f'it has a "{bad}" in it'
