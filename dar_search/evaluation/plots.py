"""A plot of a measure over rounds, a line a variant with its interval against the text alone, as SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from dar_search.errors import SettingsError
from dar_search.evaluation.variants import RAW, TEXT_ONLY


def plot(results: Mapping[str, Any], measure: str, kind: str) -> bytes:
    """`results` as `results.evaluate` makes them; kind "svg" or "png". The same results give the same bytes.

    A band is the variant's 95% interval of the paired difference, laid on the text-only line. Raises SettingsError
    where the `evaluation` extra is missing.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError("matplotlib is not installed.", 'pip install "dar-search[evaluation]"') from error
    with matplotlib.rc_context({"svg.hashsalt": "dar-search", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        rounds = list(range(results["rounds"]))
        baseline = results["variants"][TEXT_ONLY]["measures"][measure]
        for name, variant in _ordered(results["variants"]):
            style, width = _style(name)
            (line,) = axes.plot(rounds, variant["measures"][measure], style, label=name, linewidth=width, markersize=4)
            intervals = variant["against_text_only"].get(measure)
            if intervals and "noise" not in name and name != RAW:
                low = [base + interval["low"] for base, interval in zip(baseline, intervals, strict=True)]
                high = [base + interval["high"] for base, interval in zip(baseline, intervals, strict=True)]
                axes.fill_between(rounds, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_xlabel("round (0: the caption alone)")
        axes.set_ylabel(measure)
        axes.set_xticks(rounds)
        axes.grid(alpha=0.3)
        axes.set_title(
            f"{results['name']}: {results['dialogues']} dialogues, {results['gallery']['pictures']} pictures",
            fontsize=10,
        )
        axes.legend(fontsize=8, frameon=False)
        out = io.BytesIO()
        if kind == "svg":
            FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": "dar-search"})
        else:
            FigureCanvasAgg(figure).print_png(out, metadata={"Software": "dar-search"})
        return out.getvalue()


def _ordered(variants: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    return sorted(variants.items(), key=lambda item: (item[0] != TEXT_ONLY, "noise" in item[0], item[0]))


def _style(name: str) -> tuple[str, float]:
    if name == TEXT_ONLY:
        return "k-o", 1.8
    if name == RAW:
        return "-.", 1.2
    if "noise" in name:
        return ":", 1.2
    return "-o", 1.8
