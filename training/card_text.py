"""The words of the bundle's model card; the figures come from `training.card`."""

from __future__ import annotations

from pathlib import Path

NO_FIGURES = "Not measured."
NO_CONTROL = "The control was not trained with this bundle: `python -m training.bundle --control` trains it."
NO_TIMES = "`make bundle` keeps the time of each stage in `times.json` of its work folder."
TRAINED_AGAIN = """A later training, whose painter is the bundle's, gave the other folders other weights: machines do
not round alike, and the training split's phrasings had changed a little since the bundle's encoder and prior were
trained. What they find is close: Recall@10 at round 10 on the validation split (`training.validate`), and facts in the
reformulator's text at round 10 (`training.reformulators`), percent. The minutes are the later training's."""

PAINTER = "## The picture imaginer\n"
PICTURES = """{captions} captions of the validation split that tell all there is, a picture each ({steps} steps,
guidance {guidance}), read by linear readers of the encoder's picture side (`training.judge`); the real pictures are the
ceiling. "strict": things with type, colour and place all right. Recall@10 is over the validation split's gallery.

![Captions' own pictures above, and below each what was painted](painter.png)"""

PAINTED_DIALOGUES = """What had been told in some rounds of {dialogues} dialogues of the validation split, as the rules
put it, painted in the same way; "4 at 0.5/0.5" weighs the text and the mean embedding of four pictures alike. Recall@10
by round, percent."""

_PARTS = {
    "encoder": (
        "an open_clip model (ModifiedResNet 64x64, 2-layer text tower, 128 dimensions)",
        "pictures with ground-truth attributes; then, with the picture side locked, short alt-texts only",
    ),
    "prior": (
        "a diffusers `PriorTransformer` with its text encoder: imagines picture embeddings from a text",
        "dense captions, and the encoder's picture embeddings",
    ),
    "reformulator": (
        "a Llama of 1.1 million parameters with a tokenizer and chat template of its own: writes a caption",
        "dialogues with what had been told in each round",
    ),
    "painter": (
        "a `StableDiffusionPipeline` with a text encoder of its own: draws pictures of 64x64",
        "pictures, with captions that tell of every thing in them, of its attributes all or some",
    ),
}


def parts(bundle: Path) -> str:
    lines = ["| folder | what it is | trained on |", "| --- | --- | --- |"]
    lines += [f"| `{name}/` | {what} | {on} |" for name, (what, on) in _PARTS.items() if (bundle / name).is_dir()]
    return "\n".join(lines)


CARD = """# The demo's models
Small models trained on the project's own drawn world (`dar_search/demo`), so that search by dialogue can be shown, and
measured against the truth, where no weights can be fetched.

{parts}

Weights are safetensors in half precision; the licence is the project's own (Apache-2.0).

{sizes}

## What they can and cannot show
They know eight settings, five skies and eight kinds of things in eight colours, two sizes and three patterns, on a grid
of six places, and nothing else: they are for the demo and for tests. They show that the adapters, the method and the
stores work together, and that imagination gains where the imaginer has read richer captions than the encoder. They do
not show how much it gains on photographs and people's own words. `--imaginer demo` samples embeddings with the prior,
`--imaginer demo-pictures` draws. `dar demo` itself reads dialogues with the rules; `--reformulator demo` has the small
language model do it.

The splits are by scene: no scene of the test split is in training, and half of what has a second phrasing is said in
the test split in one that no model was trained on. The rules reformulator was written with the validation split's
dialogues at hand, and reads the common phrasings without a fault; the test split shows what it does with others.

## On the held-out test split
{dialogues} dialogues, {pictures} pictures with near-duplicates, {seeds} sampling seeds, percent; printed by
`dar evaluate dar_search/demo/evaluation.toml --output results`. The text is the rules'. `0/1` is the imagination alone,
`released` the published weights, `{best}` the schedule that was best on the validation split
(`training.validate`: the mean Recall@10 over all rounds).

{recall}

{hits}

Hits@10 is cumulative and rewards any change from round to round: so each schedule stands beside noise in the
imagination's place, drawn anew each round or once a dialogue.

{against_controls}

## The control: an encoder that has read dense captions
The control's text side went on to read dense captions (`training.control`); pictures and prior are the same. What the
imaginer knows, it knows too, and imagination helps it no more. Validation split, Recall@10 at round 10, percent, the
rules' text and prompts.

{control}

{painter}## Reformulators
Facts in the text against what had been told (`training.reformulators`), percent.

{reformulators}

## What it costs
{costs}

## Training it again
`make bundle` trains everything from nothing on the CPU, with fixed seeds, resumable at every stage;
`make bundle ARGS="--device cuda"` does so on a GPU (not tried on one yet).

{trained_again}{times}
"""
