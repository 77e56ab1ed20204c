"""Settings -> adapters: the one composition root. Nothing heavy is loaded here; models load at their first use."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar_search.errors import DarError, IndexNotFound, SettingsError, StoreUnavailable
from dar_search.ingestion.jobs.ledger_port import Ledger
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.outside import Outside
from dar_search.models import catalogue, choosing, presets
from dar_search.models.hosting import AS_NEEDED, Models, local_models, remote_models
from dar_search.models.imaginers.imagination_cache import MemoryImaginationCache
from dar_search.models.process.child import Limits
from dar_search.models.process.hosted import Named
from dar_search.models.process.warm import WarmModels, can_be_warm
from dar_search.ports import Encoder, ImaginationCache, Imaginer, Reformulator, Store
from dar_search.settings import AUTO, Settings, mask, secret
from dar_search.settings.cluster_access import SecretReference

if TYPE_CHECKING:
    from dar_search.stores.opensearch.cluster.calls import Cluster

SQLITE = "sqlite:"
_LOG = logging.getLogger(__name__)


def open_store(address: str, settings: Settings) -> Store:
    """The store at an address: `sqlite:PATH`, `http(s)://...` or `profile:NAME`.

    Raises SettingsError for an address of another kind, StoreError where the store cannot be used.
    """
    if address.startswith(SQLITE):
        from dar_search.stores.sqlite.store import SQLiteStore

        return SQLiteStore(Path(address.removeprefix(SQLITE)).expanduser())
    if address.startswith(("http://", "https://", "profile:")):
        from dar_search.stores.opensearch.store import OpenSearchStore

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
        from dar_search.stores.sqlite.ledger import SQLiteLedger

        return SQLiteLedger(Path(address.removeprefix(SQLITE)).expanduser())
    from dar_search.stores.opensearch.ledger import OpenSearchLedger

    return OpenSearchLedger(address, settings, settings.ingest.ledger_index)


def outside(settings: Settings, allowance: Allowance = EVERYTHING) -> Outside:
    """What sources, and the pictures that they name, are read from: the web, clusters, and files as far as allowed.

    The settings' user and certificates are shown to the hosts of the settings' own store; another store is asked with
    what its profile has, or nothing. Raises SettingsError at the first use.
    """

    def connected(address: str) -> Cluster:
        from dar_search.stores.opensearch.cluster.calls import Cluster
        from dar_search.stores.opensearch.cluster.connection import connect, is_own

        chosen = address or settings.store
        if chosen.startswith(SQLITE):
            raise SettingsError(
                "An index to read from is in an OpenSearch.", "Name it: --source-store http://host:9200"
            )
        reached = settings
        if not chosen.startswith("profile:") and not is_own(chosen, settings):
            reached = settings.model_copy(update={"opensearch": settings.opensearch.anonymous()})
        if reached != settings:
            _LOG.warning("%s is asked without the settings' login, which is for their own store.", mask(chosen))
        return Cluster(connect(chosen, reached), retry_seconds=settings.opensearch.retry_seconds)

    return Outside(settings.ingest.fetch, connected, allowance)


def with_encoder_of(settings: Settings, store: Store) -> Settings:
    """The settings of a service, with an encoder: the named one, else that of the store's indices, else the preset's
    that suits the machine, where its weights are here.

    Raises SettingsError where that is none, or several; StoreError where the store cannot be asked.
    """
    settings = choosing.with_preset(settings)
    if settings.encoder != AUTO:
        return settings
    made_with = {one.encoder for one in _by_index(settings, store)}
    if len(made_with) > 1:
        raise SettingsError(
            f"The indices of {store.address} were made with several encoders: {', '.join(sorted(made_with))}.",
            "Name one: --encoder, or DAR_ENCODER.",
        )
    suits = choosing.machine_preset(settings.device)
    if not made_with and presets.is_here(suits.encoder.name):
        made_with = {suits.encoder.name}
    if not made_with:
        raise SettingsError(
            f"No encoder is named, and {store.address} has no index to tell it.",
            f"Name one: DAR_ENCODER, or DAR_PRESET={suits.name} (its models are fetched once: dar models fetch "
            f"{suits.name}).",
        )
    name = made_with.pop()
    if not presets.is_here(name):  # who can make an index does not choose what is downloaded
        raise SettingsError(
            f"{store.address} was made with {name}, which is not on this machine.",
            f'Fetch it: dar models fetch --encoder "{name}"',
        )
    return choosing.with_encoder(settings, name)


def _by_index(settings: Settings, store: Store) -> Iterator[Settings]:
    """Of each index that this machine can use. Raises the last one's error where there is none."""
    named = [name for name in settings.query.served_indices if not set(name) & set("*?[")]
    trouble: DarError | None = None
    usable = False
    for name in named or store.names():
        try:
            yield choosing.with_encoder_of(settings, store.open(name).provenance)
            usable = True
        except IndexNotFound:  # served once it is there; or dropped meanwhile
            continue
        except StoreUnavailable:
            raise
        except DarError as error:
            _LOG.warning('The index "%s" is passed over: %s', name, error.message)
            trouble = error
    if trouble is not None and not usable:
        raise trouble


