"""Settings: the only reader of the environment. `load_settings` reads them, `Settings` is what it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dar_search.settings.loading import (
        APPLICATION,
        AUTO,
        CONFIG_VARIABLE,
        PREFIX,
        Settings,
        config_path,
        java_home,
        load_settings,
        mask,
        model_environment,
        read_config,
        secret,
        unknown_variables,
    )

__all__ = [
    "APPLICATION",
    "AUTO",
    "CONFIG_VARIABLE",
    "PREFIX",
    "Settings",
    "config_path",
    "java_home",
    "load_settings",
    "mask",
    "model_environment",
    "read_config",
    "secret",
    "unknown_variables",
]


def __getattr__(name: str) -> Any:
    """Loaded at the first use: who needs one group of settings, or none, does not load all of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dar_search.settings import loading

    return getattr(loading, name)
