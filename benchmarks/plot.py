"""The plot of docs/benchmarks.md: medians as bars, the spread as whiskers."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measured import METRICS, SUBJECTS, Metric, Results
from benchmarks.table import emulated, number

COLOURS = {"project": "#0f62fe", "bare": "#78a9ff", "seed": "#8d8d8d"}


def rows() -> list[tuple[str, list[Metric]]]:
    """The plot's rows: metrics of one part and unit share an axis."""
    found: dict[str, list[Metric]] = {}
    for metric in METRICS:
        if metric.part != "stack":  # nothing to compare it with
            found.setdefault(f"{metric.part} [{metric.unit}]", []).append(metric)
    return list(found.items())


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
    figure, axes = plt.subplots(
        len(rows()),
        len(platforms),
        figsize=(5.5 * len(platforms), 1.5 * len(rows())),
        squeeze=False,
        layout="constrained",
    )
    for row, (title, metrics) in enumerate(rows()):
        for column, platform in enumerate(platforms):
            axis = axes[row][column]
            axis.set_title(f"{title}, {emulated(results, platform)}", fontsize=9, loc="left")
            axis.spines[["top", "right"]].set_visible(False)
            place, ticks = 0.0, {}
            for metric in metrics:
                first = place
                for subject in metric.subjects:
                    series = results.find(metric.key, subject, platform)
                    if series and series.values:
                        middle = series.median
                        spread = [[middle - min(series.values)], [max(series.values) - middle]]
                        axis.barh(place, middle, xerr=spread, color=COLOURS[subject], capsize=2)
                        axis.text(max(series.values), place, f"  {number(middle)}", va="center")
                    else:
                        axis.text(0, place, "  not run", va="center", style="italic")
                    place += 1
                ticks[(first + place - 1) / 2] = metric.key
                place += 0.5
            axis.set_yticks(list(ticks), list(ticks.values()))
            axis.invert_yaxis()
            axis.margins(x=0.15)
            axis.set_xlim(left=0)
    figure.legend(
        handles=[Patch(color=COLOURS[key], label=name) for key, name in SUBJECTS.items()],
        loc="outside upper center",
        ncols=len(SUBJECTS),
        frameon=False,
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
