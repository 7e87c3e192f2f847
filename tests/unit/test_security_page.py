"""The security page's table of attacks names every test of the attack suite, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ATTACKS = ROOT / "tests" / "engine" / "attacks"
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_every_attack_is_in_the_table_with_its_test() -> None:
    written = {
        (path.name, node.name)
        for path in ATTACKS.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(written) > 20
    assert set(NAMED.findall((ROOT / "docs" / "security.md").read_text())) == written
