"""The page on the hub's API has the dangerous scopes as the program warns of them."""

from __future__ import annotations

import re

from components.settings.scopes import DANGEROUS
from components.settings.services import TAKEN
from toolchain.places import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_page_has_every_dangerous_scope() -> None:
    rows = re.findall(r"^\| `([a-z:_-]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    table = {scope: gives for scope, gives in rows if scope in DANGEROUS}
    assert table == DANGEROUS


def test_the_page_has_every_name_that_is_taken() -> None:
    [row] = re.findall(r"^\| `name` \| (.*) \|$", PAGE, re.MULTILINE)
    assert set(re.findall("`([a-z-]+)`", row)) == TAKEN.keys()
