"""Settings of models: their options, the model process, the imagination cache.

A model's options are a table, whose names the model itself checks when it is made:

    reformulator = "endpoint:qwen2.5"
    reformulator_options = { url = "http://localhost:8000/v1", key = { env = "ENDPOINT_KEY" } }

or one by one in the environment: DAR_REFORMULATOR_OPTIONS__URL, DAR_REFORMULATOR_OPTIONS__KEY; a table as JSON:
DAR_REFORMULATOR_OPTIONS__EXTRA='{"reasoning_effort": "low"}'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from dar_search.settings.cluster_access import SECRETS, SecretReference

#: Options that are tables themselves.
_TABLES = frozenset({"extra", "template"})


def _with_hidden_secrets(options: dict[str, Any]) -> dict[str, Any]:
    return {name: _hidden(name, value) if name in SECRETS else _plain(name, value) for name, value in options.items()}


def _hidden(name: str, value: Any) -> SecretStr | SecretReference:
    if isinstance(value, SecretStr | SecretReference):
        return value
    if isinstance(value, Mapping):
        try:
            return SecretReference.model_validate(value)
        except ValidationError:
            value = None
    # JSON in a variable may hold a number, and 1e5 would not come back as it was written.
    if isinstance(value, str | int) and not isinstance(value, bool):
        return SecretStr(str(value))
    raise ValueError(f'{name} is text, {{ env = "NAME" }} or {{ file = "PATH" }}')


def _plain(name: str, value: Any) -> Any:
    if name in _TABLES:
        return _table(name, value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{name} is text, a number, or true or false")


def _table(name: str, value: Any) -> Mapping[str, Any]:
    """A table, or JSON that holds one, as a variable does."""
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        read = None
    if isinstance(read, Mapping):
        return dict(read)
    raise ValueError(f'{name} is a table, such as {{"reasoning_effort": "low"}}')


ModelOptions = Annotated[dict[str, Any], AfterValidator(_with_hidden_secrets)]


def _cache_address(value: str) -> str:
    if re.fullmatch(r"memory|none|(rediss?|unix)://\S+", value):
        return value
    raise ValueError("it is neither memory, nor none, nor redis://host:port/number")


CacheAddress = Annotated[str, AfterValidator(_cache_address)]


def _mode(value: Any) -> Any:
    # A variable says 1, true, 0 or false where only "whether" is meant.
    if str(value).lower() in ("true", "1", "yes", "on"):
        return "separate"
    return "off" if str(value).lower() in ("false", "0", "no", "off") else value


class ModelProcessSettings(BaseModel):
    """How services and ingestion run their models: outside their own process, which a model then cannot harm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Annotated[Literal["separate", "shared", "off"], BeforeValidator(_mode)] = Field(
        "separate",
        description="separate: the encoder, the imaginer and a chat model each in a process of their own, so that no "
        "slow or broken one keeps the encoder waiting; shared: one for all models of a device, which "
        "takes less memory; off: in the service's own process, without limits.",
    )
    queue: int = Field(256, ge=1, le=100_000, description="Requests that wait for a model; one more is refused.")
    batch_items: int = Field(64, ge=1, le=4096, description="Texts or pictures that go to the encoder together.")
    batch_seconds: float = Field(
        60, gt=0, le=3600, description="The longest that a model may work on one batch before its process is ended."
    )
    start_seconds: float = Field(600, gt=0, le=86_400, description="The longest that loading the models may take.")
    memory_megabytes: int | None = Field(
        None, ge=64, description="Resident memory above which a model process is ended and restarted; unset: no limit."
    )
    warm_minutes: float = Field(
        5,
        ge=0,
        le=1440,
        allow_inf_nan=False,
        description="How long the models that a command (dar search, chat, rewrite) has loaded stay for the next "
        "one, in a process of their own; 0: they end with the command.",
    )
    gpu_memory_fraction: float | None = Field(
        None, gt=0, le=1, description="The share of a GPU's memory that one model process may take; unset: all."
    )
