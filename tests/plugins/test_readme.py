"""Every row of the README's behaviour tables names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = [
    line
    for line in (HERE.parents[1] / "plugins" / "README.md").read_text().splitlines()
    if line.startswith("| ") and "::" in line
]


def names_in(file: str) -> set[str]:
    tree = ast.parse((HERE / file).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_tests_that_exist() -> None:
    assert len(ROWS) > 50
    for row in ROWS:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row.rsplit("|", 2)[1])
        assert named, row
        missing = [f"{file}::{name}" for file, name in named if name not in names_in(file)]
        assert not missing, missing
