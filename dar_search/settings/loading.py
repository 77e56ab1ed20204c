"""Settings: the only reader of the environment.

A value comes from the first of these that has it: an explicit override (a command-line option), the environment
(`DAR_ENCODER`, nested as `DAR_OPENSEARCH__PASSWORD`), a TOML file (`DAR_CONFIG`, or config.toml in the user's
configuration folder), OpenSearch's own variables (`OPENSEARCH_URL`, `OPENSEARCH_USERNAME`, `OPENSEARCH_PASSWORD`),
the default. A wrong value raises SettingsError, which says where it came from. Secrets are masked in `repr` and dumps.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, field_serializer
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from dar_search.data import ScoreFusion
from dar_search.errors import InputError, SettingsError
from dar_search.method.fusion import Schedule
from dar_search.settings.cluster_access import SECRETS, Secret, refuse_exposed_secrets
from dar_search.settings.ingest import IngestSettings
from dar_search.settings.masking import mask as mask
from dar_search.settings.models import CacheAddress, ModelOptions, ModelProcessSettings
from dar_search.settings.opensearch import OpenSearchSettings
from dar_search.settings.service import ClientSettings, QuerySettings, ServiceSettings

APPLICATION = "dar-search"
PREFIX = "DAR_"
CONFIG_VARIABLE = "DAR_CONFIG"
AUTO = "auto"
"""The encoder where none is named: `dar_search.models.choosing` says which it is."""
# Of the model libraries' own, those that say which model is found, and where it runs.
_OF_LIBRARIES = frozenset(
    {
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "XDG_CACHE_HOME"),
        *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_OPENSEARCH_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "OPENSEARCH_URL": ("store",),
    "OPENSEARCH_USERNAME": ("opensearch", "username"),
    "OPENSEARCH_PASSWORD": ("opensearch", "password"),
}


def _store_address(value: str) -> str:
    if re.fullmatch(r"sqlite:.+|profile:[\w.-]+|https?://[^/\s]+.*", value):
        return value
    raise ValueError("it names no store")


def _schedule(value: str) -> str:
    try:
        Schedule.parse(value)
    except InputError as error:
        raise ValueError(error.message) from error
    return value


def _home_expanded(path: Path) -> Path:
    return path.expanduser()


class Settings(BaseSettings):
    """All settings. Make them with `load_settings`, which turns what is wrong into a SettingsError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, extra="forbid", frozen=True
    )

    data_folder: Annotated[Path, AfterValidator(_home_expanded)] = Field(
        default_factory=lambda: platformdirs.user_data_path(APPLICATION, appauthor=False),
        description="Where the embedded store and other lasting files are kept.",
    )
    profile: str | None = Field(
        None, pattern=r"^[\w.-]+$", description="A cluster of the profiles' file, where no store is named."
    )
    profiles_file: Annotated[Path, AfterValidator(_home_expanded)] = Field(
        default_factory=lambda: platformdirs.user_config_path(APPLICATION, appauthor=False) / "profiles.toml",
        description="The file with [profiles.NAME] tables.",
    )
    store: Annotated[str, AfterValidator(_store_address)] = Field(
        default_factory=lambda data: (
            f"profile:{data['profile']}" if data["profile"] else f"sqlite:{data['data_folder'] / 'images.sqlite'}"
        ),
        description="The store's address: sqlite:PATH, http(s)://host:port or profile:NAME.",
    )
    preset: str | None = Field(
        None,
        min_length=1,
        description="Models that go together, by name (see: dar models list). What else is set goes before it.",
    )
    encoder: str = Field(
        AUTO,
        min_length=1,
        description="demo, open_clip:ARCH/PRETRAINED, open_clip:PATH, transformers:ORG/NAME or transformers:PATH; "
        "auto: what the index was made with, and for a new one that of the preset which suits the machine.",
    )
    encoder_options: ModelOptions = Field({}, description="The encoder's own options, such as compile and dtype.")
    reformulator: str = Field(
        "rules",
        min_length=1,
        description="What writes text out of a dialogue: rules, demo, endpoint:MODEL or chat:MODEL.",
    )
    reformulator_options: ModelOptions = Field(
        {}, description="The reformulator's own options, such as an endpoint's url, key, most_tokens and extra."
    )
    imaginer: str = Field(
        default_factory=lambda data: "demo" if data["encoder"] == "demo" else "none",
        min_length=1,
        description="none, demo, demo-pictures, diffusers:MODEL, prior:MODEL or pregenerated:PATH; by default demo "
        "with the demo encoder, else none.",
    )
    imaginer_options: ModelOptions = Field(
        {}, description="The imaginer's own options, such as guidance, width and negative_prompt."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:NUMBER or mps."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="The models' number format; auto: bfloat16 where the device has it in hardware."
    )
    model_process: ModelProcessSettings = Field(
        ModelProcessSettings(), description="A table: the processes in which services run their models."
    )
    imagination_cache: CacheAddress = Field(
        "memory", description="Where services keep imaginations: memory, none or redis://host:port/number."
    )
    imagination_cache_megabytes: int = Field(256, ge=1, description="The size of the imagination cache in memory.")
    imagination_cache_days: float = Field(
        7, gt=0, le=3650, allow_inf_nan=False, description="How long Redis keeps an imagination."
    )
    schedule: Annotated[str, AfterValidator(_schedule)] = Field(
        "released", description="Vector fusion's weights by round: released, text-only, or 0:0.8/0.2,2:0.5/0.5."
    )
    imagine_count: int = Field(1, ge=1, le=64, description="Imaginations of each prompt.")
    imagine_steps: int | None = Field(None, ge=1, le=1000, description="Diffusion steps; unset: the model's default.")
    imagine_seed: int = Field(0, ge=0, lt=2**31, description="The first imagination's seed.")
    keyword: bool = Field(True, description="Search captions by words too, and join the two rankings.")
    fusion: Literal["min_max", "rrf"] = Field("min_max", description="How the k-NN and the keyword leg are joined.")
    knn_weight: float = Field(
        0.7, ge=0, le=1, allow_inf_nan=False, description="The k-NN leg's weight; the keyword leg has the rest."
    )
    rank_constant: int = Field(60, ge=1, le=10_000, description="RRF's constant.")
    depth: int = Field(200, ge=1, le=10_000, description="Candidates of each leg.")
    more_like_weight: float = Field(0.75, ge=0, le=10, description="How far hits 'more like this' move a query.")
    picture_weight: float = Field(1.0, ge=0, le=10, description="What a picture in a query counts, beside its words.")
    not_this_weight: float = Field(0.15, ge=0, le=10, description="How far what is 'not this' moves it away.")
    opensearch: OpenSearchSettings = OpenSearchSettings()
    service: ServiceSettings = Field(ServiceSettings(), description="A table: what both services share.")
    query: QuerySettings = Field(QuerySettings(), description="A table: the query service.")
    client: ClientSettings = Field(ClientSettings(), description="A table: asking a query service.")
    ingest: IngestSettings = Field(IngestSettings(), description="A table: ingestion and its service.")

    @property
    def score_fusion(self) -> ScoreFusion:
        """How the k-NN leg and the keyword leg are joined; the weights sum to 1."""
        return ScoreFusion(self.fusion, self.knn_weight, round(1 - self.knn_weight, 12), self.rank_constant)

    @property
    def weights(self) -> Schedule:
        """Vector fusion's weights by round."""
        return Schedule.parse(self.schedule)

    @field_serializer("store", "imagination_cache")
    def _masked_store(self, value: str) -> str:
        return mask(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        addresses = ("store", "imagination_cache")
        return ((name, mask(value) if name in addresses else value) for name, value in super().__repr_args__())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, read_config()),
            InitSettingsSource(settings_cls, _opensearch_values()),
        )


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "opensearch": OpenSearchSettings,
    "model_process": ModelProcessSettings,
    "service": ServiceSettings,
    "query": QuerySettings,
    "client": ClientSettings,
    "ingest": IngestSettings,
}


