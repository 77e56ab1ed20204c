"""The `dar` command: options that stand before the command, errors as one line, exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dar_search.cli.commands import CONTEXT, LazyCommands
from dar_search.cli.logs import configure_logging
from dar_search.cli.options.grouping import grouped, remember
from dar_search.cli.options.shared import CommonOptions, EncoderOptions
from dar_search.cli.shown.output import (
    COULD_NOT,
    DONE,
    INTERRUPTED,
    PIPE_CLOSED,
    WRONG_USAGE,
    close_pipe,
    print_error,
    side_console,
    status_of,
)
from dar_search.errors import DarError

app = typer.Typer(
    cls=LazyCommands,
    name="dar",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    epilog="Exit status: 0 all done, 3 done with failures, 2 wrong usage or input, 1 could not do it.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from dar_search import __version__

        sys.stdout.write(f"dar-search {__version__}\n")
        raise typer.Exit(DONE)


@app.callback()
@grouped
def dar(
    common: CommonOptions,
    encoder: EncoderOptions,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", help="Print the version and end.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Find pictures by talking about them.

    dar turns a conversation into text, imagines what the picture looks like, and finds it in your collection.

    [bold]Start here[/bold]

      dar demo                             see it work, on pictures that it makes
      dar ingest ./photos --index photos   make a folder of pictures searchable
      dar chat --index photos              find one, in a conversation
      dar doctor                           what works here, and what to do
    """
    remember(common, encoder)


def main() -> None:
    """The console script."""
    arguments = sys.argv[1:]
    configure_logging(_count_verbose(arguments), debug=_has("--debug", arguments))
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status. Errors are printed, as JSON too where --json is among the arguments."""
    as_json, debug = _has("--json", arguments), _has("--debug", arguments)
    remember()
    try:
        status = app(args=list(arguments), prog_name="dar", standalone_mode=False)
        sys.stdout.flush()
    except DarError as error:
        _show_traceback(debug)
        print_error(error.code, error.message, error.hint, as_json=as_json)
        return status_of(error)
    except typer.TyperException as error:
        return _usage_error(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        close_pipe()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # the last resort: a person gets one line, not a traceback
        _show_traceback(debug)
        hint = "" if debug else "This is a defect of dar-search; run again with --debug to see where, and report it."
        print_error("unexpected", f"Unexpected error: {type(error).__name__}: {error}", hint, as_json=as_json)
        return COULD_NOT
    return status if isinstance(status, int) else DONE


def _usage_error(error: typer.TyperException, *, as_json: bool) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(message + "\n")
        return WRONG_USAGE
    path = context.command_path if context is not None else "dar"
    print_error("bad_usage", message, f"See: {path} --help", as_json=as_json)
    return WRONG_USAGE


def _has(flag: str, arguments: Sequence[str]) -> bool:
    """Known before the options are parsed, since parsing may be what fails."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return flag in options


def _count_verbose(arguments: Sequence[str]) -> int:
    short = sum(len(word) - 1 for word in arguments if word in ("-v", "-vv", "-vvv"))
    return short + sum(word == "--verbose" for word in arguments)


def _show_traceback(debug: bool) -> None:
    if debug:
        side_console().print_exception(show_locals=False)


if __name__ == "__main__":
    main()
