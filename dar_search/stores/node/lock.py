"""Prints the [artifacts] of opensearch/local-node.toml anew: `python -m dar_search.stores.node.lock`.

For maintainers, after a version in `roots` was changed. It needs jgo and the network. A jar that the file knows stays
in its folder; a new one is put into lib, to be looked at.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from dar_search.stores.node.coordinates import Coordinates, read_coordinates


def locked_lines(coordinates: Coordinates, downloads: Path) -> list[str]:
    """One line of TOML for each jar in the roots' closure, sorted; the jars are downloaded for their digests."""
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(PythonResolver(), repo_cache=downloads, local_repos=[], timeout=60)
    roots = [context.create_dependency(root) for root in coordinates.roots]
    _, found = context.resolver.resolve(roots)
    folders = {jar.coordinate.rpartition(":")[0]: jar.into for jar in coordinates.jars}
    wanted = {
        f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}": dependency.artifact
        for dependency in found
        if dependency.artifactId not in coordinates.without
    }
    for jar in coordinates.jars:
        if "thai" in jar.into:  # not the roots', but added to them
            group, name, version = jar.coordinate.split(":")
            wanted[jar.coordinate] = context.project(group, name).at_version(version).artifact(packaging="jar")
    lines = []
    for coordinate, artifact in sorted(wanted.items()):
        into = ", ".join(f'"{folder}"' for folder in folders.get(coordinate.rpartition(":")[0], ("lib",)))
        digest = hashlib.sha256(Path(artifact.resolve()).read_bytes()).hexdigest()
        lines.append(f'"{coordinate}" = {{ into = [{into}], sha256 = "{digest}" }}')
    return lines


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write("\n".join(locked_lines(read_coordinates(), Path(folder))) + "\n")
