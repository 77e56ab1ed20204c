"""A self-contained HTML report: the tables, the plots, and example dialogues with what helped and what harmed."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dar_search.data import FloatArray
from dar_search.evaluation.ranking import Ranker
from dar_search.evaluation.runs import Ranked
from dar_search.evaluation.variants import TEXT_ONLY, Variant
from dar_search.method.fusion import Schedule

#: A dialogue's position -> the last round's imagined picture; None where there is none. Asked for examples alone.
ImaginedPicture = Callable[[int], bytes | None]
TOP = 10
_CSS = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}
figure{display:inline-block;margin:.2rem;text-align:center;font-size:12px;width:104px;vertical-align:top}
figure img,figure .none{width:96px;height:96px;object-fit:cover;border:3px solid transparent;border-radius:4px}
figure .none{display:inline-block;background:#eee;line-height:96px;color:#777}
figure.target img,figure.target .none{border-color:#2a7}
.help{color:#187}.harm{color:#b32}section{border-top:2px solid #ddd;margin-top:2rem}
"""


@dataclass(frozen=True, slots=True)
class Example:
    """One dialogue's last round with and without imagination. `text_share`, `image_share`: of the target's score."""

    position: int
    text_rank: float
    rank: float
    text_share: float
    image_share: float
    text_top: Sequence[int]
    top: Sequence[int]


