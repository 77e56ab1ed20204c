"""An index's settings while much is written to it, and putting them back, also after a crash.

What the settings were is in the ledger before anything is changed. They are put back when a job ends; where its worker
did not live to do it, by the next sweep that sees no job of the index that is not ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from dar_search.errors import IndexNotFound, StoreError
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ports import ImageIndex

_LOG = logging.getLogger(__name__)


@runtime_checkable
class Tunable(Protocol):
    """An index whose store has settings that slow writing down."""

    def load_settings(self) -> Mapping[str, Any]:
        """The settings as they are, of those that `tune` changes; None: the store's default."""
        ...

    def tune(self, replicas: int | None) -> None:
        """Settings for a load. replicas: how many copies there are meanwhile; None: as many as before."""
        ...

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Settings as `load_settings` gave them."""
        ...


def tune(ledger: Ledger, store: str, index: ImageIndex, replicas: int | None = None) -> None:
    """Before a job writes. Raises StoreError."""
    if isinstance(index, Tunable):
        ledger.keep_settings(_key(store, index.name), index.load_settings())
        index.tune(replicas)


def put_back(
    ledger: Ledger, store: str, open_index: Callable[[str], ImageIndex], *, only: str | None = None
) -> list[str]:
    """Puts back the settings of this store's indices that no job writes to -> their names. Raises StoreError.

    only: this index alone.
    """
    prefix = _key(store, "")
    everything = ledger.kept_settings().items()
    kept = {key.removeprefix(prefix): settings for key, settings in everything if key.startswith(prefix)}
    names = [name for name in kept if only in (None, name)]
    if not names:
        return []
    jobs = ledger.jobs(running=True, limit=None)
    loaded = {job.spec.index for job in jobs if job.spec.store == store and not job.spec.local}
    done = []
    for name in names:
        if name in loaded:
            continue
        try:
            index = open_index(name)
            if isinstance(index, Tunable):
                index.restore(kept[name])
        except IndexNotFound:
            _LOG.info("An index that was being loaded was dropped.")
        ledger.keep_settings(_key(store, name), None)
        done.append(name)
    return done


def put_back_if_possible(ledger: Ledger, store: str, open_index: Callable[[str], ImageIndex]) -> None:
    """For a sweep: what cannot be put back now is tried again at the next one."""
    try:
        put_back(ledger, store, open_index)
    except StoreError as error:
        _LOG.warning("An index's settings are not put back yet: %s", error.message)


def _key(store: str, index: str) -> str:
    return f"{store}|{index}"
