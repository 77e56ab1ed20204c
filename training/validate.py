"""Text and imagination on validation dialogues: what is tuned by, so that the test split stays unseen.

`python -m training.validate --work DIR [--bundle FOLDER]` prints Recall@10 by round over a gallery of 6,000 with
near-duplicates: raw dialogue text, the rules' text, the reference, imagined only, and fusion by several weights,
beside the noise control (a random unit vector of the same weight, fixed for each dialogue).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar_search.demo.conversations import Conversation, gallery_conversations
from dar_search.demo.language import reference_reformulation
from dar_search.demo.rendering import render
from dar_search.demo.splits import GalleryPicture, gallery
from dar_search.models.open_clip_encoder import open_clip_encoder
from dar_search.models.prior_imaginer import prior_imaginer
from dar_search.models.rules import RulesReformulator
from training.pictures import PREPARATION

GALLERY, DIALOGUES = 6_000, 300
ROUNDS = (0, 2, 4, 6, 8, 10)
TOP = 10
Floats = NDArray[np.float32]


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
        np.save(path, np.stack(rows))
    return np.load(path)  # type: ignore[no-any-return]


def hits(queries: Floats, pictures: Floats, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(dialogues, d) -> whether the target is among the top ten; a tie counts against it."""
    scores = queries @ pictures.T
    own = np.take_along_axis(scores, targets[:, None], 1)
    return (scores >= own).sum(1) <= TOP


def unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def report(work: Path, bundle: Path, dialogues: int, samples: int) -> None:
    encoder = open_clip_encoder(str(bundle / "encoder"))
    pixels = gallery_pixels(work)
    pictures = np.concatenate([encoder.encode_prepared(pixels[at : at + 250]) for at in range(0, len(pixels), 250)])
    talks = list(gallery_conversations(dialogues, len(pixels), split="validation"))
    targets = np.array([picture.number for picture, _ in talks])
    noise = unit(np.random.default_rng(5).standard_normal((len(talks), pictures.shape[1]), np.float32))
    rules = RulesReformulator()
    table: dict[str, list[NDArray[np.bool_]]] = {}

    def row(name: str, queries: Floats) -> None:
        table.setdefault(name, []).append(hits(queries, pictures, targets))

    def texts(of: Callable[[Conversation], str]) -> tuple[list[str], Floats]:
        said = [of(talk) for _, talk in talks]
        return said, encoder.encode_texts(said)

    for number in ROUNDS:
        row("raw dialogue", texts(lambda talk, r=number: talk.dialogue.at_round(r).text)[1])
        written = [rules.reformulate(talk.dialogue.at_round(number)) for _, talk in talks]
        ruled = encoder.encode_texts([one.text for one in written])
        prompts, reference = texts(lambda talk, r=number: reference_reformulation(talk.known[r]))
        row("rules", ruled)
        row("reference", reference)
        row("reference + noise .5", 0.5 * reference + 0.5 * noise)
        for mode, count in (("mean", 1), ("sample", samples)):
            imaginer = prior_imaginer(str(bundle / "prior"), encoder, options={"mode": mode})
            for name, told, asked in (
                ("reference", reference, prompts),
                ("rules", ruled, [one.prompts[0] for one in written]),
            ):
                drawn = [imaginer.imagine(prompt, count=count, seed=7) for prompt in asked]
                imagined = np.stack([np.mean([one.embedding for one in row], 0) for row in drawn])
                row(f"{name}: {mode} x{count} only", imagined)
                for share in (0.2, 0.35, 0.5, 0.65):
                    row(f"{name}: text + {mode} x{count} at {share}", (1 - share) * told + share * imagined)
    print(f"{'Recall@10 (%) at round':38s}" + "".join(f"{number:7d}" for number in ROUNDS))
    for name, rows in table.items():
        print(f"{name:38s}" + "".join(f"{100 * found.mean():7.1f}" for found in rows))
    generator = np.random.default_rng(6)
    for name, rows in table.items():
        base = table["rules" if name.startswith("rules") else "reference"]
        if ":" in name and "only" not in name:
            gain = rows[-1].astype(float) - base[-1]
            draws = gain[generator.integers(0, len(gain), (2000, len(gain)))].mean(1) * 100
            low, high = np.quantile(draws, (0.025, 0.975))
            print(f"gain at round 10, {name:34s} {100 * gain.mean():+5.1f} [{low:+.1f}, {high:+.1f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="where encoder/ and prior/ are; default: the work folder")
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    parser.add_argument("--samples", type=int, default=4)
    arguments = parser.parse_args()
    report(arguments.work, arguments.bundle or arguments.work, arguments.dialogues, arguments.samples)
