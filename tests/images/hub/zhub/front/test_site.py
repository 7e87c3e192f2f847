"""The file with the site's texts: what is read from it, and what a wrong one does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from zhub.front import site
from zhub.front.site import Site


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(site, "FILE", tmp_path / "site.json")
    return tmp_path / "site.json"


def test_it_is_read_anew_each_time(file: Path) -> None:
    assert site.read() == Site()
    file.write_text(json.dumps({"name": "Institute", "announcement": "Hello"}))
    assert site.read() == Site(name="Institute", announcement="Hello")
    file.write_text("{}")
    assert site.read() == Site()


@pytest.mark.parametrize("content", ["", "[]", '{"nane": "x"}', '"x"', "\udcff"])
def test_a_wrong_file_keeps_nobody_out(
    file: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    file.write_bytes(content.encode(errors="surrogateescape"))
    assert site.read() == Site()
    assert "site.json is not shown" in caplog.text


def test_who_is_not_allowed_is_told_whom_to_ask(file: Path) -> None:
    assert site.not_allowed() == "Your account is not allowed to use this hub."
    file.write_text('{"contact": "help@example.com"}')
    assert site.not_allowed().endswith(" If you think that you should be, ask: help@example.com")
