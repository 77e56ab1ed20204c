"""Which names a cluster's indices have: one idea for list, open, create, write and drop.

An index "photos" is a numbered one, photos-000001, that the alias "photos" leads to, and "photos-write" for writes. So
a **name** is an alias that leads to an index of this project. An index that no alias leads to has its own name (one
that came out of a snapshot without its aliases); if its number says that it is an earlier one of a name that there
is, it belongs to that.

All functions take what `GET /...` says of indices: index -> {"aliases", "mappings"}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from dar_search.errors import IndexNotFound, StoreCorrupt, StoreError
from dar_search.stores.bodies import META

About = Mapping[str, Any]
NAME_PATH = f"*.aliases,*.mappings._meta.{META}.name"
_WRITE = "-write"
_RESTRICTIONS = {"filter": "a filter", "search_routing": "a routing", "index_routing": "a routing"}


def write_alias(name: str) -> str:
    """The alias that an index is written through."""
    return f"{name}{_WRITE}"


def own_name(about: About) -> str | None:
    """The name that an index was made with; None: it is not this project's."""
    meta = about.get("mappings", {}).get("_meta", {}).get(META)
    name = meta.get("name") if isinstance(meta, Mapping) else None
    return name if isinstance(name, str) else None


def names_in(found: Mapping[str, About]) -> dict[str, list[str]]:
    """Every name -> the indices that it leads to (more than one is an error, which opening it explains)."""
    ours = {index: about for index, about in sorted(found.items()) if own_name(about)}
    names: dict[str, list[str]] = {}
    for index, about in ours.items():
        for alias in names_of(about):
            names.setdefault(alias, []).append(index)
    alone = [index for index, about in ours.items() if not names_of(about) and generation(index, about) not in names]
    return dict(sorted((names | {index: [index] for index in alone}).items()))


def names_of(about: About) -> list[str]:
    """The aliases by which an index is read: none that restricts it, and none to write through."""
    return sorted(
        alias
        for alias, options in about.get("aliases", {}).items()
        if not _restriction(options) and _written_through(alias, about) is None
    )


def restricted(about: About) -> list[str]:
    """The aliases that show a part of an index only."""
    return sorted(alias for alias, options in about.get("aliases", {}).items() if _restriction(options))


def kept_beside(name: str, found: Mapping[str, About]) -> list[str]:
    """The numbered indices of a name that no alias leads to, nor to a part of one: earlier ones, as a rule."""
    return sorted(index for index, about in found.items() if generation(index, about) == name and not _shown_as(about))


def generation(index: str, about: About) -> str | None:
    """The name of which an index is a numbered one: "photos" of photos-000001."""
    name = own_name(about)
    return name if name is not None and re.fullmatch(rf"{re.escape(name)}-\d{{6}}", index) else None


def last_number(name: str, found: Mapping[str, About]) -> int:
    """The highest number of indices, and aliases, called "name-000001" and so on; 0: none."""
    taken = {*found, *(alias for about in found.values() for alias in about.get("aliases", {}))}
    numbered = (re.fullmatch(rf"{re.escape(name)}-(\d{{6}})", one) for one in taken)
    return max((int(match[1]) for match in numbered if match), default=0)


def led_to(name: str, found: Mapping[str, About]) -> tuple[str, About]:
    """The one index that a name leads to, of those that the cluster gives for it.

    Raises IndexNotFound where it is the name of something else, StoreCorrupt where it leads to several indices, and
    StoreError where it shows only a part of one.
    """
    if not found:
        raise IndexNotFound(f'There is no index "{name}" on the cluster.', "Make it, or open another.")
    if len(found) > 1:
        first, *others = sorted(found, key=lambda index: (generation(index, found[index]) != name, index))
        remove = ({"remove": {"index": other, "alias": name}} for other in others)
        raise StoreCorrupt(
            f'The alias "{name}" leads to several indices ({", ".join(sorted(found))}).',
            f"Point it at one of them, at {first} say: {way_out(*remove)}",
        )
    ((index, about),) = found.items()
    aliases = about.get("aliases", {})
    if own_name(about) is None:
        raise IndexNotFound(
            f'"{name}" is an index of the cluster, but not one of dar-search.', "Choose another name for your pictures."
        )
    if name == index and (others := names_of(about)):
        raise IndexNotFound(f'"{name}" is the index behind "{others[0]}".', f'Use the name "{others[0]}".')
    read = _written_through(name, about)
    if name != index and read is not None:
        raise IndexNotFound(f'"{name}" is the alias that "{read}" is written through.', f'Use the name "{read}".')
    restriction = _restriction(aliases.get(name, {}))
    if restriction:
        raise StoreError(
            f'"{name}" is an alias with {restriction}: searches through it would lose pictures that it shows, and '
            "reading by id would show what it hides.",
            f"Open {_or(names_of(about)) or index} and filter each search, or make an index of its own.",
        )
    return index, about


