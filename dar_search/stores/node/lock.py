"""Prints the [artifacts] of a file of opensearch/local-node/ anew: `python -m dar_search.stores.node.lock 3.5`.

For maintainers, after a version in `roots` was changed. It needs jgo and the network. A jar that the file knows stays
in its folder; a new one is put into lib, to be looked at.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from dar_search.stores.node.coordinates import Coordinates, read_coordinates


def locked_lines(coordinates: Coordinates, downloads: Path) -> list[str]:
    """One line of TOML for each jar: the roots, what they depend on, and those that come alone; sorted. They are
    downloaded for their digests."""
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(PythonResolver(), repo_cache=downloads, local_repos=[], timeout=60)
    _, found = context.resolver.resolve([context.create_dependency(root) for root in coordinates.roots])
    closure = (f"{one.groupId}:{one.artifactId}:{one.version}" for one in found)
    folders = {jar.coordinate.rpartition(":")[0]: jar.into for jar in coordinates.jars}
    lines = []
    for coordinate in sorted({*coordinates.roots, *closure, *coordinates.alone}):
        if coordinate.split(":")[1] in coordinates.without:
            continue
        into = ", ".join(f'"{folder}"' for folder in folders.get(coordinate.rpartition(":")[0], ("lib",)))
        digest = hashlib.sha256(_downloaded(context, coordinate).read_bytes()).hexdigest()
        lines.append(f'"{coordinate}" = {{ into = [{into}], sha256 = "{digest}" }}')
    return lines


def _downloaded(context: Any, coordinate: str) -> Path:
    group, name, version = coordinate.split(":")
    return Path(context.project(group, name).at_version(version).artifact(packaging="jar").resolve())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write("\n".join(locked_lines(read_coordinates(sys.argv[1]), Path(folder))) + "\n")
