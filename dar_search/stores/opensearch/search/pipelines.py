"""An index's own default search pipeline: part of how its owner wants it searched, so never silently replaced.

A fused search carries a search pipeline of its own inside the body, and OpenSearch then leaves the index's default one
out. So the two are joined: the default's request processors run before, its response processors after the fusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dar_search.errors import StoreError, StoreForbidden
from dar_search.stores.bodies import Body
from dar_search.stores.opensearch.cluster.calls import Cluster, quoted
from dar_search.stores.opensearch.cluster.forms import PIPELINES

_NONE = "_none"  # OpenSearch's name for no pipeline


@dataclass(frozen=True, slots=True)
class DefaultPipeline:
    """The default search pipeline that a search has to respect.

    Attributes:
        name: None where there is none.
        parts: its processors, as the cluster keeps them.
        skipped: there is one, and the settings say to search without it.
    """

    name: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False

    @property
    def joins_scores(self) -> bool:
        """It fuses the scores of `hybrid` queries itself: then the client fuses, in searches that it leaves alone."""
        return bool(self.parts.get("phase_results_processors"))

    @property
    def reorders(self) -> bool:
        """It changes what a search returns, and so must see the fused result, once."""
        return bool(self.parts.get("response_processors"))

    def applied(self, body: Body) -> Body:
        """A search of one leg, which the server runs through the default pipeline unless it is told not to."""
        return body | {"search_pipeline": _NONE} if self.skipped else body


def read_default_pipeline(cluster: Cluster, index: str, name: str | None, *, skip: bool) -> DefaultPipeline:
    """The index's default pipeline. Raises StoreForbidden where the caller may not read it, and it must be joined."""
    if name is None or name == _NONE:
        return DefaultPipeline()
    if skip:
        return DefaultPipeline(skipped=True)
    try:
        found = PIPELINES.read(cluster.read("GET", f"/_search/pipeline/{quoted(name)}"))
    except StoreForbidden as error:
        raise StoreForbidden(
            f'The index "{index}" has the default search pipeline "{name}", which you may not read. {error.message}',
            "Get cluster:admin/search/pipeline/get, or set opensearch.default_pipeline to skip.",
        ) from error
    if name not in found:
        raise StoreError(
            f'The index "{index}" names a default search pipeline "{name}" that the cluster does not have.',
            "Make it, or unset index.search.default_pipeline.",
        )
    return DefaultPipeline(name, found[name])