def check_write_alias(name: str, index: str, about: About, elsewhere: Mapping[str, About]) -> None:
    """Whether what is written to a name goes to the index that it is read from. Raises StoreCorrupt.

    Args:
        elsewhere: the indices that the alias to write through leads to.
    """
    alias = write_alias(name)
    options = about.get("aliases", {}).get(alias)
    others = sorted(other for other in elsewhere if other != index)
    add = {"add": {"index": index, "alias": alias, "is_write_index": True}}
    remove = [{"remove": {"index": other, "alias": alias}} for other in others]
    if options is None and not others:
        raise StoreCorrupt(f'"{name}" cannot be written to: there is no alias "{alias}".', way_out(add))
    if options is None or (others and options.get("is_write_index") is not True):
        raise StoreCorrupt(
            f'"{name}" leads to {index}, and "{alias}" to {", ".join(others)}: what is written would not be found.',
            f"If {index} is the right one: {way_out(*remove, add)}",
        )
    if options.get("is_write_index") is False:
        raise StoreCorrupt(f'"{name}" cannot be written to: "{alias}" has no write index.', way_out(add))
    if restriction := _restriction(options):
        raise StoreCorrupt(
            f'"{name}" cannot be written to: "{alias}" is an alias with {restriction}.',
            way_out({"remove": {"index": index, "alias": alias}}, add),
        )


def half_state(name: str, found: Mapping[str, About]) -> StoreCorrupt | None:
    """What is left of a name that no alias leads to, and the way out; None: nothing.

    Args:
        found: the indices behind its alias to write through, and those named like its numbered ones.
    """
    alias = write_alias(name)
    both: list[dict[str, Any]] = [{"alias": name}, {"alias": alias, "is_write_index": True}]
    for index, about in sorted(found.items(), reverse=True):
        ours = own_name(about) is not None
        if alias in about.get("aliases", {}) and not ours:
            return StoreCorrupt(
                f'There is no "{name}", but "{alias}" leads to {index}, which is no index of dar-search.',
                f"Take the alias away: {way_out({'remove': {'index': index, 'alias': alias}})}",
            )
        if alias in about.get("aliases", {}) or (generation(index, about) == name and not names_of(about)):
            adds = [{"add": {"index": index, **one}} for one in both]
            only = f'only "{alias}" leads to' if alias in about.get("aliases", {}) else "no alias leads to"
            return StoreCorrupt(
                f'There is no "{name}", but {only} {index}, which was made as "{own_name(about)}".',
                f"Give it the name ({way_out(*adds)}), or drop {index}.",
            )
    return None


def also_known_as(name: str, index: str, about: About) -> None:
    """Whether only this name leads to the index, or to a part of it. Raises StoreError: others would lose it too."""
    others = [other for other in _shown_as(about) if other != name]
    if others:
        aliases = [alias for alias in (name, write_alias(name)) if alias in about.get("aliases", {})]
        raise StoreError(
            f'"{name}" cannot be dropped: its index {index} is {_or(others)} too.',
            f"Take the name away instead: {way_out(*({'remove': {'index': index, 'alias': one}} for one in aliases))}",
        )


def way_out(*actions: Mapping[str, Any]) -> str:
    """The request that changes aliases."""
    return f"POST /_aliases {orjson.dumps({'actions': actions}).decode()}"


def _shown_as(about: About) -> list[str]:
    """The aliases by which an index is read, whole or in part."""
    return sorted({*names_of(about), *(one for one in restricted(about) if _written_through(one, about) is None)})


def _written_through(alias: str, about: About) -> str | None:
    """The name that is written through this alias, or None for an alias to read from."""
    name = alias.removesuffix(_WRITE)
    return name if name != alias and (name in about.get("aliases", {}) or name == own_name(about)) else None


def _restriction(options: Mapping[str, Any]) -> str:
    return next((said for part, said in _RESTRICTIONS.items() if part in options), "")


def _or(names: list[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)
