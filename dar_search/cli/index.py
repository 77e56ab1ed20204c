"""`dar index`: which indices there are, what is in one, whether it is whole, and dropping one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from dar_search.cli.commands import CONTEXT
from dar_search.cli.options.shared import CommonOptions, grouped, settings_from
from dar_search.cli.running.opening import opened_index, opened_store
from dar_search.cli.shown.examined import show_examined
from dar_search.cli.shown.output import (
    DONE,
    DONE_WITH_FAILURES,
    answer_console,
    columns_of,
    note,
    plain,
    plain_text,
    print_json,
    side_console,
)
from dar_search.errors import RequestError, StoreError
from dar_search.ports import ImageIndex, Store
from dar_search.stores.examined import Examinable, Savable

app = typer.Typer(
    help="List, show, check and drop indices.", no_args_is_help=True, rich_markup_mode="rich", context_settings=CONTEXT
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


@app.command()
@grouped
def check(
    common: CommonOptions,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One index; all of them if left out.", show_default=False)
    ] = None,
    save_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Copy all that is whole to this new file (embedded store).", show_default=False
        ),
    ] = None,
) -> int:
    """Look at all that an index holds, and say which pictures are not whole.

    With --save-to, all that is whole goes to a new file, with new indices for words and filters. What is lost is named:
    `dar ingest` of the same sources encodes only that again.

    Exit status: 0 if all is whole, 3 if something is not.

    Example:  dar index check --store sqlite:./photos.sqlite --save-to ./saved.sqlite
    """
    with opened_store(settings_from(common)) as store:
        if not isinstance(store, Examinable):
            raise RequestError(f"{store.address} cannot be looked at.")
        problems = list(store.problems())
        if save_to is None:
            names = [opened_index(store, name).name] if name else store.names()
            found = [store.examine(one) for one in names]
        elif isinstance(store, Savable) and name is None:
            about_file, *found = store.save_to(save_to)
            problems += about_file.problems
        else:
            raise RequestError("--save-to copies a whole file of the embedded store.", "Leave out NAME, or --save-to.")
        address = store.address
    if common.json:
        print_json({"store": address, "problems": problems, "indices": found, "saved": save_to})
    else:
        show_examined(address, problems, found, save_to)
    return DONE if not problems and all(one.sound for one in found) else DONE_WITH_FAILURES


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
