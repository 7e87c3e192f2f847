"""Each row of the page on networks names a test that there is, and its command sets the pool."""

from __future__ import annotations

import re

from tests.docs.commands import sections
from toolchain.places import ROOT

PAGE = "docs/networks.md"
NAMED = re.compile(r"\| `(test_\w+\.py)::(test_\w+)` \|$")


def test_every_row_names_a_test_that_there_is() -> None:
    table = sections(PAGE)["What overlaps, and what happens"]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 15
    for row in rows:
        found = NAMED.search(row)
        assert found, row
        file, name = found.groups()
        written = [path.read_text() for path in (ROOT / "tests").rglob(file)]
        assert any(f"def {name}(" in text for text in written), row
