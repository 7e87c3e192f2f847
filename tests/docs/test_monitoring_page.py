"""The page on monitoring has every metric of the hub and the guard."""

from __future__ import annotations

import json
import re
from statistics import median

import pytest

from tests.docs.commands import sections
from toolchain.places import ROOT

#: What prometheus_client adds to the names of counters.
TOTAL = "_total"

#: Where an object of a metric is made with a name that is written out.
MADE = re.compile(r"""(?:Counter|Gauge|Histogram|Family)\(\s*"((?:zhub|guard)_\w+)\"""")


def test_the_page_has_every_metric() -> None:
    files = (ROOT / "images/hub/zhub").rglob("*.py")
    made = {name for file in files for name in MADE.findall(file.read_text())}
    assert len(made) > 15
    listed = set(
        re.findall(r"`((?:zhub|guard)_\w+)`", sections("docs/monitoring.md")["The metrics"])
    )
    assert {name for name in made if not {name, name + TOTAL} & listed} == set()


def test_the_cost_of_scrapes_is_the_measured_one() -> None:
    series = json.loads((ROOT / "docs/benchmarks.json").read_text())["series"]
    measured = {one["metric"]: one["values"][0] for one in series if one["values"]}
    rows = sections("docs/monitoring.md")["Cost"].splitlines()
    [cost] = [row for row in rows if "processor seconds" in row]
    [memory] = [row for row in rows if "memory of the guard" in row]
    for metric, row in (("scrape-seconds", cost), ("memory-guard", memory)):
        numbers = re.findall(r"([\d.]+)(?: processor seconds)? with (\d+)", row)
        assert [servers for _, servers in numbers] == ["50", "200", "800"], row
        for said, servers in numbers:
            found = measured[f"growth-{metric}-{servers}"]
            assert float(said) == pytest.approx(found, rel=0.2), (metric, servers)
    [percents] = re.findall(r"takes (\d+), (\d+) or (\d+) % of one processor", cost)
    for said, servers in zip(percents, ("50", "200", "800"), strict=True):
        share = measured[f"growth-scrape-seconds-{servers}"] * 100 / 30
        assert int(said) == pytest.approx(share, abs=1)
    [real] = [row for row in rows if "20 servers of the real image" in row]
    said = re.findall(r"([\d.]+) (?:s|kB|seconds)\b", real)
    for metric, number in zip(("scrape", "scrape-size", "scrape-seconds"), said, strict=True):
        found = next(one["values"] for one in series if one["metric"] == metric)
        assert float(number) == pytest.approx(median(found), rel=0.2), metric
