"""The tables of docs/benchmarks.md with a column for each number of users."""

from __future__ import annotations

from benchmarks.measured import GRIDS, SUBJECTS, Grid, Results, Series


def quantile(values: tuple[float, ...], share: float) -> float:
    """The value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def cell(series: Series | None) -> str:
    """Median, 95th percentile and largest value; of few values only median and largest."""
    from benchmarks.table import number

    if series is None:
        return ""
    if not series.values:
        return "not run"
    values = series.values
    if len(values) == 1:
        return number(values[0])
    shares = (0.5, 0.95, 1.0) if len(values) >= 20 else (0.5, 1.0)
    return " / ".join(number(quantile(values, share)) for share in shares)


def grid(one: Grid, results: Results, subject: str, platform: str) -> str:
    """One table, or nothing if nothing of it was measured."""
    rows = []
    for row, title, unit in one.rows:
        cells = [
            cell(results.find(one.key(row, number), subject, platform)) for number in one.numbers
        ]
        if any(cells):
            rows.append(f"| {title}{f', {unit}' if unit else ''} | {' | '.join(cells)} |")
    if not rows:
        return ""
    numbers = " | ".join(map(str, one.numbers))
    heading = f"| {one.heading}, {SUBJECTS[subject]} | {numbers} |"
    return "\n".join([heading, f"|---|{'---|' * len(one.numbers)}", *rows]) + "\n"


def of(results: Results, platform: str) -> list[str]:
    """All tables of a platform."""
    found = [grid(one, results, subject, platform) for one in GRIDS for subject in one.subjects]
    return [text for text in found if text]
