"""Pulumi.yaml and docs/configuration.md say of every setting what its entry says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components.settings.__main__ import WRITTEN
from toolchain.places import ROOT


@pytest.mark.parametrize(("name", "write"), WRITTEN.items())
def test_what_is_written_from_the_entries_is_as_they_are(
    name: str, write: Callable[[str], str]
) -> None:
    text = (ROOT / name).read_text()
    assert write(text) == text, f"{name} differs from components/settings/: run `make settings`"
