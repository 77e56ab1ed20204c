"""Train the whole demo bundle from nothing, or go on where it stopped: `python -m training.bundle --work DIR`.

On the CPU, or with `--device cuda` on a GPU (not tried on one yet). Every stage writes checkpoints into DIR and is
skipped once finished; DIR/times.json keeps how long each took. `--into FOLDER` copies the result there;
`dar_search/demo/bundle` is where the package looks. `--scale 0.1` trains a tenth as long, for a trial. `--control` also
trains the encoder that has read dense captions: it is only measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from training import control as dense_control
from training import (
    device,
    image_tower,
    imaginer_text,
    painter,
    painter_text,
    pictures,
    prior,
    reformulator,
    text_tower,
)

# What the committed bundle was trained for.
STEPS = {
    "image_tower": 800,
    "text_tower": 700,
    "imaginer_text": 1_700,
    "prior": 800,
    "painter_text": 3_000,
    "painter": 8_000,
    "reformulator": 4_000,
    "control": 400,
}
PARTS = ("encoder", "prior", "painter", "reformulator")


def train(work: Path, scale: float, control: bool) -> None:
    work.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    steps = {name: max(1, round(count * scale)) for name, count in STEPS.items()}
    stages: dict[str, Callable[[], object]] = {
        "pictures": lambda: pictures.render_all(work, "train", image_tower.PICTURES),
        "painter_text": lambda: painter_text.train(work, steps["painter_text"]),
        "painter": lambda: painter.train(work, steps["painter"], threads=threads),
        "image_tower": lambda: image_tower.train(work, steps["image_tower"]),
        "features": lambda: image_tower.cached_features(work),
        "text_tower": lambda: text_tower.train(work, steps["text_tower"]),
        "imaginer_text": lambda: imaginer_text.train(work, steps["imaginer_text"]),
        "prior": lambda: prior.train(work, steps["prior"]),
        "reformulator": lambda: reformulator.train(work, steps["reformulator"], threads=threads),
    }
    if control:
        stages["control"] = lambda: dense_control.train(work, steps["control"])
    times = work / "times.json"
    spent: dict[str, float] = json.loads(times.read_text()) if times.exists() else {}
    for name, run in stages.items():
        began = time.perf_counter()
        try:
            run()
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
            times.write_text(json.dumps(spent, indent=2))
        print(f"{name}: {spent[name] / 60:.1f} minutes in all", flush=True)


def copied(work: Path, into: Path) -> None:
    """The finished folders, and nothing else, under `into`."""
    for part in PARTS:
        shutil.rmtree(into / part, ignore_errors=True)
        shutil.copytree(work / part, into / part, copy_function=shutil.copyfile)
    total = sum(file.stat().st_size for file in into.rglob("*") if file.is_file())
    print(f"{into}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--control", action="store_true", help="train the dense-caption control as well")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    device.use(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(arguments.work, arguments.scale, arguments.control)
    if arguments.into:
        copied(arguments.work, arguments.into)
