"""The bundle's model card: `python -m training.card --work DIR --results RESULTS.json --into dar_search/demo/bundle`.

Writes README.md from the figures that the other scripts left in DIR (`validate`, `reformulators`, `costs`, `judge`)
and the held-out run's results.json of `dar evaluate dar_search/demo/evaluation.toml`. No figure is typed by hand. A
section whose figures are in neither place stays as the card has it, or says that there are none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dar_search.evaluation.intervals import paired_bootstrap
from training import card_text

ROUNDS = (0, 2, 4, 6, 8, 10)
TOP, SAMPLES, SEED = 10, 2_000, 20_250_113
CONTROLS = ("fresh noise", "fixed noise")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def points(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['mean']:+.1f} [{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}]"


def by_round(results: Mapping[str, Any], measure: str) -> str:
    rounds = [number for number in ROUNDS if number < results["rounds"]]
    rows = []
    for name, variant in results["variants"].items():
        last = variant["against_text_only"].get(measure)
        shares = [percent(variant["measures"][measure][number]) for number in rounds]
        rows.append([name, *shares, points(last[-1]) if last else ""])
    return table([measure, *map(str, rounds), "gain at the last round, points [95%]"], rows)


def recalled(variant: Mapping[str, Any]) -> NDArray[np.float64]:
    """(dialogues, 1): whether the target was in the top ten at the last round, the mean over the sampling seeds."""
    seeds = [[row[-1] is not None and row[-1] <= TOP for row in ranks] for ranks in variant["ranks"].values()]
    return np.mean(np.array(seeds, np.float64), axis=0)[:, None]


def against_controls(results: Mapping[str, Any]) -> str:
    variants = results["variants"]
    rows = []
    for name, variant in variants.items():
        controls = [variants.get(f"{name}, {control}") for control in CONTROLS]
        if all(controls):
            gains = [
                paired_bootstrap(recalled(variant), recalled(control), samples=SAMPLES, seed=SEED)[0]
                for control in controls
                if control
            ]
            rows.append([name, *(points(vars_of(gain)) for gain in gains)])
    return table([f"Recall@{TOP} at the last round, points above", *CONTROLS], rows)


def vars_of(interval: Any) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def control(work: Path) -> str:
    """The encoder that read dense captions beside the bundle's: there imagination should help less."""
    paths = {"short alt-texts (the bundle)": "validation.json", "dense captions (the control)": "validation-dense.json"}
    rows = []
    for name, file in paths.items():
        if not (work / file).exists():
            return card_text.NO_CONTROL
        kept = json.loads((work / file).read_text())["rows"]
        text, fused = kept["rules: text"], kept["rules: mean x1, 0.5/0.5"]
        shares = [percent(row["recall_at_10"][-1]) for row in (kept["raw dialogue"], text, fused)]
        rows.append([name, *shares, points(fused["gain_at_last"])])
    return table(["encoder trained on", "raw dialogue", "text only", "0.5/0.5", "gain, points [95%]"], rows)


def reformulators(work: Path) -> str:
    rows = []
    for split in ("validation", "test"):
        path = work / f"reformulators-{split}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            for name, found in kept["reformulators"].items():
                for number in ("5", "10"):
                    row = found["rounds"][number]
                    shares = [percent(row[part]) for part in ("precision", "recall", "whole")]
                    rows.append([f"{name}, {split}", number, *shares, f"{found['failed']} of {found['texts']}"])
    head = ["reformulator, split", "round", "precision", "recall", "all facts and none else", "unreadable answers"]
    return table(head, rows) if rows else card_text.NO_FIGURES


def painter(work: Path, bundle: Path) -> str:
    """A section of its own; empty where the bundle has no painter."""
    path = work / "judge.json"
    if not (bundle / "painter").is_dir():
        return ""
    if not path.exists():
        return f"{card_text.PAINTER}{card_text.NO_FIGURES}\n\n"
    kept = json.loads(path.read_text())
    parts = list(kept["real"])
    rows = [[f"{name} pictures", *(f"{kept[name][part]:.1f}" for part in parts)] for name in ("real", "painted")]
    found = [[name, percent(recall)] for name, recall in kept["recall_at_10"].items()]
    told = card_text.PICTURES.format(**{name: kept[name] for name in ("captions", "steps", "guidance")})
    written = [told, table(["percent right", *parts], rows), table(["searched with", "Recall@10"], found)]
    if talks := kept.get("dialogues"):
        shown = [[name, *(f"{recall:.1f}" for recall in recalls)] for name, recalls in talks["recall_at_10"].items()]
        written.append(card_text.PAINTED_DIALOGUES.format(dialogues=talks["dialogues"]))
        written.append(table(["searched with", *map(str, talks["rounds"])], shown))
    return card_text.PAINTER + "\n\n".join((*written, ""))