def load_settings(**overrides: Any) -> Settings:
    """Settings from everywhere; an override of None counts as not given. Raises SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    _refuse_unknown(given, "")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _explained(error, given) from None
    except UnreadableVariable as error:
        raise SettingsError(f"{error}.", "A nested setting is written like DAR_OPENSEARCH__USERNAME=me.") from None


def config_path() -> Path | None:
    """The TOML file that is read, or None where there is none. Raises SettingsError if DAR_CONFIG names no file."""
    if named := os.environ.get(CONFIG_VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which is no file.", "Correct it or unset it.")
        return path
    path = platformdirs.user_config_path(APPLICATION, appauthor=False) / "config.toml"
    return path if path.is_file() else None


def read_config() -> dict[str, Any]:
    """The TOML file's values, their names checked; {} where there is no file. Raises SettingsError."""
    path = config_path()
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", "Check the file's permissions.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}.", 'Write lines such as encoder = "demo".') from error
    _refuse_unknown(values, f" in {path}")
    refuse_exposed_secrets(path, values)
    return values


def secret(value: Secret | None) -> str | None:
    """The secret itself, from where it is. Raises SettingsError where it is not there."""
    if value is None or isinstance(value, SecretStr):
        return value.get_secret_value() if value else None
    if value.file is not None:
        try:
            return value.file.expanduser().read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The secret's file {value.file} cannot be read.", "Check its path and rights."
            ) from error
    if found := os.environ.get(str(value.env)):
        return found
    raise SettingsError(f"The environment variable {value.env}, which holds a secret, is not set.", "Set it.")


