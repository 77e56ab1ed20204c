"""A small evaluation world of fakes: words are directions, pictures are sums of words. Also run as a program."""

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dar_search.evaluation.configuration import Configuration, check_configuration
from dar_search.evaluation.dialogue_sets import Conversation, read_conversations
from dar_search.evaluation.files import write_all
from dar_search.evaluation.galleries import Gallery, gallery_from_files
from dar_search.evaluation.imaginations import ImaginerSource
from dar_search.evaluation.ranking import ArrayRanker, Ranker
from dar_search.evaluation.runs import Progress, Ranked, run
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.ports import Reformulator
from tests.fakes import FakeEncoder, FakeImaginer

WORDS = ["red", "green", "blue", "dog", "cat", "horse", "house", "tree", "car", "river", "bridge", "snow", "sand"]
WORDS += ["night", "rain", "big", "small", "old"]
PICTURES, DIALOGUES, ROUNDS, WORDS_A_PICTURE = 400, 70, 4, 6


def make_world(folder: Path) -> Path:
    """Write gallery.npy, names.json and dialogues.json; return the folder."""
    rng = random.Random(11)
    encoder = FakeEncoder(dimension=32)
    pictures = [rng.sample(WORDS, WORDS_A_PICTURE) for _ in range(PICTURES)]
    names = [f"pictures/{number:03d}.jpg" for number in range(PICTURES)]
    np.save(folder / "gallery.npy", encoder.encode_texts([" ".join(words) for words in pictures]))
    (folder / "names.json").write_text(json.dumps(names))
    dialogues = [
        {"img": names[number], "dialog": [words[0], *(f"what else? {word}" for word in words[1 : ROUNDS + 1])]}
        for number, words in enumerate(pictures[:DIALOGUES])
    ]
    (folder / "dialogues.json").write_text(json.dumps(dialogues))
    return folder


def configuration(folder: Path, **changes: Any) -> Configuration:
    values: dict[str, Any] = {
        "name": "fakes",
        "gallery": {"kind": "embeddings", "path": "gallery.npy", "names": "names.json"},
        "dialogues": {"path": "dialogues.json", "rounds": ROUNDS},
        "imagination": {"seeds": [0, 1], "count": 2},
        "schedules": ["released", "0/1"],
        "bootstrap_samples": 200,
    }
    return check_configuration(values | changes, folder)


def rank(
    folder: Path,
    output: Path,
    ranker: Ranker | None = None,
    gallery: Gallery | None = None,
    progress: Progress = lambda what, done, total: None,
    reformulator: Reformulator | None = None,
    **changes: Any,
) -> Ranked:
    settings = configuration(folder, **changes)
    table = settings.gallery
    assert table.path is not None
    assert table.names is not None
    gallery = gallery or gallery_from_files(table.path, table.names)
    conversations: list[Conversation] = read_conversations(settings.dialogues)
    encoder = FakeEncoder(dimension=32)
    return run(
        settings,
        conversations,
        gallery,
        encoder=encoder,
        reformulator=reformulator or RulesReformulator(),
        imaginations=ImaginerSource(FakeImaginer(encoder, noise=0.3), settings.imagination.count, None)
        if settings.imagination.kind == "imaginer"
        else None,
        ranker=ranker or ArrayRanker(gallery),
        cache=output / "cache",
        progress=progress,
    )


def perform(
    folder: Path,
    output: Path,
    ranker: Ranker | None = None,
    gallery: Gallery | None = None,
    progress: Progress = lambda what, done, total: None,
    **changes: Any,
) -> tuple[Ranked, dict[str, Any]]:
    ranked = rank(folder, output, ranker, gallery, progress, **changes)
    ranker = ranker or ArrayRanker(ranked.gallery)
    return ranked, write_all(ranked, ranker, output, imagined_picture=lambda position: None, progress=progress)


if __name__ == "__main__":
    # Run, and end by SIGKILL at the given step: an interruption that nothing can prepare for.
    world, results, last_step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    steps = 0

    def count(what: str, done: int, total: int) -> None:
        global steps
        steps += 1
        if steps == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    perform(world, results, progress=count)
    print(steps)
