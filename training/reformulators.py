"""What reformulators write, judged against what had been told: precision and recall of facts, and what it costs.

`python -m training.reformulators --work DIR [--bundle FOLDER] [--split test] [NAME ...]` reads dialogues of the split
(the test split's have phrasings that neither the rules' author nor the model's training used), prints a row for each
reformulator ("rules", or a folder's name in the bundle), and keeps the figures in DIR/reformulators-SPLIT.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from dar_search.demo.conversations import Conversation, gallery_conversations
from dar_search.demo.splits import Split
from dar_search.errors import ModelError
from dar_search.models.reformulators.chat_reformulator import ChatReformulator
from dar_search.models.reformulators.rules import RulesReformulator
from dar_search.ports import Reformulator
from training import facts

GALLERY, DIALOGUES, ROUNDS = 6_000, 100, (0, 2, 5, 10)


def reformulator(name: str, bundle: Path) -> Reformulator:
    if name == "rules":
        return RulesReformulator()
    return ChatReformulator(str(bundle / name), name=name, device="cpu", dtype="float32")


def judged(writer: Reformulator, talks: Sequence[Conversation]) -> dict[str, Any]:
    """Facts by round, answers that could not be read, and milliseconds a text. A failed answer states nothing."""
    rounds, failed, took = {}, 0, []
    for number in ROUNDS:
        pairs = []
        for talk in talks:
            begun = time.perf_counter()
            try:
                text = writer.reformulate(talk.dialogue.at_round(number)).text
            except ModelError as error:
                text, failed = "", failed + 1
                print(f"{writer.name} failed: {error}")
            took.append(1000 * (time.perf_counter() - begun))
            pairs.append((text, talk.known[number]))
        score = facts.score(pairs)
        whole = sum(facts.read_facts(text) == set(known.items()) for text, known in pairs) / len(pairs)
        rounds[str(number)] = {"precision": score.precision, "recall": score.recall, "whole": whole}
    return {"rounds": rounds, "failed": failed, "texts": len(took), "median_ms": sorted(took)[len(took) // 2]}


def report(work: Path, bundle: Path, split: Split, names: Sequence[str], dialogues: int) -> None:
    talks = [talk for _, talk in gallery_conversations(dialogues, GALLERY, split=split)]
    kept: dict[str, Any] = {"split": split, "dialogues": dialogues, "reformulators": {}}
    print(f"{'':14s}{'round':>6s}  precision  recall  all facts right and none else")
    for name in names:
        found = judged(reformulator(name, bundle), talks)
        kept["reformulators"][name] = found
        for number, row in found["rounds"].items():
            print(f"{name:14s}{number:>6s}" + "".join(f"{100 * row[part]:10.1f}" for part in row))
        print(f"{name:14s}failed {found['failed']} of {found['texts']}, median {found['median_ms']:.1f} ms", flush=True)
    (work / f"reformulators-{split}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["rules", "reformulator"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="default: the work folder")
    parser.add_argument("--split", choices=get_args(Split), default="validation")
    parser.add_argument("--dialogues", type=int, default=DIALOGUES)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    report(given.work, given.bundle or given.work, given.split, given.names, given.dialogues)
