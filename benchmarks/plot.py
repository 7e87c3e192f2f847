"""The plot of docs/benchmarks.md: medians as bars, the spread as whiskers."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.measured import METRICS, SUBJECTS, Metric, Results
from benchmarks.table import emulated, number

COLOURS = {"project": "#0f62fe", "bare": "#78a9ff", "seed": "#8d8d8d"}

#: Rows of the plot, by the first part of their metrics' keys. The program's metrics have nothing
#: to compare with.
TITLES = {
    "cold": "cold build, s",
    "size": "image size, MB",
    "edit": "rebuild after an edit, s",
    "start": "docker run to first answer, s",
    "login": "login to first answer, s",
    "memory": "memory, MiB",
}


def rows() -> dict[str, list[Metric]]:
    """The metrics of each row; they share an axis."""
    grouped = groupby(METRICS, lambda metric: metric.key.partition("-")[0])
    return {TITLES[kind]: list(metrics) for kind, metrics in grouped if kind in TITLES}


def draw_panel(axis: Any, results: Results, platform: str, metrics: list[Metric]) -> None:
    """Draw one row's bars for one platform into a matplotlib Axes."""
    place, ticks = 0.0, {}
    for metric in metrics:
        first = place
        for subject in metric.subjects:
            series = results.find(metric.key, subject, platform)
            end, text = 0.0, "not run" if series else "not measured"
            if series and series.values:
                middle, end = series.median, max(series.values)
                text = number(middle)
                axis.barh(place, middle, color=COLOURS[subject])
                if len(series.values) > 1:
                    spread = [[middle - min(series.values)], [end - middle]]
                    axis.errorbar(middle, place, xerr=spread, color="black", capsize=2)
            axis.annotate(
                text, (end, place), (4, 0), textcoords="offset points", verticalalignment="center"
            )
            place += 1
        ticks[(first + place - 1) / 2] = metric.key.rpartition("-")[2]
        place += 0.5
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.set_ylim(place - 0.8, -0.7)
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.spines[["top", "right"]].set_visible(False)


def draw(results: Results, path: Path) -> None:
    """Write the plot as SVG.

    Raises:
        ImportError: without matplotlib, of which PyPI has no wheels for some processors.
    """
    import matplotlib as mpl

    mpl.use("svg")
    # The same results give the same file: no date, no random names, text as text.
    mpl.rcParams.update({"svg.hashsalt": "zhub", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    platforms = results.platforms()
    bars = [sum(len(metric.subjects) for metric in metrics) + 2 for metrics in rows().values()]
    figure, axes = plt.subplots(
        len(bars),
        len(platforms),
        figsize=(5.5 * len(platforms), 0.3 * sum(bars)),
        height_ratios=bars,
        squeeze=False,
        layout="constrained",
    )
    for panels, (title, metrics) in zip(axes, rows().items(), strict=True):
        for axis, platform in zip(panels, platforms, strict=True):
            axis.set_title(f"{title} ({emulated(results, platform)})", fontsize=9, loc="left")
            draw_panel(axis, results, platform, metrics)
            for artist in axis.findobj():
                artist.set_clip_on(False)  # the file would name clip paths after memory addresses
    figure.legend(
        handles=[Patch(color=COLOURS[key], label=name) for key, name in SUBJECTS.items()],
        loc="outside upper center",
        ncols=len(SUBJECTS),
        frameon=False,
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
