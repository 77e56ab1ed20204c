"""What the picture imaginer paints, judged: `python -m training.judge --work DIR [--captions 500] [--grid FILE.png]`.

Readers of the encoder's image side (`training.judge_heads`) read the painted pictures and, beside them, the real ones:
the ceiling. The encoder's embedding of the first picture, and of the mean of several, is searched in the validation
gallery: of pictures of complete captions, and of what had been told in some rounds of validation dialogues. `--bundle`
names the folder of both models; the figures are kept in DIR/judge.json.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from dar_search.demo.language import reference_reformulation
from dar_search.demo.splits import gallery
from dar_search.demo.world import truth
from dar_search.models.catalogue import BUNDLED_SAMPLING
from dar_search.models.encoders.open_clip_encoder import open_clip_encoder
from dar_search.models.reformulators.rules import RulesReformulator
from training import attributes, judge_heads
from training.image_tower import features
from training.validate import Floats, Validation, gallery_pixels, hits, unit

ROUNDS_PAINTED = (2, 4, 6, 8, 10)
SHARES = (0.2, 0.35, 0.5, 1)


def painted(folder: Path, captions: list[str], each: int, steps: int, guidance: float) -> np.ndarray:
    """(captions, each, 64, 64, 3) uint8."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for number, caption in enumerate(captions):
        generators = [torch.Generator().manual_seed(1_000 * number + draw) for draw in range(each)]
        rows.append(
            pipeline(
                [caption] * each,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=generators,
                output_type="np",
            ).images
        )
    return (np.stack(rows) * 255).round().astype(np.uint8)


def judged(
    trunk: torch.nn.Module, heads: attributes.Heads, pixels: np.ndarray, labels: torch.Tensor
) -> dict[str, float]:
    with torch.inference_mode():
        read = heads(features(trunk, pixels))
    return {part: round(100 * share, 1) for part, share in attributes.accuracies(read, labels).items()}


def in_dialogues(seen_by: Validation, folder: Path, each: int, steps: int, guidance: float) -> dict[str, list[float]]:
    """Recall@10 in ROUNDS_PAINTED by number of pictures and share of the imagination, with the rules' prompts."""
    written = [[row[number] for number in ROUNDS_PAINTED] for row in seen_by.written(RulesReformulator())]
    prompts = [one.prompts[0] for row in written for one in row]
    drawn = painted(folder, prompts, each, steps, guidance)
    told = seen_by.encoded([[one.text for one in row] for row in written])
    shown = seen_by.encoder.encode_prepared(drawn.reshape(-1, *drawn.shape[2:]))
    shown = shown.reshape(len(written), len(ROUNDS_PAINTED), each, -1)
    queries = {"text": told} | {
        f"{count} at {1 - share:g}/{share:g}": (1 - share) * told + share * shown[:, :, :count].mean(2)
        for count in (1, 2, 4, 8)
        if count <= each
        for share in SHARES
    }
    return {name: [round(100 * at, 1) for at in seen_by.found(of).mean(0).tolist()] for name, of in queries.items()}


def main(
    work: Path,
    bundle: Path,
    captions: int,
    dialogues: int,
    each: int,
    steps: int,
    guidance: float,
    grid: Path | None,
) -> None:
    trunk, heads = judge_heads.fitted(work, bundle / "encoder")
    pixels = gallery_pixels(work)
    chosen = sorted(random.Random(8).sample(range(len(pixels)), captions))
    scenes = [picture.scene for picture in gallery(len(pixels), split="validation")]
    texts = [reference_reformulation(truth(scenes[number])) for number in chosen]
    labels = torch.from_numpy(np.stack([attributes.scene_labels(scenes[number]) for number in chosen]))
    kept: dict[str, Any] = {"captions": captions, "steps": steps, "guidance": guidance}
    kept["real"] = judged(trunk, heads, pixels[chosen], labels)
    print("real pictures   ", kept["real"])
    drawn = painted(bundle / "painter", texts, each, steps, guidance)
    kept["painted"] = judged(trunk, heads, drawn[:, 0], labels)
    print("painted pictures", kept["painted"])
    encoder = open_clip_encoder(str(bundle / "encoder"))
    known = np.concatenate([encoder.encode_prepared(pixels[at : at + 250]) for at in range(0, len(pixels), 250)])
    imagined = encoder.encode_prepared(drawn.reshape(-1, *drawn.shape[2:])).reshape(captions, each, -1)
    told, mean = encoder.encode_texts(texts), imagined.mean(1)
    rows: dict[str, Floats] = {
        "text": told,
        "one picture": imagined[:, 0],
        f"mean of {each}": mean,
        f"text + mean of {each}": told + unit(mean),
    }
    targets = np.array(chosen)
    kept["recall_at_10"] = {name: float(hits(queries, known, targets).mean()) for name, queries in rows.items()}
    for name, recall in kept["recall_at_10"].items():
        print(f"{name:20s} Recall@10 {100 * recall:.1f}")
    if dialogues:
        seen_by = Validation(work, encoder, dialogues)
        recalls = in_dialogues(seen_by, bundle / "painter", each, steps, guidance)
        kept["dialogues"] = {"dialogues": dialogues, "rounds": ROUNDS_PAINTED, "recall_at_10": recalls}
        print(f"Recall@10 at rounds {ROUNDS_PAINTED} of {dialogues} dialogues, pictures at weights of text/pictures")
        for name, by_round in recalls.items():
            print(f"{name:20s} {by_round}")
    (work / "judge.json").write_text(json.dumps(kept, indent=1) + "\n")
    if grid:
        shown = [np.concatenate([pixels[number], *drawn[row]], 0) for row, number in enumerate(chosen[:16])]
        Image.fromarray(np.concatenate(shown, 1)).save(grid, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="default: the work folder")
    parser.add_argument("--captions", type=int, default=500)
    parser.add_argument("--dialogues", type=int, default=100)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--steps", type=int, default=BUNDLED_SAMPLING["steps"])
    parser.add_argument("--guidance", type=float, default=BUNDLED_SAMPLING["guidance"])
    parser.add_argument("--grid", type=Path)
    given = parser.parse_args()
    main(**vars(given) | {"bundle": given.bundle or given.work})
