"""`dar doctor`: what works on this machine, what does not, and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dar_search.cli.options.shared import CommonOptions, EncoderOptions, RewritingOptions, grouped, settings_from
from dar_search.cli.running.checks import CHECKS, SLOW_CHECKS, Finding, Subject
from dar_search.cli.shown.output import DONE, DONE_WITH_FAILURES, answer_console, busy, plain_text, print_json
from dar_search.errors import DarError

_SIGNS = {"ok": Text("ok", "green"), "note": Text("note", "yellow"), "fail": Text("FAIL", "bold red")}


@grouped
def doctor(
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    quick: Annotated[bool, typer.Option("--quick", metavar="", help="Load no model.")] = False,
) -> int:
    """Check what works on this machine, what does not, and say how to mend it.

    Looks at Python and the installed packages, the device, the models of your settings (each is loaded and run
    once), the store, and the commands that other packages add.

    Examples:

      dar doctor
      dar doctor --store http://localhost:9200 --encoder open_clip:./my-clip

    Exit status: 0 if nothing failed, 3 if something did.
    """
    subject = Subject(settings_from(common, encoder, rewriting), quick=quick)
    findings: list[Finding] = []
    for what, check in CHECKS.items():
        # The others take no time, and one of them talks to the terminal itself.
        with busy(f"Checking {what} ...", quiet=common.json or what not in SLOW_CHECKS):
            findings += _run(check, subject)
    ok = not any(finding.status == "fail" for finding in findings)
    if common.json:
        print_json({"ok": ok, "checks": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    return DONE if ok else DONE_WITH_FAILURES


def _run(check: Callable[[Subject], Iterable[Finding]], subject: Subject) -> list[Finding]:
    found: list[Finding] = []
    name = check.__name__
    try:
        found.extend(check(subject))
    except DarError as error:
        found.append(Finding(name, "fail", error.message, error.hint))
    except Exception as error:  # noqa: BLE001  # a doctor reports what is broken, whatever it is
        found.append(Finding(name, "fail", f"{type(error).__name__}: {error}", "Install dar-search again."))
    return found


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        detail = plain_text(finding.detail)
        if finding.fix:
            detail.append_text(Text("\n-> ", "cyan")).append_text(plain_text(finding.fix, "cyan"))
        table.add_row(_SIGNS[finding.status], plain_text(finding.check), detail)
    console = answer_console()
    console.print(table)
    failures = sum(finding.status == "fail" for finding in findings)
    console.print()
    if failures:
        console.print(Text(f"{failures} of {len(findings)} checks failed; each says what to do.", "bold red"))
    else:
        console.print(Text("All that was checked works.", "green"))
