"""Pulumi.yaml and docs/configuration.md match the settings' entries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components.settings.__main__ import WRITTEN
from toolchain.places import ROOT


@pytest.mark.parametrize(("name", "write"), WRITTEN.items())
def test_generated_text_matches_the_entries(name: str, write: Callable[[str], str]) -> None:
    text = (ROOT / name).read_text()
    assert write(text) == text, f"{name} differs from components/settings/: run `make settings`"
