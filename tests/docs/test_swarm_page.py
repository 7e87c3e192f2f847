"""The page on a swarm has the numbers that were measured, and its arithmetic comes out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from statistics import median

import pytest
from zhub.contract import LEASE_SECONDS
from zhub.guard.services import RESERVED_CPUS

from benchmarks.measured import OVERLAYS, SWARM, Grid
from components.settings.users import CPUS, MOST_SERVERS
from tests.docs.commands import sections
from toolchain.places import ROOT

PAGE = "docs/swarm.md"
STARTS = "How long a start takes"
ENDS = "At what number of users a swarm ends"

Of = Callable[[Sequence[float]], float]

CROWD: dict[str, tuple[str, Of]] = {
    "servers on the hub's machine": ("hub", max),
    "on the second": ("first", max),
    "on the third": ("second", max),
    "half of the users have a server after": ("ready", median),
    "all of them after": ("ready", max),
    "servers a second": ("pace", max),
    "processor seconds of the engines for one": ("seconds", max),
}

MEASURED: dict[str, tuple[str, Of]] = {
    "the hub is put into one more network": ("joined", median),
    "one more service runs after": ("runs", median),
    "processor seconds of the engines for one who comes and goes": ("seconds", max),
    "memory of the manager's engine": ("memory-manager", max),
    "memory of a worker's engine": ("memory-worker", max),
    "restart of the hub's container, in all networks": ("restart", max),
    "of that: starts by engine and guard": ("starts", max),
}

ARITHMETIC: dict[str, Callable[[int], float]] = {
    "restart, in minutes": lambda n: n / 60,
    "processor minutes of the engines until all have come": (
        lambda n: (0.47 * n + 0.0017 * n * n / 2) / 60
    ),
    "memory of the manager's engine, in GiB": lambda n: (65 + 0.66 * n) / 1024,
    "threads that the proxy would need, all pages visible": lambda n: n / 800,
    "machines of 256 GiB, for servers of 2 GiB": lambda n: math.ceil(2 * n / (256 - 16)),
}


def tables(section: str) -> list[dict[str, list[float]]]:
    """The tables of a section, as numbers by the titles of their rows."""
    found: list[dict[str, list[float]]] = [{}]
    for line in sections(PAGE)[section].splitlines():
        if not line.startswith("|"):
            if found[-1]:
                found.append({})
            continue
        title, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if not set(title) <= {"-"}:
            found[-1][title] = [float(re.sub(r"[^\d.]", "", cell)) for cell in cells]
    return [table for table in found if table]


def values(metric: str) -> list[float]:
    series = json.loads((ROOT / "docs/benchmarks.json").read_text())["series"]
    [found] = [one["values"] for one in series if one["metric"] == metric]
    return [float(value) for value in found]


def overlays(row: str, number: int) -> float:
    return values(OVERLAYS.key(row, number))[0]


@pytest.mark.parametrize(
    ("section", "grid", "heading", "rows"),
    [
        (STARTS, SWARM, "machines that take servers", CROWD),
        (ENDS, OVERLAYS, "users with a server", MEASURED),
    ],
)
def test_the_numbers_are_the_measured_ones(
    section: str, grid: Grid, heading: str, rows: dict[str, tuple[str, Of]]
) -> None:
    table = tables(section)[0]
    assert tuple(table.pop(heading)) == grid.numbers
    assert table.keys() == rows.keys()
    for title, cells in table.items():
        row, of = rows[title]
        for number, said in zip(grid.numbers, cells, strict=True):
            found = of(values(grid.key(row, number)))
            assert said == pytest.approx(found, rel=0.02, abs=0.01), (title, number)


def test_all_of_the_crowd_get_a_server() -> None:
    for number in SWARM.numbers:
        assert values(SWARM.key("failed", number)) == [0], number
        assert len(values(SWARM.key("ready", number))) == 60


def test_a_start_and_a_bare_service_take_as_long_as_the_page_says() -> None:
    text = " ".join(sections(PAGE)[STARTS].split())
    said = re.search(r"takes ([\d.]+) s from .* create`, takes ([\d.]+) s", text)
    assert said, text
    for number, metric in zip(said.groups(), ("swarm-start", "swarm-bare"), strict=True):
        assert float(number) == pytest.approx(median(values(metric)), abs=0.05), metric


def test_the_arithmetic_comes_out_and_fits_what_was_measured() -> None:
    table = tables(ENDS)[1]
    numbers = [int(number) for number in table.pop("users at the same time")]
    assert numbers[-1] == 10_000
    assert table.keys() == ARITHMETIC.keys()
    for title, cells in table.items():
        for number, said in zip(numbers, cells, strict=True):
            found = ARITHMETIC[title](number)
            assert said == pytest.approx(found, abs=0.06 if found < 2 else 0.5), (title, number)
    for number in OVERLAYS.numbers:
        assert 65 + 0.66 * number == pytest.approx(overlays("memory-manager", number), rel=0.15)
        assert 0.47 + 0.0017 * number == pytest.approx(overlays("seconds", number), rel=0.15)
        assert number == pytest.approx(overlays("restart", number), rel=0.4), number


def test_it_ends_where_a_restart_takes_longer_than_servers_wait() -> None:
    text = sections(PAGE)[ENDS]
    assert LEASE_SECONDS == 180, "three minutes"
    assert overlays("restart", 200) < LEASE_SECONDS < overlays("restart", 400)
    assert f"at {MOST_SERVERS}**" in text


def test_as_many_servers_fit_on_a_machine_as_the_page_says() -> None:
    assert RESERVED_CPUS / float(str(CPUS.default)) == 5
    assert "five servers for each of its processors" in sections(PAGE)["What runs where"]
