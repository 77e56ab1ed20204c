"""What `dar serve` and `dar ingest-serve` share: options of a service, and what is said once it answers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer

from dar_search.cli.shown.output import note, print_json
from dar_search.errors import FeatureMissing, SettingsError
from dar_search.settings import Settings
from dar_search.settings.service import http_address

PANEL = "The service"


@dataclass(frozen=True, slots=True)
class ListeningOptions:
    """Where a service listens."""

    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The address to listen on.", rich_help_panel=PANEL, show_default=False),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="The port; 0: any.", rich_help_panel=PANEL, show_default=False),
    ] = None
    admin_port: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Of /metrics; 0: none.", rich_help_panel=PANEL, show_default=False),
    ] = None

    def given(self) -> dict[str, Any]:
        """As settings; None: not given."""
        return asdict(self)


def with_service(settings: Settings, section: Literal["query", "ingest"], command: str, **given: Any) -> Settings:
    """The settings with some of a service's replaced by options, checked; None: not given. Raises SettingsError.

    section: of the settings. command: whose options they are.
    """
    from pydantic import ValidationError

    own = getattr(settings, section)
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        changed = type(own).model_validate(dict(own) | changes)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        name = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise SettingsError(f"The option {name}: {wrong['msg']}.", f"See: dar {command} --help") from None
    return settings.model_copy(update={section: changed})


def say_ready(name: str, route: str, metrics: str, *, as_json: bool) -> Callable[[str], None]:
    """What tells the person, or the program, where a service answers, once there is an address.

    route: which the person is shown. metrics: the address of /metrics, "" where there is none.
    """

    def ready(address: str) -> None:
        document = f"{address}/_dar/openapi/openapi.json"
        if as_json:
            print_json({"address": address, "openapi": document, "metrics": metrics})
            return
        note(f"The {name} answers at {address}/_dar/v1/{route}. Ctrl-C ends it.")
        note(f"OpenAPI: {document}; ready: {address}/_dar/ready")
        if metrics:
            note(f"Metrics: {metrics}")

    return ready


def ends_in_order() -> None:
    """From here on, until what it starts has its own way, the command ends with 0 on SIGTERM: nothing is in hand."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))


def metrics_address(settings: Settings, admin_port: int) -> str:
    """Where Prometheus reads; "" for admin port 0, which is none."""
    return f"{http_address(settings.service.admin_host, admin_port)}/metrics" if admin_port else ""


def package_missing(name: str, extra: str, error: ImportError) -> FeatureMissing:
    """The error for a service whose packages are not all there."""
    return FeatureMissing(
        f"The {name} needs a package that is not installed ({error.name}).", f'pip install "dar-search[{extra}]"'
    )
