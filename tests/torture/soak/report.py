"""What a soak brought, as tables for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 25


def print_summary(phases: Sequence[Mapping[str, Any]]) -> int:
    """Prints it -> the exit status: 1 where something did not hold."""
    _print_faults(phases)
    _print_footprints(phases)
    problems = [f"{phase['phase']} ({phase['at']}): {problem}" for phase in phases for problem in phase["problems"]]
    print(f"\n{len(problems)} problems.")
    for problem in problems[:_SHOWN]:
        print(f"  {problem[:300]}")
    if len(problems) > _SHOWN:
        print("  ... the others are in .torture/soak.jsonl")
    return 1 if problems else 0


def _print_faults(phases: Sequence[Mapping[str, Any]]) -> None:
    print(f"\n{'fault':32}{'times':>6}{'asked':>7}  {'health p50/max, s':24}{'back in':>8}  answers")
    for name in dict.fromkeys(phase["phase"] for phase in phases):
        same = [phase for phase in phases if phase["phase"] == name]
        answers: Counter[str] = Counter()
        for phase in same:
            answers.update(phase["answers"])
        health = " ".join(_health(same, service) for service in ("query", "ingest"))
        back = max((phase.get("back", 0.0) for phase in same), default=0.0)
        told = ", ".join(f"{what}: {count}" for what, count in answers.most_common())
        print(f"{name:32}{len(same):>6}{answers.total():>7}  {health:24}{back:>7.1f}s  {told}")


def _health(phases: Sequence[Mapping[str, Any]], service: str) -> str:
    found = [phase["health"][service] for phase in phases if service in phase["health"]]
    if not found:
        return "-"
    return f"{max(one['p50'] for one in found):.2f}/{max(one['max'] for one in found):.1f}"


def _print_footprints(phases: Sequence[Mapping[str, Any]]) -> None:
    """After the warm-up, the most in between (of moments at rest), and at the end."""
    found = [phase["footprints"] for phase in phases if phase.get("footprints")]
    print(f"\n{'part':10}" + "".join(f"{name:>26}" for name in ("MB", "threads", "files", "pooled", "processes")))
    for part in found[0]:
        rows = [one[part] for one in found if part in one]
        cells = [
            f"{rows[0][name]:g} / {max(row[name] for row in rows):g} / {rows[-1][name]:g}"
            for name in ("megabytes", "threads", "files", "pooled", "processes")
        ]
        print(f"{part:10}" + "".join(f"{cell:>26}" for cell in cells))
