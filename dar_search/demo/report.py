"""The demo's report: one static HTML page beside the gallery's pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from dar_search.data import Hit
from dar_search.demo.picture_files import PICTURES, GalleryFiles
from dar_search.demo.replay import TOP, HeldOut, Recall, Round
from dar_search.settings import owner_only

PAGE = "index.html"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2a8a4a; --dim: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } .dim { color: var(--dim); }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); }
.round { display: grid; grid-template-columns: 3rem 1fr; gap: 0 1rem; }
.round { border-top: 1px solid var(--line); padding: 1rem 0; }
.number { font-size: 1.6rem; color: var(--dim); } .said { font-weight: 600; margin: 0; }
.strips { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; } .strip > p { margin: .4rem 0; }
.drawn { flex-basis: 100%; }
.strip img, .target img { width: 96px; height: 96px; object-fit: cover; }
.strip img, .target img { border-radius: 6px; border: 3px solid transparent; }
img.found { border-color: var(--good) !important; } .target img { width: 192px; height: 192px; }
.in { color: var(--good); font-weight: 600; }
"""


def write_report(files: GalleryFiles, subject: HeldOut, rounds: Sequence[Round], recall: Recall) -> Path:
    """Write the page into the gallery's folder; returns its path. It names no file outside of that folder."""
    page = files.folder / PAGE
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>dar demo</title>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<style>{_STYLE}</style>",
        "<h1>Finding a picture by talking about it</h1>",
        f"<p>A person has this picture in mind, one of {files.size:,}. Each answer makes the search better; "
        "<b>text only</b> uses what was said, <b>DAR</b> adds what it imagines the picture to be. "
        "The picture is framed where it is found.</p>",
        f"<p class='target'><img src='{escape(subject.picture, quote=True)}' alt='the picture in mind'></p>",
        *(_round(one, subject) for one in rounds),
        _recall(recall),
    ]
    owner_only.write(page, "\n".join(parts))
    return page


def _round(one: Round, subject: HeldOut) -> str:
    return (
        f"<section class='round'><div class='number'>{one.number}</div><div>"
        f"<p class='said'>{escape(one.said)}</p><p class='dim'>{escape(one.text)}</p><div class='strips'>"
        + _drawn("imagined", one.pictures)
        + _drawn("drawn from the same words, not searched with", one.sketches)
        + _strip("text only", one.text_rank, one.text_hits, subject)
        + _strip("DAR", one.dar_rank, one.dar_hits, subject)
        + "</div></div></section>"
    )


def _drawn(name: str, pictures: Sequence[bytes]) -> str:
    shown = "".join(f"<img src='{_inline(picture)}' alt='{name}'>" for picture in pictures)
    return f"<div class='strip drawn'><p>{name}</p>{shown}</div>" if shown else ""


def _strip(name: str, rank: int | None, hits: Iterable[Hit], subject: HeldOut) -> str:
    place = f"<span class='{'in' if rank and rank <= TOP else 'dim'}'>rank {_shown(rank)}</span>"
    pictures = "".join(
        f"<img class='{'found' if hit.id == subject.target else ''}' src='{escape(_picture(hit), quote=True)}' "
        f"alt='rank {hit.rank}' title='{escape(hit.caption, quote=True)}'>"
        for hit in hits
    )
    return f"<div class='strip'><p>{name}: {place}</p>{pictures}</div>"


def _picture(hit: Hit) -> str:
    """The gallery's file, or the thumbnail where the hit is of another folder."""
    name = hit.source.rpartition("/")[2]
    return f"{PICTURES}/{name}" if hit.source.endswith(f"/{PICTURES}/{name}") else _inline(hit.thumbnail or b"")


def _inline(picture: bytes) -> str:
    kind = "webp" if picture[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _recall(recall: Recall) -> str:
    rows = "".join(
        f"<tr><td>{number}</td><td>{100 * text:.0f}%</td><td>{100 * dar:.0f}%</td>"
        f"<td>{100 * gain.mean:+.0f} [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}]</td></tr>"
        for number, text, dar, gain in zip(recall.rounds, recall.text_only, recall.dar, recall.gain, strict=True)
    )
    return (
        f"<h2>Over {recall.dialogues} held-out dialogues</h2><p>How many have their picture among the first {TOP} "
        "(Recall@10). The gain is in points, with its 95% paired bootstrap interval.</p>"
        f"<table><tr><th>round</th><th>text only</th><th>DAR</th><th>gain</th></tr>{rows}</table>"
    )


def _shown(rank: int | None) -> str:
    return "far behind" if rank is None else f"{rank:,}"
