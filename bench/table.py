"""Runs the benchmarks, and prints one table of all their ratios.

    python bench/table.py [PART ...] [--write]

A part is the beginning of a command below ("query", "stores_opensearch.py search"); none: all, about an hour on two
cores. Figures of earlier runs on this machine stay in the table (bench/results/figures.jsonl) until their
command runs again. --write puts the table into RESULTS.md. The exit status is 1 where a command did not end well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import psutil
from figures import VARIABLE

HERE = Path(__file__).parent
KEPT, RESULTS = HERE / "results" / "figures.jsonl", HERE / "RESULTS.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
COMMANDS = (
    "stores_sqlite.py",
    "stores_opensearch.py write",
    "stores_opensearch.py search",
    "stores_opensearch.py recall",
    "models.py",
    "start.py",
    "evaluate.py",
    "ingest.py",
    "ingest.py --store node --pictures 6000",
    "ingest.py --store node --pictures 500 --encoder ViT-B-32 --repeat 3",
    "ingest_memory.py",
    "query.py",
    "load.py",
)


def run(command: str) -> tuple[list[dict[str, Any]], bool]:
    """The figures of a command, and whether it ended well."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as file:
        name, *arguments = command.split()
        print(f"== bench/{command}", flush=True)
        done = subprocess.run([sys.executable, HERE / name, *arguments], env=os.environ | {VARIABLE: file.name})
        found = [json.loads(line) for line in file]
    about = {"command": command, "machine": machine(), "day": date.today().isoformat()}
    return [about | one for one in found], not done.returncode


def machine() -> str:
    names = [line.partition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")]
    model = names[0] if names else platform.processor() or platform.machine()
    memory = round(psutil.virtual_memory().total / (1 << 30))
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory} GiB, {platform.system()}"


def cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def kept() -> list[dict[str, Any]]:
    return [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def table(figures: list[dict[str, Any]]) -> str:
    order = {command: number for number, command in enumerate(COMMANDS)}
    lines = ["| what | figure | bound | kept | command | day |", "|---|---|---|---|---|---|"]
    for one in sorted(figures, key=lambda one: order.get(one["command"], len(order))):
        verdict = {True: "yes", False: "**no**", None: ""}[one["kept"]]
        lines.append(
            f"| {one['what']} | {one['shown']} | {one['bound']} | {verdict} | `{one['command']}` | {one['day']} |"
        )
    machines = sorted({one["machine"] for one in figures})
    return f"Machine: {'; '.join(machines)}.\n\n" + "\n".join(lines) + "\n"


def write(text: str) -> None:
    page = RESULTS.read_text()
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{RESULTS} has no place for the table: {BEGIN.strip()} … {END.strip()}")
    RESULTS.write_text(f"{before}{BEGIN}{text}{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--only-print", action="store_true", help="run nothing: the figures of earlier runs")
    options = parser.parse_args()
    chosen = [one for one in COMMANDS if not options.parts or one.startswith(tuple(options.parts))]
    if not chosen:
        parser.error(f"no command begins so; there are: {', '.join(COMMANDS)}")
    failed = []
    for command in [] if options.only_print else chosen:
        found, well = run(command)
        failed += [] if well else [command]
        figures = [one for one in kept() if one["command"] != command] + found
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text("".join(json.dumps(one) + "\n" for one in figures))
    text = table(kept())
    print(f"\n{text}")
    if options.write:
        write(text)
    if failed:
        print(f"Did not end well: {'; '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
