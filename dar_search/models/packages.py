"""The packages that models need, which a plain installation does not bring."""

from __future__ import annotations

import importlib.util

from dar_search.errors import ModelFailed


def require(*packages: str, extra: str = "models") -> None:
    """Raises ModelFailed, with the command that installs them, where one of the packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelFailed(
            f"This needs {' and '.join(missing)}, not installed here.",
            f'Install what is missing with: pip install "dar-search[{extra}]"',
        )
