"""The model process and the adapters against the least that their work costs, side by side in one run.

    python bench/models.py [process] [gpu] [--rounds 15] [--calls 64]

process: throughput of 16 concurrent callers to that of one, with the demo's encoder in a model process: the median
of the ratios of rounds that take turns. Bound: at least 1.5. Each caller asks for one text, or one picture, at a
time. Beside it what one caller gets from the encoder in its own process.

gpu: where there is a GPU, full-size architectures with random weights (ViT-B-32, ViT-H-14, SD-Turbo, SDXL-Turbo):
pictures and imaginations a second through the adapter and through the plain library call, in turns.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import figure

from dar_search.bootstrap import hosted_models, load_encoder
from dar_search.models.hosting import Models
from dar_search.ports import Encoder
from dar_search.settings import load_settings

BOUND = 1.5
CALLERS = 16
ENCODERS = {"ViT-B-32": 256, "ViT-H-14": 64}
PAINTERS = {"SD-Turbo": "diffusers:stabilityai/sd-turbo", "SDXL-Turbo": "diffusers:stabilityai/sdxl-turbo"}


def rate(calls: int, call: Callable[[int], object], callers: int = 1) -> float:
    """Calls a second of so many callers, who share the calls out among them."""
    if callers == 1:
        begun = time.perf_counter()
        for number in range(calls):
            call(number)
        return calls / (time.perf_counter() - begun)
    start = threading.Barrier(callers + 1)

    def work(first: int) -> None:
        start.wait()
        for number in range(first, calls, callers):
            call(number)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(callers)]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return calls / (time.perf_counter() - begun)


def in_turns(rounds: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Each round takes every measure once; the first round is thrown away."""
    taken = [[measure() for measure in measures] for _ in range(rounds + 1)]
    return [list(column) for column in zip(*taken[1:], strict=True)]


