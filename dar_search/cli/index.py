"""`dar index`: which indices there are, what is in one, and dropping one."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from dar_search.cli.commands import CONTEXT
from dar_search.cli.options.shared import CommonOptions, grouped, settings_from
from dar_search.cli.running.opening import opened_index, opened_store
from dar_search.cli.shown.output import answer_console, columns_of, note, plain, plain_text, print_json, side_console
from dar_search.errors import RequestError, StoreError
from dar_search.ports import ImageIndex, Store

app = typer.Typer(
    help="List, show and drop indices.", no_args_is_help=True, rich_markup_mode="rich", context_settings=CONTEXT
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The index's name.", show_default=False)]


@app.command("list")
@grouped
def list_indices(common: CommonOptions) -> None:
    """List the indices of the store, with their size and encoder.

    Example:  dar index list --store sqlite:./photos.sqlite
    """
    settings = settings_from(common)
    with opened_store(settings) as store:
        described = [_described_or_why_not(store, name) for name in store.names()]
        address = store.address
    if common.json:
        print_json({"store": address, "indices": described})
        return
    if not described:
        note(f"No index in {address} yet. Make one with: dar ingest FOLDER --index NAME")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("index", "pictures", "encoder", "dimension"):
        table.add_column(heading, justify="right" if heading in ("pictures", "dimension") else "left")
    for index in described:
        if "problem" in index:
            table.add_row(plain_text(index["name"]), "?", plain_text("cannot be used"), "?")
        else:
            table.add_row(
                *map(plain_text, (index["name"], f"{index['pictures']:,}", index["encoder"], str(index["dimension"])))
            )
    answer_console().print(table)
    for index in described:
        if "problem" in index:
            note(f"{index['name']}: {index['problem']['message']} {index['problem']['hint']}".rstrip())


@app.command()
@grouped
def show(name: Name, common: CommonOptions) -> None:
    """Show what an index holds, and which model its vectors come from.

    Example:  dar index show photos
    """
    with opened_store(settings_from(common)) as store:
        described = {**_described(opened_index(store, name)), "store": store.address}
    if common.json:
        print_json(described)
        return
    labels = {**described, "pictures": f"{described['pictures']:,}"}
    answer_console().print(columns_of((label, plain(str(value))) for label, value in labels.items()), markup=False)


@app.command()
@grouped
def drop(
    name: Name,
    common: CommonOptions,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
) -> None:
    """Remove an index and all in it. The picture files themselves stay where they are.

    Example:  dar index drop photos --yes
    """
    with opened_store(settings_from(common)) as store:
        pictures = _pictures(opened_index(store, name))
        if not yes:
            _ask(name, pictures, store.address)
        store.drop(name)
    if common.json:
        print_json({"dropped": name, "pictures": pictures})
    else:
        answer_console().print(plain_text(f"Dropped {name} ({_number(pictures)} pictures)."))


def _pictures(index: ImageIndex) -> int | None:
    """None: the index cannot say, as it is closed."""
    try:
        return index.count()
    except StoreError:
        return None


def _number(pictures: int | None) -> str:
    return "an unknown number of" if pictures is None else f"{pictures:,}"


def _ask(name: str, pictures: int | None, address: str) -> None:
    console = side_console()
    if not console.is_terminal:
        raise RequestError(f"Dropping {name} needs a yes.", "Add --yes.")
    console.print(
        plain_text(f'Type "{name}" to drop this index of {_number(pictures)} pictures in {address}: '), end=""
    )
    if input().strip() != name:
        raise RequestError("Nothing was dropped.")


def _described_or_why_not(store: Store, name: str) -> dict[str, Any]:
    """One index that cannot be used must not hide the others."""
    try:
        return _described(store.open(name))
    except StoreError as error:
        return {"name": name, "problem": error.as_dict()}


def _described(index: ImageIndex) -> dict[str, Any]:
    provenance = index.provenance
    return {
        "name": index.name,
        "pictures": index.count(),
        "encoder": provenance.encoder,
        "revision": provenance.revision,
        "dimension": provenance.dimension,
        "preparation": provenance.preparation,
    }
