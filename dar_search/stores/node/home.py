"""Builds the server's home folder (lib, modules, plugins) from Maven Central, once, into a cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from dar_search.errors import FeatureMissing, StoreUnavailable
from dar_search.stores.node.coordinates import Artifact, Coordinates, Module, Plugin
from dar_search.stores.node.empty_types import write_empty_types

_DOWNLOADS_AT_ONCE = 8
_TRIES = 3
_TIMEOUT_SECONDS = 60
_DESCRIPTOR = "plugin-descriptor.properties"
_THAI = "thai"
THAI_POLICY = Path("config", "thai.policy")
_THAI_GRANT = 'grant { permission java.lang.RuntimePermission "localeServiceProvider"; };\n'


def cache_folder() -> Path:
    """Where homes are kept. Root's own folder cannot be read by the user that the server runs as, so that root's is
    the machine's cache folder."""
    if os.geteuid() == 0:
        return platformdirs.site_cache_path("dar-search", appauthor=False) / "opensearch"
    return platformdirs.user_cache_path("dar-search", appauthor=False) / "opensearch"


def prepared_home(
    coordinates: Coordinates,
    plugins: tuple[Plugin, ...],
    *,
    thai: bool,
    cache: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Path:
    """The folder of a home with these plugins, built if the cache lacks it; complete or absent, whoever builds.

    Args:
        thai: the Java runtime has Thai word breaks of its own.
        cache: instead of `cache_folder()`.
        report: told in one line what takes long.

    Raises FeatureMissing where jgo is not installed, StoreUnavailable where a download fails.
    """
    cache = cache or cache_folder()
    full = cache / f"{coordinates.version}-{coordinates.digest}"
    names = [plugin.name for plugin in plugins]
    if thai and len(plugins) == len(coordinates.plugins):
        wanted = full
    else:
        wanted = full.with_name("-".join((full.name, *(names or ["bare"]), *([] if thai else [_THAI]))))
    if wanted.is_dir():
        return wanted
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not full.is_dir():
            if report:
                report(f"Fetching OpenSearch {coordinates.version} (about 80 MB, once) into {cache} ...")
            with _appearing(full) as folder:
                _lay_out(coordinates, folder, cache / "downloads")
            shutil.rmtree(cache / "downloads")
        if not wanted.is_dir():
            with _appearing(wanted) as folder:
                _link(full, folder, {plugin.folder for plugin in plugins}, thai)
    return wanted


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time; the lock goes with its holder, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill, which gets the target's name only when it is complete."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _lay_out(coordinates: Coordinates, home: Path, downloads: Path) -> None:
    files = _fetched((*coordinates.jars, *(plugin.artifact for plugin in coordinates.plugins.values())), downloads)
    for jar in coordinates.jars:
        for folder in jar.into:
            (home / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[jar], home / folder / files[jar].name)
    for name in ("bin", "config", "plugins"):  # the server wants them to be there
        (home / name).mkdir(exist_ok=True)
    for module in coordinates.modules:
        _describe(module, coordinates, home / "modules" / module.name)
    for plugin in coordinates.plugins.values():
        with zipfile.ZipFile(files[plugin.artifact]) as archive:
            archive.extractall(home / "plugins" / plugin.folder)
        _do_without(plugin, home / "plugins" / plugin.folder)


def _describe(module: Module, coordinates: Coordinates, folder: Path) -> None:
    """The two files that OpenSearch reads beside a module's jars."""
    lines = {
        "name": module.name,
        "description": module.name,
        "version": coordinates.version,
        "opensearch.version": coordinates.version,
        "java.version": "11",
        "classname": module.class_name,
        "extended.plugins": ",".join(module.extends),
        "has.native.controller": "false",
    }
    (folder / _DESCRIPTOR).write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    if module.permissions:
        grants = "".join(f"  permission {permission};\n" for permission in module.permissions)
        (folder / "plugin-security.policy").write_text(f"grant {{\n{grants}}};\n")


def _do_without(plugin: Plugin, folder: Path) -> None:
    """Lets a plugin start without the modules that it forgoes."""
    if not plugin.forgoes:
        return
    descriptor = folder / _DESCRIPTOR
    named = re.compile(r"^(extended\.plugins=)(.*)$", re.MULTILINE)
    descriptor.write_text(
        named.sub(
            lambda line: line[1] + ",".join(name for name in line[2].split(",") if name not in plugin.forgoes),
            descriptor.read_text(),
        )
    )
    write_empty_types(folder / "empty-types.jar", plugin.empty_types)


def _link(full: Path, home: Path, plugin_folders: set[str], thai: bool) -> None:
    """A home that shares the full one's files."""
    for name in ("lib", "modules"):
        shutil.copytree(full / name, home / name, copy_function=_hard_link)
    for name in ("bin", "config", "plugins"):
        (home / name).mkdir()
    for name in plugin_folders:
        shutil.copytree(full / "plugins" / name, home / "plugins" / name, copy_function=_hard_link)
    if not thai:
        for jar in (full / _THAI).iterdir():
            _hard_link(jar, home / "lib" / jar.name)
        (home / THAI_POLICY).write_text(_THAI_GRANT)


def _hard_link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _fetched(artifacts: Iterable[Artifact], downloads: Path) -> dict[Artifact, Path]:
    """The artifacts' files, each with the digest that it must have. Kept until the home is built, so that a broken
    connection costs only what was under way."""
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise FeatureMissing("A local OpenSearch needs jgo.", 'pip install "dar-search[node]"') from error
    context = MavenContext(PythonResolver(), repo_cache=downloads, local_repos=[], timeout=_TIMEOUT_SECONDS)
    wanted = tuple(artifacts)
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(lambda artifact: _one_fetched(artifact, context), wanted), strict=True))


def _one_fetched(artifact: Artifact, context: Any) -> Path:
    group, name, version = artifact.coordinate.split(":")
    entry = context.project(group, name).at_version(version).artifact(packaging=artifact.packaging)
    why = ""
    for _ in range(_TRIES):
        try:
            path = Path(entry.resolve())
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's "not found" a RuntimeError
            why = str(error)
            entry.cached_path.unlink(missing_ok=True)
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256:
            return path
        why = "its digest is not the one expected"
        path.unlink()
    raise StoreUnavailable(
        f"{artifact.coordinate} cannot be had from Maven Central: {why}",
        "Check the network and try again: what was fetched is kept.",
    )
