"""Every row of the README's behaviour tables names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROWS = [
    line
    for line in (HERE.parents[1] / "plugins" / "README.md").read_text().splitlines()
    if line.startswith("| ") and "::" in line
]
TEST = re.compile(r"`(test_\w+\.py)::([\w:]+)`")


def names_in(file: str) -> set[str]:
    """The file's tests, with and without their classes, and the classes with tests."""
    names = set()
    for node in ast.parse((HERE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = [child for child in node.body if isinstance(child, ast.FunctionDef)]
            names.update(child.name for child in inner)
            names.update(f"{node.name}::{child.name}" for child in inner)
    return names


def test_every_row_names_tests_that_exist() -> None:
    assert len(ROWS) > 50
    for row in ROWS:
        named = TEST.findall(row.rsplit("|", 2)[1])
        assert named, row
        missing = [f"{file}::{name}" for file, name in named if name not in names_in(file)]
        assert not missing, missing
