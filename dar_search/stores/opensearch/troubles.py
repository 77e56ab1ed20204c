"""What is wrong with a cluster's indices, each with the way out: aliases that lead astray, an index that is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dar_search.errors import StoreCorrupt, StoreError
from dar_search.stores.opensearch.cluster.doctor import Observation
from dar_search.stores.opensearch.index import OpenSearchIndex
from dar_search.stores.opensearch.kept import done_without
from dar_search.stores.opensearch.names import (
    About,
    check_write_alias,
    generation,
    half_state,
    led_to,
    names_in,
    own_name,
    restricted,
    write_alias,
)


def troubles(found: Mapping[str, About], opened: Callable[[str], OpenSearchIndex]) -> Iterator[Observation]:
    """Every trouble.

    Args:
        found: what `GET /*` says of the indices.
        opened: opens an index by its name; raises StoreError.
    """
    for name, indices in names_in(found).items():
        try:
            index = opened(name)
            index.count()
        except StoreError as error:
            yield Observation(f"index {name}", "fail", error.message, error.hint)
            continue
        if index.left_out:
            yield Observation(f"index {name}", "note", done_without(name, index.left_out))
        if trouble := _writing(name, indices[0], found):
            yield Observation(f"index {name}", "note", trouble.message, trouble.hint)
    for index_name, about in sorted(found.items()):
        for alias in restricted(about) if own_name(about) else ():
            try:
                led_to(alias, {index_name: about})
            except StoreError as error:
                yield Observation(f"alias {alias}", "note", error.message, error.hint)


def _writing(name: str, index: str, found: Mapping[str, About]) -> StoreCorrupt | None:
    """Why a name that is read cannot be written to."""
    about = found[index]
    made_as = generation(index, about)
    if name == index and made_as:
        return half_state(made_as, {index: about})
    elsewhere = {key: one for key, one in found.items() if write_alias(name) in one.get("aliases", {})}
    try:
        check_write_alias(name, index, about, elsewhere)
    except StoreCorrupt as trouble:
        return trouble
    return None