def load_encoder(settings: Settings) -> Encoder:
    """The encoder, in this process; its weights load at its first use. Raises UnknownModel, WeightsMissing."""
    named = _named(settings, settings.encoder, settings.encoder_options)
    return catalogue.encoder(named.name, **named.arguments)


def load_reformulator(settings: Settings) -> Reformulator:
    """The reformulator, in this process. Raises UnknownModel, SettingsError."""
    named = _named(settings, settings.reformulator, settings.reformulator_options)
    return catalogue.reformulator(named.name, **named.arguments)


def load_imaginer(settings: Settings, encoder: Encoder) -> Imaginer | None:
    """The imaginer, in this process and the encoder's space; None for "none".

    Raises UnknownModel, WeightsMissing, SettingsError, DimensionMismatch.
    """
    named = _named(settings, settings.imaginer, settings.imaginer_options)
    return catalogue.imaginer(named.name, encoder, **named.arguments)


def load_imagination_cache(settings: Settings) -> ImaginationCache | None:
    """The imagination cache; None for "none". Raises SettingsError, and ModelFailed where redis is not installed."""
    if settings.imagination_cache == "none":
        return None
    if settings.imagination_cache == "memory":
        return MemoryImaginationCache(settings.imagination_cache_megabytes << 20)
    from dar_search.models.imaginers.redis_cache import RedisImaginationCache

    return RedisImaginationCache(settings.imagination_cache, days=settings.imagination_cache_days)


def models(settings: Settings) -> Models:
    """All models in this process, the imaginer behind its cache: for a command that runs once.

    Weights load at first use. Raises UnknownModel, WeightsMissing, SettingsError, DimensionMismatch.
    """
    return local_models(*_all_named(settings), cache=load_imagination_cache(settings))


def warm_models(settings: Settings) -> Models:
    """All models for a command: in a process that stays for the next one, where the settings and the system allow it.

    Raises as `models`; what is wrong with weights comes from the first use.
    """
    chosen = settings.model_process
    if chosen.warm_minutes == 0 or chosen.mode == "off" or not can_be_warm(settings.data_folder):
        return models(settings)
    seconds = chosen.warm_minutes * 60
    return remote_models(
        *_all_named(settings),
        Limits(start_s=chosen.start_seconds),
        shared=True,
        cache=load_imagination_cache(settings),
        process=partial(WarmModels, data_folder=settings.data_folder, seconds=seconds),
        factory=AS_NEEDED,
    )


def hosted_models(settings: Settings) -> Models:
    """All models for a service or for ingestion: in processes of their own, the imaginer behind its cache.

        with hosted_models(settings) as models:
            models.warm_up()                        # or let the first request wait for the loading
            ready, health = models.ready, models.health()
            soon = models.within(2.0)               # one answer's models: each call ends in time
            rewritten = rewrite(dialogue, soon.encoder, soon.reformulator, soon.imaginer)

    `.encoder`, `.reformulator` and `.imaginer` (None: text only) are the ports; call them from any thread. Requests
    of many threads go to a model in batches, and the same request is done once. Every call ends in an answer or in
    a ModelError: ModelTimeout (its time is over), ModelBusy (the queue is full), ModelOutOfMemory, ModelFailed. A
    process that dies, hangs or takes too much memory is ended and started again, and takes nothing else with it.

    What `settings.model_process` says holds: separate processes, one shared by the models of a device, or none
    ("off": everything in this process, `within` then limits nothing); limits of time, memory and the queue.
    This process loads no torch. It may be forked before the first use, not between use and use.

    Raises UnknownModel and SettingsError at once, WeightsMissing for folders; the rest comes from `warm_up`, or from
    the first use.
    """
    chosen = settings.model_process
    if chosen.mode == "off":
        return models(settings)
    limits = Limits(
        waiting=chosen.queue,
        batch_items=chosen.batch_items,
        batch_s=chosen.batch_seconds,
        start_s=chosen.start_seconds,
        memory_bytes=chosen.memory_megabytes and chosen.memory_megabytes * 1_000_000,
    )
    return remote_models(
        *_all_named(settings),
        limits,
        shared=chosen.mode == "shared",
        cache=load_imagination_cache(settings),
        gpu_memory_fraction=chosen.gpu_memory_fraction,
    )


def _all_named(settings: Settings) -> tuple[Named, Named, Named]:
    return (
        _named(settings, settings.encoder, settings.encoder_options),
        _named(settings, settings.reformulator, settings.reformulator_options),
        _named(settings, settings.imaginer, settings.imaginer_options),
    )


def _named(settings: Settings, name: str, options: Mapping[str, Any]) -> Named:
    if name == AUTO:
        raise SettingsError(
            "No encoder is named.", "Set encoder (DAR_ENCODER), or take that of an index: bootstrap.with_encoder_of."
        )
    kind, _, source = name.partition(":")
    if source and (folder := Path(source).expanduser()).is_dir():
        name = f"{kind}:{folder.absolute()}"  # a process of its own may work elsewhere
    read = {key: secret(value) if isinstance(value, SecretReference) else value for key, value in options.items()}
    return Named(name, settings.device, settings.dtype, read)
