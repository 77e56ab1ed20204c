"""Text and imagination on validation dialogues: what is chosen by, so that the test split stays unseen.

`python -m training.validate --work DIR [--bundle FOLDER] [--captions dense]` prints Recall@10 by round over 6,000
pictures with near-duplicates, chooses the schedule that `dar_search/demo/evaluation.toml` names, and keeps all figures
in DIR/validation.json (those of the control, `training.control`, in DIR/validation-dense.json).
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.data import Reformulation
from dar_search.demo.conversations import Conversation, gallery_conversations
from dar_search.demo.language import reference_reformulation
from dar_search.demo.rendering import render
from dar_search.demo.splits import GalleryPicture, gallery
from dar_search.evaluation.intervals import paired_bootstrap
from dar_search.method.fusion import Schedule
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.imaginers.prior_imaginer import PriorImaginer, prior_imaginer
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.ports import Encoder, Reformulator
from training import checkpoints, facts
from training.pictures import PREPARATION

GALLERY, DIALOGUES, ROUNDS, TOP = 6_000, 300, 11, 10
SEEDS = (0, 1, 2)
CONSTANT = tuple(f"{round(1 - share, 2):g}/{share:g}" for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))
RISING = tuple(
    f"0:{first},{at}:{later}"
    for first in ("1/0", "0.8/0.2", "0.65/0.35")
    for at in (2, 4, 6)
    for later in ("0.5/0.5", "0.4/0.6", "0.3/0.7")
)
ALONE = "0/1"
Floats = NDArray[np.float32]
Found = NDArray[np.float64]
"""(dialogues, rounds): how often the target was among the first ten, over the sampling seeds."""


def seen(picture: GalleryPicture) -> NDArray[np.uint8]:
    stored = io.BytesIO()
    render(picture.scene, picture.render_seed).save(stored, "JPEG", quality=90)
    with Image.open(stored) as reopened:
        return PREPARATION.prepare(reopened)


def gallery_pixels(work: Path, size: int = GALLERY) -> NDArray[np.uint8]:
    path = work / f"gallery-validation-{size}.npy"
    if not path.exists():
        with ProcessPoolExecutor(2) as pool:
            rows = list(pool.map(seen, gallery(size, split="validation"), chunksize=100))
        checkpoints.save_array(path, np.stack(rows))
    return np.load(path)  # type: ignore[no-any-return]


def hits(queries: Floats, pictures: Floats, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(dialogues, d) -> whether the target is among the top ten; a tie counts against it."""
    scores = queries @ pictures.T
    own = np.take_along_axis(scores, targets[:, None], 1)
    return (scores >= own).sum(1) <= TOP


def unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Validation:
    """The validation gallery and dialogues, in the space of one encoder."""

    def __init__(self, work: Path, encoder: Encoder, dialogues: int = DIALOGUES) -> None:
        pixels = gallery_pixels(work)
        self.encoder = encoder
        self.pictures = np.concatenate(
            [encoder.encode_prepared(pixels[at : at + 250]) for at in range(0, len(pixels), 250)]
        )
        talks = list(gallery_conversations(dialogues, len(pixels), split="validation"))
        self.targets = np.array([picture.number for picture, _ in talks])
        self.conversations: list[Conversation] = [conversation for _, conversation in talks]

    def found(self, queries: Floats) -> Found:
        """(dialogues, rounds, d) -> (dialogues, rounds)."""
        rounds = [hits(queries[:, number], self.pictures, self.targets) for number in range(queries.shape[1])]
        return np.stack(rounds, 1).astype(np.float64)

    def encoded(self, texts: Sequence[Sequence[str]]) -> Floats:
        """A text for each dialogue and round -> (dialogues, rounds, d)."""
        flat = list(dict.fromkeys(text for row in texts for text in row))
        rows = dict(zip(flat, self.encoder.encode_texts(flat), strict=True))
        return np.stack([np.stack([rows[text] for text in row]) for row in texts])

    def raw(self) -> list[list[str]]:
        return [[one.dialogue.at_round(number).text for number in range(ROUNDS)] for one in self.conversations]

    def reference(self) -> list[list[str]]:
        return [[reference_reformulation(known) for known in one.known] for one in self.conversations]

    def written(self, reformulator: Reformulator) -> list[list[Reformulation]]:
        return [
            [reformulator.reformulate(one.dialogue.at_round(number)) for number in range(ROUNDS)]
            for one in self.conversations
        ]

    def facts(self, texts: Sequence[Sequence[str]]) -> dict[str, float]:
        """Precision and recall of what the texts state against what had been told, over all rounds."""
        pairs = zip(texts, self.conversations, strict=True)
        score = facts.score(pair for row, one in pairs for pair in zip(row, one.known, strict=True))
        return {"precision": score.precision, "recall": score.recall}


