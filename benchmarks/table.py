"""The table of docs/benchmarks.md."""

from __future__ import annotations

from benchmarks import grids
from benchmarks.measured import GRIDS, METRICS, OVERHEADS, SUBJECTS, Metric, Results, Series

#: The lines around the table in the page.
BEGIN = "<!-- written by make bench: begin -->\n"
END = "<!-- written by make bench: end -->\n"


def number(value: float) -> str:
    """A value with three digits, or with all digits before the point if there are more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(metric: Metric, series: Series | None, subject: str) -> str:
    """Median, and the spread if there are several values."""
    if subject not in metric.subjects:
        return ""
    if series is None:
        return "not measured"
    if not series.values:
        return "not run"
    text = f"{number(series.median)} {metric.unit}"
    if metric.part == "size":
        return text
    if len(series.values) == 1:
        return f"{text} (once)"
    low, high = min(series.values), max(series.values)
    return f"{text} ({number(low)}-{number(high)}, n={len(series.values)})"


def median(results: Results, metric: str, subject: str, platform: str) -> float:
    """The median of a series; 0 if there are no values."""
    series = results.find(metric, subject, platform)
    return series.median if series and series.values else 0.0


def times(metric: Metric, results: Results, platform: str) -> str:
    """How many times as much the usual way takes, if both were measured."""
    subjects = ("project", "seed")
    project, seed = (median(results, metric.key, subject, platform) for subject in subjects)
    return f"{seed / project:.1f}x" if project and seed else ""


def emulated(results: Results, platform: str) -> str:
    """How a platform runs on the machine, for headings."""
    return f"{platform}, {'native' if platform == results.native else 'emulated'}"


def remarks(results: Results, platform: str) -> list[str]:
    """Remarks on values: why there are none, or what else ran on the machine."""
    said: dict[str, dict[str, list[str]]] = {}
    for metric in METRICS:
        for subject in metric.subjects:
            series = results.find(metric.key, subject, platform)
            if series and series.not_run:
                why = f"Not run, because {series.not_run}"
            elif series and series.note:
                why = f"Measured {series.note}"
            else:
                continue
            parts = said.setdefault(why, {}).setdefault(SUBJECTS[subject], [])
            if metric.part not in parts:
                parts.append(metric.part)
    lines = []
    for why, found in said.items():
        rows = [f"{', '.join(parts)} ({name})" for name, parts in found.items()]
        lines.append(f"- {why}: {'; '.join(rows)}.")
    return lines


def overheads(results: Results, platform: str) -> list[str]:
    """Ratio of a metric to the same without the rest of this project, if both were measured."""
    titles = {metric.key: metric.title for metric in METRICS}
    lines = []
    for whole, least in OVERHEADS:
        ours, theirs = (median(results, key, "project", platform) for key in (whole, least))
        if ours and theirs:
            lines.append(f"- {titles[whole]} : {titles[least]} = {ours / theirs:.2f}x")
    return lines


def table(results: Results) -> str:
    """Markdown: machine and dates, and for each platform a table with its remarks."""
    dates = sorted({series.date for series in results.series.values()})
    span = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "never"
    parts = [f"Measured: {span}. Machine: {results.machine}.\n"]
    in_grids = {metric for one in GRIDS for metric in one.metrics()}
    for platform in results.platforms():
        heading = " | ".join(SUBJECTS.values())
        rows = [f"| | {heading} | usual way : project |", f"|---|{'---|' * (len(SUBJECTS) + 1)}"]
        for metric in METRICS:
            if metric in in_grids:
                continue
            cells = [
                cell(metric, results.find(metric.key, subject, platform), subject)
                for subject in SUBJECTS
            ]
            ratio = times(metric, results, platform)
            rows.append(f"| {metric.title} | {' | '.join([*cells, ratio])} |")
        parts.append(f"### {emulated(results, platform)}\n\n" + "\n".join(rows) + "\n")
        parts += grids.of(results, platform)
        if said := [*overheads(results, platform), *remarks(results, platform)]:
            parts.append("\n".join(said) + "\n")
    return "\n".join(parts)


def put_into(page: str, text: str) -> str:
    """The page with everything between the two marks replaced.

    Raises:
        ValueError: when a mark is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has lost its mark {END if begin else BEGIN}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"
