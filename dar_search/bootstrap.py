"""Settings -> adapters: the one composition root. Nothing heavy is loaded here; models load at their first use."""

from __future__ import annotations

from pathlib import Path

from dar_search.errors import SettingsError
from dar_search.models import catalogue
from dar_search.ports import Encoder, Imaginer, Ledger, Reformulator, Store
from dar_search.settings import Settings, mask

SQLITE = "sqlite:"


def open_store(address: str, settings: Settings) -> Store:
    """The store at an address: `sqlite:PATH`, `http(s)://...` or `profile:NAME`.

    Raises SettingsError for an address of another kind, StoreError where the store cannot be used.
    """
    if address.startswith(SQLITE):
        from dar_search.stores.sqlite import SQLiteStore

        return SQLiteStore(Path(address.removeprefix(SQLITE)).expanduser())
    if address.startswith(("http://", "https://", "profile:")):
        from dar_search.stores.opensearch import OpenSearchStore

        return OpenSearchStore(address, settings)
    raise SettingsError(
        f'"{mask(address)[:80]}" is no store\'s address.', "Write sqlite:PATH, http(s)://host:port or profile:NAME."
    )


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of jobs that `settings.ingest.ledger` names, or the one that goes with the store.

    An embedded store keeps its jobs itself. A cluster is not asked for an index that nobody named: its jobs are in
    jobs.sqlite in the data folder.
    """
    address = settings.ingest.ledger
    if address is None:
        beside = settings.store.startswith(SQLITE)
        address = settings.store if beside else f"{SQLITE}{settings.data_folder / 'jobs.sqlite'}"
    if address.startswith(SQLITE):
        from dar_search.stores.sqlite_ledger import SQLiteLedger

        return SQLiteLedger(Path(address.removeprefix(SQLITE)).expanduser())
    from dar_search.stores.opensearch_ledger import OpenSearchLedger

    return OpenSearchLedger(address, settings, settings.ingest.ledger_index)


def load_encoder(settings: Settings) -> Encoder:
    """The encoder; its weights load at its first use. Raises UnknownModel, WeightsMissing."""
    return catalogue.encoder(settings.encoder, device=settings.device, dtype=settings.dtype)


def load_reformulator(settings: Settings) -> Reformulator:
    """The reformulator. Raises UnknownModel."""
    return catalogue.reformulator(settings.reformulator, device=settings.device, dtype=settings.dtype)


def load_imaginer(settings: Settings, encoder: Encoder) -> Imaginer | None:
    """The imaginer, in the encoder's space; None for "none". Raises UnknownModel, WeightsMissing, DimensionMismatch."""
    return catalogue.imaginer(settings.imaginer, encoder, device=settings.device, dtype=settings.dtype)
