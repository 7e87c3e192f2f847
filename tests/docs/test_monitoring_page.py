"""The page on monitoring has every metric of the hub and the guard."""

from __future__ import annotations

import re

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