def java_home() -> Path | None:
    """The folder of the Java runtime that the machine's own variable JAVA_HOME names, for the local node."""
    named = os.environ.get("JAVA_HOME")
    return Path(named).expanduser() if named else None


def model_environment() -> dict[str, str]:
    """The variables that model libraries look at themselves: the hub, devices, threads, proxies."""
    return {name: value for name, value in sorted(os.environ.items()) if name.upper() in _OF_LIBRARIES}


def unknown_variables() -> dict[str, str]:
    """DAR_* variables that name no setting -> what may be meant (empty: nothing near). For `dar doctor`."""
    known = {CONFIG_VARIABLE, *(f"{PREFIX}{name}".upper() for name in Settings.model_fields)}
    unknown = [
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper().split("__")[0] not in known
    ]
    return {name: next(iter(difflib.get_close_matches(name.upper(), known, 1)), "") for name in sorted(unknown)}


def _refuse_unknown(values: Mapping[str, Any], where: str) -> None:
    tables: dict[str, type[BaseModel]] = {"": Settings, **_SECTIONS}
    for prefix, model in tables.items():
        table = values.get(prefix, {}) if prefix else values
        for name in table if isinstance(table, Mapping) else ():
            if name not in model.model_fields:
                near = difflib.get_close_matches(name, model.model_fields, 1)
                hint = f'Did you mean "{near[0]}"?' if near else f"There are: {', '.join(model.model_fields)}."
                raise SettingsError(f'There is no setting "{".".join(filter(None, (prefix, name)))}"{where}.', hint)


def _opensearch_values() -> dict[str, Any]:
    values: dict[str, Any] = {}
    variables = dict(_OPENSEARCH_VARIABLES)
    if os.environ.get(f"{PREFIX}PROFILE") or "profile" in read_config():
        del variables["OPENSEARCH_URL"]  # a profile says more than the address does
    for variable, (first, *rest) in variables.items():
        if text := os.environ.get(variable):
            if rest:
                values.setdefault(first, {})[rest[0]] = text
            else:
                values[first] = text
    return values


def _explained(error: ValidationError, given: Mapping[str, Any]) -> SettingsError:
    """The first thing wrong, as one line that names the setting, its value, where it came from, what is allowed."""
    wrong = next(item for item in error.errors(include_url=False) if item["type"] != "default_factory_not_called")
    path = [str(part) for part in wrong["loc"]]
    name = ".".join(path)
    hidden = not SECRETS.isdisjoint(path) or path[0].endswith("_options")
    shown = "" if hidden or wrong["type"] == "missing" else f' is "{mask(str(wrong["input"]))[:80]}"'
    reason = wrong["msg"].removeprefix("Value error, ").rstrip(".")
    allowed = (Settings.model_fields[path[0]].description or "") if len(path) == 1 else ""
    if wrong["type"] == "extra_forbidden":
        reason, allowed = "there is no such setting", f"There are: {', '.join(_SECTIONS[path[0]].model_fields)}."
    return SettingsError(f'The setting "{name}"{shown} ({_origin(path, given)}): {reason}.', allowed)


def _origin(path: list[str], given: Mapping[str, Any]) -> str:
    variable = PREFIX + "__".join(path).upper()
    names = {name.upper() for name, value in os.environ.items() if value}
    if path[0] in given:
        return "given as an option"
    if variable in names or PREFIX + path[0].upper() in names:
        return f"from {variable if variable in names else PREFIX + path[0].upper()}"
    values: Any = read_config()
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
    if values is not None:
        return f"from {config_path()}"
    for other, place in _OPENSEARCH_VARIABLES.items():
        if tuple(path) == place and other in names:
            return f"from {other}"
    return "the default"