def costs(work: Path) -> str:
    path = work / "costs.json"
    if not path.exists():
        return card_text.NO_FIGURES
    kept = json.loads(path.read_text())
    rows = [[name, f"{took:.1f}"] for name, took in kept["milliseconds"].items()]
    return table([f"float32, {kept['threads']} CPU thread" + "s" * (kept["threads"] > 1), "CPU ms"], rows)


def sizes(bundle: Path) -> str:
    rows = []
    for part in sorted(entry for entry in bundle.iterdir() if entry.is_dir()):
        rows.append([f"`{part.name}/`", f"{_bytes(part) / 1e6:.1f}"])
    return table(["folder", "MB"], [*rows, ["together", f"{sum(float(row[1]) for row in rows):.1f}"]])


def trained_again(work: Path, again: Path | None) -> str:
    """What a later training from nothing finds beside the bundle; empty where there is none."""
    if again is None:
        return ""
    rows = []
    for name, folder in (("the bundle", work), ("trained again", again)):
        kept = json.loads((folder / "validation.json").read_text())["rows"]
        text, fused, alone = (kept[f"rules: {way}"] for way in ("text", "mean x1, 0.5/0.5", "mean x1, 0/1"))
        shares = [percent(row["recall_at_10"][-1]) for row in (text, alone, fused)]
        judged = json.loads((folder / "reformulators-validation.json").read_text())
        last = judged["reformulators"]["reformulator"]["rounds"]["10"]
        read = [percent(last[part]) for part in ("precision", "recall")]
        rows.append([name, *shares, points(fused["gain_at_last"]), *read])
    head = ["weights", "text only", "0/1", "0.5/0.5", "gain of 0.5/0.5, points [95%]", "precision of facts", "recall"]
    return f"{card_text.TRAINED_AGAIN}\n\n{table(head, rows)}\n\n"


def times(work: Path) -> str:
    path = work / "times.json"
    if not path.exists():
        return card_text.NO_TIMES
    spent = json.loads(path.read_text())
    rows = [[name, f"{seconds / 60:.1f}"] for name, seconds in {**spent, "together": sum(spent.values())}.items()]
    return table(["stage", "minutes"], rows)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def card(work: Path, results: Path, bundle: Path, again: Path | None = None) -> str:
    found = json.loads(results.read_text()) if results.exists() else None
    validation = work / "validation.json"
    return card_text.CARD.format(
        sizes=sizes(bundle),
        parts=card_text.parts(bundle),
        dialogues=found["dialogues"] if found else "",
        pictures=found["gallery"]["pictures"] if found else "",
        seeds=len(found["seeds"]) if found else "",
        recall=by_round(found, f"recall_at_{TOP}") if found else card_text.NO_FIGURES,
        hits=by_round(found, f"hits_at_{TOP}") if found else card_text.NO_FIGURES,
        against_controls=against_controls(found) if found else card_text.NO_FIGURES,
        best=json.loads(validation.read_text())["best"] if validation.exists() else "?",
        control=control(work),
        reformulators=reformulators(work),
        painter=painter(work, bundle),
        costs=costs(work),
        trained_again=trained_again(work, again),
        times=times(again or work),
    )


def with_kept_sections(new: str, old: str) -> str:
    """`new`, with sections of `old` in the place of those that have no figures."""
    known = dict(_sections(old))
    wanting = (card_text.NO_FIGURES, card_text.NO_CONTROL)
    return "".join(
        known.get(heading, text) if any(words in text for words in wanting) else text
        for heading, text in _sections(new)
    )


def _sections(text: str) -> list[tuple[str, str]]:
    """(heading, the section with its heading); what stands before the first has an empty one."""
    first, *rest = text.split("\n## ")
    return [("", first), *((part.partition("\n")[0], f"\n## {part}") for part in rest)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--again", type=Path, help="the work folder of a later training: its times, and what it finds")
    given = parser.parse_args()
    path = given.into / "README.md"
    old = path.read_text() if path.exists() else ""
    path.write_text(with_kept_sections(card(given.work, given.results, given.into, given.again), old))
