"""README leads to every page in one click."""

from __future__ import annotations

import re

from toolchain.places import ROOT


def test_every_page_is_listed_once_on_readme() -> None:
    [_, read_on] = (ROOT / "README.md").read_text().split("## Read on")
    listed = re.findall(r"^\| \[[^]]+\]\(docs/([^)]+)\) \|", read_on, re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
