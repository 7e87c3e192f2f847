"""What the page says is always tested names a file of the tests that there is."""

from __future__ import annotations

import re

from tests.docs.commands import sections
from toolchain.places import ROOT


def test_every_row_names_tests_or_a_page_with_measurements() -> None:
    table = sections("docs/tested.md")["Tested"]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 10
    for row in rows:
        shown_by = row.rstrip("| ").rpartition(" | ")[2]
        files = re.findall(r"`(tests/[\w/.]+)`", shown_by)
        assert files or "benchmarks.md" in shown_by, row
        assert [file for file in files if not (ROOT / file).exists()] == []
