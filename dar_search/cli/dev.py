"""`dar dev`: for developers; a real OpenSearch on this machine."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from dar_search.cli.commands import CONTEXT
from dar_search.cli.shown.output import note, print_json

app = typer.Typer(
    help="For developers: a real OpenSearch on this machine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=CONTEXT,
)


@app.callback()
def _dev() -> None:
    """For developers: a real OpenSearch on this machine."""


@app.command()
def opensearch(
    version: Annotated[
        str, typer.Option("--version", metavar="2.19|3.5|3.9", help="Which OpenSearch; 3.9 has no k-NN.")
    ] = "2.19",
    nodes: Annotated[int, typer.Option("--nodes", metavar="1..3", min=1, max=3, help="Nodes of the cluster.")] = 1,
    port: Annotated[
        int, typer.Option("--port", metavar="NUMBER", min=0, max=65535, help="The first node's; 0: any free one.")
    ] = 9200,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Keep the indices and logs here; without it they go at the end."),
    ] = None,
    heap: Annotated[str, typer.Option("--heap", metavar="SIZE", help="Java's memory, for each node.")] = "512m",
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="PLUGIN", help="Leave out knn or neural-search; may be repeated."),
    ] = None,
    java: Annotated[
        Path | None, typer.Option("--java", metavar="FOLDER", help="A Java runtime's home, instead of the one found.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print the addresses as JSON.")] = False,
) -> None:
    """Run a real OpenSearch here, without Docker, until Ctrl-C.

    The first run of a version fetches it from Maven Central (about 80 MB). A Java is looked for on this machine (17 to
    23 for 2.19, 21 to 25 for 3.5 and 3.9), and comes with pip install "dar-search\\[node]" where there is none. It
    listens on 127.0.0.1 only, with no users and no TLS: everybody on this machine can use it.

    Examples:

      dar dev opensearch

      dar dev opensearch --nodes 3 --data ./cluster

      dar dev opensearch --version 3.5

      dar dev opensearch --without neural-search
    """
    from dar_search.stores.node import ClusterRequest, LocalCluster, read_coordinates

    cluster = LocalCluster(
        ClusterRequest(
            nodes,
            version,
            read_coordinates(version).names_without(without or ()),
            port=port,
            data=data,
            heap=heap,
            java=java,
            report=note,
        )
    )
    ended = threading.Event()
    # The handler only sets the event: the nodes are ended in order, below, and not in the middle of something.
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with cluster:
        if as_json:
            print_json({"version": cluster.version, "urls": list(cluster.urls), "logs": [str(p) for p in cluster.logs]})
        note(f"OpenSearch {cluster.version} answers at {', '.join(cluster.urls)}. Ctrl-C ends it.")
        note(f"Use it: dar ingest FOLDER --index NAME --store {cluster.url}")
        cluster.wait_for_end(ended)
    note("OpenSearch has ended.")
