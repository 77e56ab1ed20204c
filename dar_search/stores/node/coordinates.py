"""What the local node is made of, as opensearch/local-node/VERSION.toml says."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dar_search.errors import SettingsError
from dar_search.stores.assets import assets

DEFAULT_VERSION = "2.19"
_FOLDER = "local-node"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of Maven Central.

    Attributes:
        coordinate: "group:artifact:version".
        packaging: "jar" or "zip".
        sha256: of the file, hex.
        into: the folders of the home that get it; "thai" only where the Java runtime has no Thai word breaks.
    """

    coordinate: str
    packaging: str
    sha256: str
    into: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that may be left out.

    Attributes:
        folder: its name under plugins/.
        needs: plugins that must be there too.
        forgoes: modules that its descriptor extends and Maven Central does not have; it runs without them.
        empty_types: what it names of their classes ("org.example.Some"), and never uses.
    """

    name: str
    folder: str
    artifact: Artifact
    needs: tuple[str, ...]
    forgoes: tuple[str, ...]
    empty_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """A part of the server that OpenSearch loads as it loads plugins. extends: modules whose classes it sees."""

    name: str
    class_name: str
    extends: tuple[str, ...]
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """One file of opensearch/local-node/.

    Attributes:
        version: in full, as "2.19.1".
        java_options: that this version wants beside those of every version.
        roots: what `lock` resolves; alone: jars that come without what they depend on; without: jars left out.
        digest: of the file, 12 hex digits; a cached home carries it.
    """

    version: str
    main_class: str
    java_lowest: int
    java_highest: int
    java_options: tuple[str, ...]
    roots: tuple[str, ...]
    alone: tuple[str, ...]
    without: tuple[str, ...]
    plugins: Mapping[str, Plugin]
    modules: tuple[Module, ...]
    jars: tuple[Artifact, ...]
    digest: str

    def plugins_named(self, names: tuple[str, ...]) -> tuple[Plugin, ...]:
        """The plugins, checked: each known, and with those that it needs. Raises SettingsError."""
        for name in names:
            self._check(name)
            for needed in self.plugins[name].needs:
                if needed not in names:
                    raise SettingsError(f'The plugin "{name}" needs "{needed}".', f'Leave "{name}" out too.')
        return tuple(plugin for name, plugin in self.plugins.items() if name in names)

    def names_without(self, left_out: Collection[str]) -> tuple[str, ...]:
        """All plugins but these and those that need them. Raises SettingsError for one that there is not."""
        for name in left_out:
            self._check(name)
        return tuple(
            name
            for name, plugin in self.plugins.items()
            if name not in left_out and not set(plugin.needs).intersection(left_out)
        )

    def _check(self, name: str) -> None:
        if name not in self.plugins:
            raise SettingsError(f'There is no plugin "{name}".', f"There are: {', '.join(self.plugins)}.")


def versions() -> tuple[str, ...]:
    """The versions that there are, as "2.19", oldest first."""
    names = (path.stem for path in assets(_FOLDER).glob("*.toml"))
    return tuple(sorted(names, key=lambda name: [int(number) for number in name.split(".")]))


def read_coordinates(version: str = DEFAULT_VERSION) -> Coordinates:
    """A version's file as shipped. Raises SettingsError for a version that there is not."""
    if version not in versions():
        raise SettingsError(f'There is no local OpenSearch "{version}".', f"There are: {', '.join(versions())}.")
    content = assets(f"{_FOLDER}/{version}.toml").read_bytes()
    values = tomllib.loads(content.decode())
    return Coordinates(
        version=values["version"],
        main_class=values["main_class"],
        java_lowest=values["java_lowest"],
        java_highest=values["java_highest"],
        java_options=tuple(values["java_options"]),
        roots=tuple(values["roots"]),
        alone=tuple(values["alone"]),
        without=tuple(values["without"]),
        plugins={row["name"]: _plugin(row) for row in values.get("plugin", ())},
        modules=tuple(
            Module(row["name"], row["class"], tuple(row.get("extends", ())), tuple(row.get("permissions", ())))
            for row in values["module"]
        ),
        jars=tuple(
            Artifact(coordinate, "jar", row["sha256"], tuple(row["into"]))
            for coordinate, row in values["artifacts"].items()
        ),
        digest=hashlib.sha256(content).hexdigest()[:12],
    )


def _plugin(row: Mapping[str, Any]) -> Plugin:
    return Plugin(
        name=row["name"],
        folder=row["folder"],
        artifact=Artifact(row["zip"], "zip", row["sha256"]),
        needs=tuple(row["needs"]),
        forgoes=tuple(row.get("forgoes", ())),
        empty_types=tuple(row.get("empty_types", ())),
    )