def examples(ranked: Ranked, ranker: Ranker, count: int) -> list[Example]:
    """The dialogues that the first schedule helped most, harmed most, and changed least, in the last round."""
    chosen = next((variant for variant in ranked.ranks if variant.schedule and not variant.control), None)
    if chosen is None or count == 0:
        return []
    seed = ranked.configuration.imagination.seeds[0]
    text = next(iter(ranked.ranks[Variant(TEXT_ONLY)].values()))[:, -1]
    fused = ranked.ranks[chosen][seed][:, -1]
    last = float(ranked.depth + 1)
    gain = np.log(np.minimum(text, last)) - np.log(np.minimum(fused, last))
    order = np.argsort(-gain, kind="stable")
    third = max(1, count // 3)
    picked = list(dict.fromkeys([*order[:third], *order[-third:][::-1], *np.argsort(np.abs(gain), kind="stable")]))
    return [_example(ranked, ranker, chosen, seed, int(position)) for position in picked[:count]]


def _example(ranked: Ranked, ranker: Ranker, variant: Variant, seed: int, position: int) -> Example:
    schedule = Schedule.parse(variant.schedule or TEXT_ONLY)
    rounds = ranked.embedded.text.shape[1]
    target = ranked.gallery.embeddings[ranked.targets[position]]
    assert ranked.embedded.imagined is not None  # noqa: S101  # a schedule is compared only then
    text = ranked.embedded.text[position, -1]
    imagined = ranked.embedded.imagined[ranked.configuration.imagination.seeds.index(seed), position, -1]
    weights = schedule.at(rounds - 1)
    return Example(
        position=position,
        text_rank=float(next(iter(ranked.ranks[Variant(TEXT_ONLY)].values()))[position, -1]),
        rank=float(ranked.ranks[variant][seed][position, -1]),
        text_share=float(weights.text * text @ target),
        image_share=float(weights.image * imagined @ target),
        text_top=_top(ranker, text),
        top=_top(ranker, ranked.queries(variant, seed)[position, -1]),
    )


def _top(ranker: Ranker, query: FloatArray) -> list[int]:
    rows, _ = ranker.top(query[None], TOP)
    return [int(row) for row in rows[0]]


def report(
    ranked: Ranked,
    results: Mapping[str, Any],
    latencies: Mapping[str, Mapping[str, float]],
    plots: Mapping[str, bytes],
    shown: Sequence[Example],
    imagined_picture: ImaginedPicture,
) -> str:
    """HTML with nothing outside itself.

    Args:
        plots: title -> SVG.
    """
    parts = [
        f"<h1>{_text(results['name'])}</h1>",
        f"<p>{results['dialogues']} dialogues, {results['gallery']['pictures']} pictures, encoder "
        f"{_text(results['encoder']['encoder'])} ({_text(results['encoder']['revision'][:12])}), sampling seeds "
        f"{_text(', '.join(map(str, results['seeds'])))}. Ties: {_text(results['tie_rule'])}.</p>",
        *_tables(results),
        *(f"<h2>{_text(title)}</h2>{svg.decode()[svg.decode().index('<svg') :]}" for title, svg in plots.items()),
        "<h2>Latency, milliseconds</h2>",
        _table(
            ["leg", "mean", "p50", "p95", "calls"],
            [
                [leg, f"{one['mean']:.1f}", f"{one['p50']:.1f}", f"{one['p95']:.1f}", f"{one['count']:.0f}"]
                for leg, one in latencies.items()
            ],
        ),
        "<h2>Examples, last round</h2>" if shown else "",
        *(_shown(ranked, example, imagined_picture(example.position)) for example in shown),
    ]
    title = _text(results["name"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_CSS}</style>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _tables(results: Mapping[str, Any]) -> Iterator[str]:
    names = list(next(iter(results["variants"].values()))["measures"])
    for measure in names:
        rows = []
        for name, variant in results["variants"].items():
            means = variant["measures"][measure]
            intervals = variant["against_text_only"].get(measure)
            last = intervals[-1] if intervals else None
            difference = f"{last['mean']:+.3f} [{last['low']:+.3f}, {last['high']:+.3f}]" if last else ""
            rows.append([name, *(f"{mean:.3f}" for mean in means), difference])
        count = len(rows[0]) - 2
        header = [f"round {number}" for number in range(count)] if measure != "bri" else ["all rounds"]
        yield f"<h2>{_text(measure)}</h2>" + _table(["variant", *header, "last round against text only"], rows)


def _shown(ranked: Ranked, example: Example, imagined: bytes | None) -> str:
    conversation = ranked.conversations[example.position]
    target = ranked.targets[example.position]
    better = example.rank <= example.text_rank
    said = conversation.dialogue.text if conversation.dialogue else ""
    verdict = f'<span class="{"help" if better else "harm"}">{"helped" if better else "harmed"}</span>'
    pictures = _figure(ranked, target, "the target", target)
    if imagined is not None:
        pictures += f'<figure><img src="{_data_uri(imagined)}" alt=""><br>imagined</figure>'
    return (
        f"<section><h3>Dialogue {_text(conversation.id)}: the imagination {verdict}</h3><p>{_text(said)}</p>"
        f"<p><b>Reformulated:</b> {_text(ranked.embedded.reformulations[example.position][-1])}</p>"
        f"<p>The target ranks {_rank(example.text_rank)} with the text alone and {_rank(example.rank)} with the "
        f"imagination. Of its fused score the text gave {example.text_share:+.4f}, the imagination "
        f"{example.image_share:+.4f}.</p><div>{pictures}</div>"
        f"<h4>Top ten, text alone</h4><div>{_strip(ranked, example.text_top, target)}</div>"
        f"<h4>Top ten, with imagination</h4><div>{_strip(ranked, example.top, target)}</div></section>"
    )


def _strip(ranked: Ranked, rows: Sequence[int], target: int) -> str:
    return "".join(_figure(ranked, row, str(place), target) for place, row in enumerate(rows, 1))


def _figure(ranked: Ranked, row: int, label: str, target: int) -> str:
    picture = ranked.gallery.thumbnail(ranked.gallery.ids[row])
    shown = f'<img src="{_data_uri(picture)}" alt="">' if picture else '<span class="none">no picture</span>'
    name = _text(ranked.gallery.names[row])
    return f'<figure class="{"target" if row == target else ""}" title="{name}">{shown}<br>{_text(label)}</figure>'


def _data_uri(picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg" if picture.startswith(b"\xff\xd8") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _rank(rank: float) -> str:
    return "beyond the ranking's depth" if np.isinf(rank) else f"{rank:.0f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: str) -> str:
    return html.escape(value)
