"""DAR: a dialogue becomes one query vector and one query text (Diffusion Augmented Retrieval, SIGIR 2025).

    dialogue -> reformulation (text for the retrieval encoder, prompts for the imaginer)
             -> imaginations  (what the prompts look like, as embeddings in the encoder's space)
             -> vector = w_text * encode(text) + w_image * mean(imaginations)

Text first: a reformulator or an imaginer that fails is a leg with a reason, never an error. Only an encoder that
fails leaves nothing to search with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dar_search.data import Dialogue, FloatArray, Imagination, Leg, Reformulation, RewrittenQuery, VectorWeights
from dar_search.errors import DialogueError, ModelError, ModelFailed, ModelTimeout, RequestError
from dar_search.method.fusion import SCHEDULES, TEXT_ONLY, Schedule, fuse_vectors
from dar_search.ports import Encoder, Imaginer, Reformulator
from dar_search.values.numbers import as_int

MAX_IMAGINATIONS = 64
RELEASED = SCHEDULES["released"]


@dataclass(frozen=True, slots=True)
class ImaginationOptions:
    """How to imagine each prompt. Raises RequestError for what are no whole numbers.

    Attributes:
        count: imaginations of each prompt, 1 to 64.
        seed: of the first one; the same in every round, so that a new round brings new words, not new noise.
        steps: diffusion steps; None for the model's own default.
    """

    count: int = 1
    seed: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("count", "seed", "steps"):
            number = as_int(getattr(self, name))
            if type(number) is not int and not (name == "steps" and number is None):
                raise RequestError(f"The {name} of an imagination is a whole number, not {number!r:.40}.")
            object.__setattr__(self, name, number)


def rewrite(
    dialogue: Dialogue,
    encoder: Encoder,
    reformulator: Reformulator,
    imaginer: Imaginer | None = None,
    *,
    schedule: Schedule = RELEASED,
    options: ImaginationOptions = ImaginationOptions(),
) -> RewrittenQuery:
    """The whole of DAR. Raises DialogueError for a dialogue without words, and what the encoder raises."""
    check_words(dialogue)
    weights = schedule.at(dialogue.round)

    reformulation, reformulated = reformulate(dialogue, reformulator)
    text = encoder.encode_texts([reformulation.text])[0]
    if weights.image > 0:
        imaginations, imagined = imagine(reformulation.prompts, imaginer, options, dimension=len(text))
    else:
        imaginations, imagined = (), unweighted(dialogue)
    return joined(dialogue, reformulation, text, imaginations, weights, reformulated, imagined)


def joined(
    dialogue: Dialogue,
    reformulation: Reformulation,
    text: FloatArray,
    imaginations: tuple[Imagination, ...],
    weights: VectorWeights,
    reformulated: Leg,
    imagined: Leg,
) -> RewrittenQuery:
    """The parts as one query: text alone where nothing was imagined."""
    weights = weights if imaginations else TEXT_ONLY
    vector = fuse_vectors(text, [imagination.embedding for imagination in imaginations], weights)
    legs = {"reformulation": reformulated, "imagination": imagined}
    return RewrittenQuery(dialogue, reformulation, text, imaginations, weights, vector, legs)


def check_words(dialogue: Dialogue) -> None:
    """Raises DialogueError for a dialogue without words."""
    if not dialogue.text.strip():
        raise DialogueError("The dialogue has no words.", "Begin with a caption.")


def unweighted(dialogue: Dialogue) -> Leg:
    """The imagination's leg where the schedule gives it no weight."""
    return Leg("off", reason=f"round {dialogue.round} gives imagined pictures no weight")


def reformulate(dialogue: Dialogue, reformulator: Reformulator) -> tuple[Reformulation, Leg]:
    """The reformulation, or the dialogue's own words where it fails."""
    began = time.perf_counter()
    try:
        reformulation = reformulator.reformulate(dialogue)
        if not reformulation.text.strip() or not any(prompt.strip() for prompt in reformulation.prompts):
            raise ModelFailed(f"{reformulator.name} wrote nothing.")
    except ModelError as error:
        note = f"{error.message} The dialogue's own words are used."
        reformulation = Reformulation(dialogue.text, (dialogue.text,), reformulator="none", note=note)
        return reformulation, _failed(error, began, note)
    if reformulation.note:
        return reformulation, Leg("failed", _since(began), reformulation.note)
    return reformulation, Leg("ok", _since(began))


def imagine(
    prompts: tuple[str, ...], imaginer: Imaginer | None, options: ImaginationOptions, dimension: int
) -> tuple[tuple[Imagination, ...], Leg]:
    """What each prompt looks like. Where one fails, those before it are kept."""
    wanted = [prompt for prompt in dict.fromkeys(prompts) if prompt.strip()]
    if imaginer is None:
        return (), Leg("off", reason="there is no imaginer")
    if options.count < 1 or options.count * len(wanted) > MAX_IMAGINATIONS:
        raise RequestError(
            f"{options.count} imaginations of {len(wanted)} prompts are not in 1 to {MAX_IMAGINATIONS}.",
            "Ask for fewer of each prompt.",
        )
    began = time.perf_counter()
    imaginations: list[Imagination] = []
    for prompt in wanted:
        try:
            made = imaginer.imagine(prompt, count=options.count, seed=options.seed, steps=options.steps)
            # Fewer than asked for are well: a safety checker stops some, and pregenerated pictures are as many as are.
            if not 0 < len(made) <= options.count or not all(_usable(one.embedding, dimension) for one in made):
                raise ModelFailed(f"{imaginer.name} gave no usable embeddings for a space of {dimension} dimensions.")
        except ModelError as error:
            return tuple(imaginations), _failed(error, began, error.message)
        imaginations += made
    return tuple(imaginations), Leg("ok", _since(began))


def _usable(embedding: FloatArray, dimension: int) -> bool:
    # A NaN makes every score NaN, and a length other than 1 shifts the schedule's weights.
    return embedding.shape == (dimension,) and bool(abs(float(np.linalg.norm(embedding)) - 1) < 1e-3)


def _failed(error: ModelError, began: float, reason: str) -> Leg:
    return Leg("late" if isinstance(error, ModelTimeout) else "failed", _since(began), reason)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
