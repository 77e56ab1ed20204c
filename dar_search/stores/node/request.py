"""What is asked of a local cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dar_search.errors import SettingsError
from dar_search.stores.node.coordinates import DEFAULT_VERSION

MOST_NODES = 3


@dataclass(frozen=True, slots=True)
class ClusterRequest:
    """Raises SettingsError for what no local cluster can be.

    Attributes:
        nodes: 1 to 3.
        version: one of `coordinates.versions()`, such as "2.19".
        plugins: of "knn" and "neural-search", which not every version has; None: all that it has.
        port: the first node's HTTP port, the next ones' follow; 0: any free ones.
        data: a folder that keeps the indices between runs; None: a temporary one, removed at the end.
        heap: of each node, as Java writes it ("512m").
        quick: starts in half the time and searches slower: for tests, not for measuring.
        java: the folder of a Java runtime; None: one is looked for.
        cache: where the server is laid out; None: the user's cache folder.
        settings: more lines of opensearch.yml, for each node.
        seconds: how long a start may take.
        report: told in one line what takes long.
    """

    nodes: int = 1
    version: str = DEFAULT_VERSION
    plugins: Sequence[str] | None = None
    port: int = 0
    data: Path | None = None
    heap: str = "512m"
    quick: bool = False
    java: Path | None = None
    cache: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 180
    report: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST_NODES:
            raise SettingsError(f"A local cluster has 1 to {MOST_NODES} nodes, not {self.nodes}.")
        if not re.fullmatch(r"[1-9]\d*[kmg]", self.heap, re.IGNORECASE):
            raise SettingsError(f'"{self.heap}" is no heap size.', "Write it like 512m or 2g.")