def spread(values: Sequence[float]) -> str:
    middle = sorted(values)[len(values) // 4 : -(len(values) // 4) or None]
    return f"{statistics.median(values):.2f} ({middle[0]:.2f} to {middle[-1]:.2f})"


def measure_process(rounds: int, calls: int) -> bool:
    settings = load_settings(encoder="demo", reformulator="rules", imaginer="none", device="cpu")
    local = load_encoder(settings)
    kept = True
    with hosted_models(settings) as models:
        models.warm_up()
        for what, of_the_process, of_the_local in (
            ("texts", texts_of(models.encoder), texts_of(local)),
            ("pictures", pictures_of(models.encoder), pictures_of(local)),
        ):
            one, many, alone = in_turns(
                rounds,
                lambda call=of_the_process: rate(calls, call),
                lambda call=of_the_process: rate(4 * calls, call, CALLERS),
                lambda call=of_the_local: rate(calls, call),
            )
            ratios = [after / before for before, after in zip(one, many, strict=True)]
            ratio = statistics.median(ratios)
            name = f"model process, demo encoder, {what}: {CALLERS} callers against one"
            kept = figure(name, ratio, spread(ratios), at_least=BOUND) and kept
            print(
                f"  a second: {statistics.median(many):.0f} / {statistics.median(one):.0f}; one caller in its own "
                f"process: {statistics.median(alone):.0f}"
            )
        print_batches(models, calls)
    return kept


def texts_of(encoder: Encoder) -> Callable[[int], object]:
    count = [0]

    def call(number: int) -> object:
        count[0] += 1  # never the same text twice at once: that would be encoded once
        return encoder.encode_texts([f"a red circle beside a large blue square, picture {number} of {count[0]}"])

    return call


def pictures_of(encoder: Encoder) -> Callable[[int], object]:
    shape = encoder.preparation
    pixels = np.random.default_rng(0).integers(0, 256, (64, 1, shape.height, shape.width, 3), np.uint8)
    return lambda number: encoder.encode_prepared(pixels[number % len(pixels)])


def print_batches(models: Models, calls: int) -> None:
    """What a round trip to the process costs beside the model's own time."""
    process = models.processes["encoder"]
    microseconds = [1e6 / rate(calls, lambda _: process.call("ping", [None])) for _ in range(5)]
    print(f"a round trip to the model process and back: {statistics.median(microseconds):.0f} microseconds")


def measure_gpu(rounds: int) -> None:
    import torch

    if not torch.cuda.is_available():
        print("gpu: not run, there is no CUDA device here")
        return
    print(f"gpu: {torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16, random weights")
    with tempfile.TemporaryDirectory() as folder:
        for architecture, batch in ENCODERS.items():
            measure_encoder(Path(folder), architecture, batch, rounds)
        for name, model in PAINTERS.items():
            measure_painter(Path(folder) / name, name, model, rounds)


def measure_encoder(folder: Path, architecture: str, batch: int, rounds: int) -> None:
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    where = folder / architecture
    where.mkdir()
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (where / "open_clip_config.json").write_text(json.dumps(config))
    made = open_clip.create_model(architecture, pretrained=None)
    save_file(
        {name: value.contiguous() for name, value in made.state_dict().items()}, where / "open_clip_model.safetensors"
    )
    plain = made.to("cuda", torch.bfloat16).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    tensor = torch.rand(batch, 3, 224, 224, device="cuda", dtype=torch.bfloat16)

    def library() -> float:
        with torch.inference_mode():
            return batch * rate(8, lambda _: plain.encode_image(tensor).float().cpu())

    names = {"encoder": f"open_clip:{where}", "reformulator": "rules", "imaginer": "none", "device": "cuda"}
    settings = load_settings(**names, model_process={"batch_items": batch})
    ours = load_encoder(settings)
    with hosted_models(settings) as models:
        models.warm_up()
        library_rate, adapter_rate, process_rate = in_turns(
            rounds,
            library,
            lambda: batch * rate(8, lambda _: ours.encode_prepared(pixels)),
            lambda: batch * rate(8, lambda _: models.encoder.encode_prepared(pixels), 4),
        )
    for what, values in (("adapter", adapter_rate), ("model process, 4 callers", process_rate)):
        ratios = [value / base for value, base in zip(values, library_rate, strict=True)]
        figure(
            f"{architecture}, {what}, pictures a second against the plain library's",
            statistics.median(ratios),
            f"{spread(ratios)} ({statistics.median(values):.0f} : {statistics.median(library_rate):.0f})",
        )


def measure_painter(folder: Path, name: str, model: str, rounds: int) -> None:
    import torch

    from dar_search.models.imaginers.picture_imaginer import picture_imaginer

    settings = load_settings(encoder="demo", imaginer="none", reformulator="rules", device="cuda")
    encoder = load_encoder(settings)
    pipeline = random_pipeline(folder, model)
    options = {"steps": 1, "guidance": 0.0, "width": 512, "height": 512, "batch": 4}
    ours = picture_imaginer(str(folder), encoder, device="cuda", dtype="bfloat16", options=options)
    pipeline = pipeline.to("cuda", torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)

    def library(number: int) -> object:
        return pipeline(
            f"a red car {number}", num_images_per_prompt=4, num_inference_steps=1, guidance_scale=0.0, width=512,
            height=512,
        )  # fmt: skip

    library_rate, adapter_rate = in_turns(
        rounds,
        lambda: 4 * rate(4, library),
        lambda: 4 * rate(4, lambda number: ours.imagine(f"a red car {number}", count=4, seed=number)),
    )
    ratios = [value / base for value, base in zip(adapter_rate, library_rate, strict=True)]
    figure(
        f"{name}, 512 x 512, 1 step, imaginations a second (drawn, encoded, kept as WebP) against the plain pipeline's",
        statistics.median(ratios),
        f"{spread(ratios)} ({statistics.median(adapter_rate):.1f} : {statistics.median(library_rate):.1f})",
    )


def random_pipeline(folder: Path, model: str) -> Any:
    """A full-size pipeline with random weights, saved where the adapter will load it from."""
    import diffusers
    from architectures import parts

    made = parts(model, device="cpu")
    tokenizer = clip_tokenizer(folder / "made_tokenizer")
    scheduler = diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", steps_offset=1)
    if "text_encoder_2" in made:
        pipeline = diffusers.StableDiffusionXLPipeline(
            **made, tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=scheduler, add_watermarker=False
        )
    else:
        pipeline = diffusers.StableDiffusionPipeline(
            **made, tokenizer=tokenizer, scheduler=scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's kind of tokenizer with a vocabulary of single letters, each word as many tokens."""
    import json

    import transformers

    folder.mkdir(parents=True)
    letters = [chr(number) for number in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["process", "gpu", []], default=[])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=64)
    asked = parser.parse_args()
    kept = measure_process(asked.rounds, asked.calls) if "process" in asked.parts or not asked.parts else True
    if "gpu" in asked.parts or not asked.parts:
        measure_gpu(asked.rounds)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
