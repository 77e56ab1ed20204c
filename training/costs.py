"""What each part of the bundle costs on this machine's CPU: `python -m training.costs --work DIR [--bundle FOLDER]`.

Prints medians of CPU milliseconds (of all threads; the wall's clock would count what else the machine does), alone and
in batches, and keeps them in DIR/costs.json. Parts that the bundle does not have are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from dar_search.demo.conversations import gallery_conversations
from dar_search.demo.language import reference_reformulation
from dar_search.demo.rendering import render
from dar_search.models.catalogue import BUNDLED_SAMPLING
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.imaginers.picture_imaginer import picture_imaginer
from dar_search.models.imaginers.prior_imaginer import prior_imaginer
from dar_search.models.reformulators.chat_reformulator import ChatReformulator
from dar_search.models.reformulators.rules import RulesReformulator

RUNS, BATCH = 25, 64


def milliseconds(run: Callable[[], object], runs: int = RUNS) -> float:
    """The median of some runs, after one that loads and warms."""
    run()
    took = []
    for _ in range(runs):
        begun = time.process_time()
        run()
        took.append(1000 * (time.process_time() - begun))
    return median(took)


def measured(bundle: Path) -> dict[str, float]:
    talks = list(gallery_conversations(BATCH, 6_000, split="validation"))
    texts = [reference_reformulation(talk.known[10]) for _, talk in talks]
    pictures = [render(picture.scene, picture.render_seed) for picture, _ in talks]
    encoder = open_clip_encoder(str(bundle / "encoder"), device="cpu", dtype="float32")
    found = {
        "encoder, a text": milliseconds(lambda: encoder.encode_texts(texts[:1])),
        f"encoder, a text of {BATCH}": milliseconds(lambda: encoder.encode_texts(texts)) / BATCH,
        "encoder, a picture": milliseconds(lambda: encoder.encode_images(pictures[:1])),
        f"encoder, a picture of {BATCH}": milliseconds(lambda: encoder.encode_images(pictures)) / BATCH,
    }
    for mode, count in (("mean", 1), ("sample", 1), ("sample", 16)):
        imaginer = prior_imaginer(str(bundle / "prior"), encoder, device="cpu", dtype="float32", options={"mode": mode})
        found[f"prior, {mode} x{count}"] = milliseconds(lambda: imaginer.imagine(texts[0], count=count, seed=0))  # noqa: B023
    if (bundle / "painter").exists():
        folder = str(bundle / "painter")
        painter = picture_imaginer(folder, encoder, device="cpu", dtype="float32", options=BUNDLED_SAMPLING)
        for count in (1, 4):
            found[f"painter, x{count}"] = milliseconds(lambda: painter.imagine(texts[0], count=count, seed=0))  # noqa: B023
    dialogue = talks[0][1].dialogue
    found["rules, a dialogue of ten turns"] = milliseconds(lambda: RulesReformulator().reformulate(dialogue))
    if (bundle / "reformulator").exists():
        writer = ChatReformulator(str(bundle / "reformulator"), device="cpu", dtype="float32")
        found["reformulator, a dialogue of ten turns"] = milliseconds(lambda: writer.reformulate(dialogue))
    return found


if __name__ == "__main__":
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="default: the work folder")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    costs = measured(arguments.bundle or arguments.work)
    for name, took in costs.items():
        print(f"{name:40s}{took:8.2f} CPU ms")
    kept = {"threads": arguments.threads, "milliseconds": costs}
    (arguments.work / "costs.json").write_text(json.dumps(kept, indent=1) + "\n")