def imagined(texts: Sequence[Sequence[str]], imaginer: PriorImaginer, count: int, seed: int) -> Floats:
    """(dialogues, rounds, d): the mean of `count` imaginations of each text; a dialogue has seeds of its own."""
    rows = []
    for position, row in enumerate(texts):
        wanted = list(dict.fromkeys(row))  # a round that told nothing leaves the text as it was
        drawn = imaginer.imagine_all([(text, count, 1_000_000 * seed + 64 * position) for text in wanted])
        means = {text: np.mean([one.embedding for one in of], axis=0) for text, of in zip(wanted, drawn, strict=True)}
        rows.append(np.stack([means[text] for text in row]))
    return np.stack(rows).astype(np.float32)


def fused(text: Floats, image: Floats, schedule: str) -> Floats:
    weights = [Schedule.parse(schedule).at(number) for number in range(text.shape[1])]
    told, shown = (np.array([getattr(one, part) for one in weights], np.float32) for part in ("text", "image"))
    return told[:, None] * text + shown[:, None] * image


def compared(seen_by: Validation, prior: Path, samples: int, whole: bool) -> Iterator[tuple[str, Found, Found | None]]:
    """(name, what it found, what the same text alone found) of everything that is compared."""
    by_rules, reference = seen_by.written(RulesReformulator()), seen_by.reference()
    texts = {"rules": [[one.text for one in row] for row in by_rules], "reference": reference}
    prompts = {"rules": [[one.prompts[0] for one in row] for row in by_rules], "reference": reference}
    yield "raw dialogue", seen_by.found(seen_by.encoded(seen_by.raw())), None
    for source, written in texts.items():
        text = seen_by.encoded(written)
        alone = seen_by.found(text)
        yield f"{source}: text", alone, None
        ways = [("mean", 1, SEEDS[:1])]
        if source == "rules" and whole:
            ways = [("mean", 1, SEEDS), ("sample", samples, SEEDS[:1])]
        for mode, count, seeds in ways:
            imaginer = prior_imaginer(str(prior), seen_by.encoder, device="cpu", options={"mode": mode})
            images = [imagined(prompts[source], imaginer, count, seed) for seed in seeds]
            schedules = (ALONE, "released", *CONSTANT, *(RISING if len(seeds) > 1 else ()))
            for schedule in schedules:
                found = np.mean([seen_by.found(fused(text, image, schedule)) for image in images], axis=0)
                yield f"{source}: {mode} x{count}, {schedule}", found, alone
        noise = unit(np.random.default_rng(5).standard_normal(text[:, :1].shape, np.float32))
        yield f"{source}: noise, 0.5/0.5", seen_by.found(0.5 * text + 0.5 * noise), alone


def chosen(rows: dict[str, dict[str, Any]]) -> str:
    """The schedule of the shipped imaginer with the best Recall@10 on the rules' text, the mean over all rounds."""
    own = [name for name in rows if name.startswith("rules: mean") and not name.endswith((f", {ALONE}", "released"))]
    return max(own, key=lambda name: np.mean(rows[name]["recall_at_10"])).partition(", ")[2]


def report(work: Path, bundle: Path, captions: str, dialogues: int, samples: int) -> None:
    ending = "" if captions == "alt_text" else f"-{captions}"
    encoder = bundle / "encoder" if not ending else work / f"encoder{ending}"
    seen_by = Validation(work, open_clip_encoder(str(encoder), device="cpu"), dialogues)
    rows: dict[str, dict[str, Any]] = {}
    print(
        f"{'Recall@10 (%) at round':40s}" + "".join(f"{number:6d}" for number in range(ROUNDS)) + "   mean  gain at 10"
    )
    for name, found, alone in compared(seen_by, bundle / "prior", samples, whole=not ending):
        row: dict[str, Any] = {"recall_at_10": found.mean(0).tolist()}
        gained = ""
        if alone is not None:
            last = paired_bootstrap(found, alone, samples=2_000, seed=0)[-1]
            row["gain_at_last"] = {"mean": last.mean, "low": last.low, "high": last.high}
            gained = f"{100 * last.mean:+6.1f} [{100 * last.low:+.1f}, {100 * last.high:+.1f}]"
        rows[name] = row
        shares = "".join(f"{100 * share:6.1f}" for share in row["recall_at_10"])
        print(f"{name:40s}{shares}{100 * found.mean():7.2f} {gained}", flush=True)
    best = chosen(rows)
    print(f"best schedule by the mean over rounds, on the rules' text: {best}")
    kept = {"gallery": GALLERY, "dialogues": dialogues, "seeds": list(SEEDS), "best": best, "rows": rows}
    (work / f"validation{ending}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="where encoder/ and prior/ are; default: the work folder")
    parser.add_argument("--captions", choices=("alt_text", "dense"), default="alt_text")
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report(
        arguments.work, arguments.bundle or arguments.work, arguments.captions, arguments.dialogues, arguments.samples
    )
